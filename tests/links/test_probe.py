"""The probe's server and client on this machine: what comes back, and what is refused."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from codecbench import measure
from codecbench.errors import UsageError
from codecbench.links.probe import MAX_MESSAGE_BYTES, LinkClient, link_server, probe
from codecbench.links.tcp import Address, Listener

CLOSED = r"ended the connection|broke"


@contextmanager
def answering(reply: bytes) -> Iterator[Address]:
    """A server of another kind: it says the same to whatever comes."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(reply)

    with Listener("127.0.0.1", 0, serve).running() as address:
        yield address


@pytest.mark.parametrize("fresh", [False, True])
def test_a_probe_gives_a_time_for_each_message(server: Address, fresh: bool) -> None:
    with LinkClient(server, fresh=fresh) as client:
        pairs = probe(client, [0, 1_000, 300_000], 3, reply_bytes=5_000)
    assert [size for size, _ in pairs] == [0, 1_000, 300_000] * 3
    assert all(ms > 0 for _, ms in pairs)


def test_a_probe_pauses_before_each_message(server: Address) -> None:
    with LinkClient(server) as client:
        _, seconds = measure.timed(lambda: probe(client, [1, 2], 2, pause_s=0.05))
    assert seconds >= 4 * 0.05


def test_a_probe_of_nothing_is_refused(server: Address) -> None:
    with LinkClient(server) as client:
        for sizes, repeats in (([], 3), ([1], 0), ([-1], 1)):
            with pytest.raises(UsageError, match="sizes from 0 on and at least one repeat"):
                probe(client, sizes, repeats)
        with pytest.raises(UsageError, match="messages are at most"):
            client.send(b"", reply_bytes=1 << 21)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">4sII", b"CBL1", MAX_MESSAGE_BYTES + 1, 0),
        struct.pack(">4sII", b"CBL1", 0, 0xFFFFFFFF),
        bytes(1_000),
    ],
    ids=["another protocol", "too long", "too long an answer", "zeros"],
)
def test_the_server_closes_on_garbage_and_goes_on(server: Address, garbage: bytes) -> None:
    with socket.create_connection(server, timeout=5) as stranger:
        stranger.sendall(garbage)
        with suppress(ConnectionResetError):  # closed with bytes of ours unread
            assert stranger.recv(100) == b""
    with LinkClient(server) as client:
        assert client.send(b"abc") > 0


def test_the_server_survives_who_leaves_in_the_middle(server: Address) -> None:
    for sent in (b"", b"CBL", struct.pack(">4sII", b"CBL1", 1_000, 10) + b"abc"):
        with socket.create_connection(server, timeout=5) as stranger:
            stranger.sendall(sent)
    with LinkClient(server) as client:
        assert client.send(b"abc") > 0


def test_connections_beyond_the_limit_are_closed_and_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codecbench.links.tcp.MAX_CONNECTIONS", 2)
    with link_server().running() as address:
        held = [LinkClient(address) for _ in range(2)]
        for client in held:
            client.send(b"")
        with LinkClient(address) as third, pytest.raises(UsageError, match=CLOSED):
            third.send(b"")
        for client in held:
            client.close()
        ended = threading.Event()
        for _ in range(100):  # until the server has seen them leave
            try:
                with LinkClient(address) as later:
                    later.send(b"")
                break
            except UsageError:
                ended.wait(0.02)
        else:
            pytest.fail("the places of closed connections stay taken")


def test_a_port_that_is_taken_is_an_error_of_one_line(server: Address) -> None:
    with pytest.raises(UsageError, match=r"cannot listen on 127\.0\.0\.1:\d+: .*; take another --host or --port"):
        link_server(port=server.port)
    with pytest.raises(UsageError, match=r"cannot listen on no\.host\.invalid"):
        link_server("no.host.invalid")


def test_troubles_of_the_network_are_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address(*silent.getsockname())
        with LinkClient(address, timeout_s=0.1) as client, pytest.raises(UsageError, match=r"no answer within 0\.1 s"):
            client.send(b"")
    with LinkClient(address) as client, pytest.raises(UsageError, match="nothing listens at"):
        client.send(b"")
    with (
        LinkClient(Address("no.host.invalid", 1)) as client,
        pytest.raises(UsageError, match=r"no host 'no\.host"),
    ):
        client.send(b"")


@pytest.mark.parametrize(("reply", "said"), [(b"HTTP/1.1 400 Bad Request", "is no link server"), (b"", "ended the")])
def test_another_kind_of_server_is_noticed(reply: bytes, said: str) -> None:
    with answering(reply) as address, LinkClient(address) as client, pytest.raises(UsageError, match=said):
        client.send(b"", 64)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), "no route to a; check the network"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "no route to a; check the network"),
        (
            OSError(errno.ECONNRESET, "Connection reset by peer"),
            "the connection to a:1 broke: Connection reset",
        ),
        (TimeoutError("timed out"), "a:1 gave no answer within 10 s"),
    ],
)
def test_errors_of_the_system_are_one_line(monkeypatch: pytest.MonkeyPatch, error: OSError, said: str) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    with LinkClient(Address("a", 1)) as client, pytest.raises(UsageError, match=said):
        client.send(b"")
