"""The relay: rates as users write them, and how fast bytes pass."""

from __future__ import annotations

import socket

import pytest

from codecbench.errors import UsageError
from codecbench.links.probe import LinkClient
from codecbench.links.relay import Shaper, parse_rate, relay
from codecbench.links.tcp import Address, Listener

CLOSED = r"ended the connection|broke"


# --- addresses and rates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"),
    [("20Mbit", 20e6), ("1.5gbit", 1.5e9), ("512 kbit/s", 512e3), ("9600", 9600.0), ("9600bit", 9600.0)],
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "0Mbit", "-1", "20M", "20MBps", "1e6", "."])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(UsageError, match="is no rate; write 20Mbit"):
        parse_rate(text)


# --- relay ----------------------------------------------------------------------------------------------------------


def test_a_shaper_lets_bytes_leave_one_after_another() -> None:
    shaper = Shaper(8e3, delay_s=7.0)
    first_s, second_s = shaper.due_s(1_000), shaper.due_s(500)
    assert first_s >= 1.0 + 7.0
    assert second_s == pytest.approx(first_s + 0.5)
    assert 0 < shaper.remaining_s(second_s) <= second_s


def test_bytes_pass_a_relay_no_faster_than_its_rate_and_delay(server: Address) -> None:
    with relay(server, rate_bit_per_s=20e6, delay_s=0.01).running() as address, LinkClient(address) as client:
        for size in (0, 10_000, 250_000):
            assert client.send(bytes(size)) >= 0.02 + size * 8 / 20e6


def test_the_answer_is_shaped_too(server: Address) -> None:
    with relay(server, rate_bit_per_s=20e6).running() as address, LinkClient(address) as client:
        assert client.send(b"", reply_bytes=100_000) >= 100_000 * 8 / 20e6


def test_a_relay_passes_on_every_byte_in_order() -> None:
    sent = bytes(i * 31 % 251 for i in range(300_000))
    received = bytearray()

    def serve(connection: socket.socket) -> None:
        while part := connection.recv(10_000):
            received.extend(part)
        connection.sendall(b"ended")

    with (
        Listener("127.0.0.1", 0, serve).running() as target,
        relay(target, rate_bit_per_s=400e6, delay_s=0.001).running() as address,
        socket.create_connection(address, timeout=10) as connection,
    ):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(100), b""))
    assert (bytes(received), answer) == (sent, b"ended")


def test_a_relay_to_nowhere_closes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nowhere = Address(*gone.getsockname())
    with (
        relay(nowhere, rate_bit_per_s=1e6).running() as address,
        LinkClient(address) as client,
        pytest.raises(UsageError, match=CLOSED),
    ):
        client.send(b"")


@pytest.mark.parametrize(("rate", "delay_s"), [(0.0, 0.0), (float("inf"), 0.0), (1e6, -1.0), (float("nan"), 0.0)])
def test_a_relay_without_a_rate_is_refused(rate: float, delay_s: float) -> None:
    with pytest.raises(UsageError, match="a relay needs a rate above 0"):
        relay(Address("127.0.0.1", 1), rate_bit_per_s=rate, delay_s=delay_s)
