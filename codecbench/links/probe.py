"""Measures a real path: a server that receives messages and sends short answers, and a client that times them.

A message is a header (four magic bytes, the message length, the requested answer length) and the message bytes. The
answer is the magic bytes, its length, and its bytes. The server does not interpret or store the message bytes.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from codecbench import measure
from codecbench.errors import UsageError
from codecbench.links.tcp import IDLE_S, TIMEOUT_S, Address, Listener, receive_exactly

DEFAULT_SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)
DEFAULT_REPLY_BYTES = 64
"""The default answer length, as for a class and a few scores."""
MAX_MESSAGE_BYTES = 1 << 26
MAX_REPLY_BYTES = 1 << 20
START = "start a server there: codecbench link serve"

_MAGIC = b"CBL1"
_REQUEST = struct.Struct(">4sII")
_ANSWER = struct.Struct(">4sI")
_READ_BYTES = 1 << 18


def link_server(host: str = "127.0.0.1", port: int = 0) -> Listener:
    """Return the server of `codecbench link serve`: it answers each message with the requested number of bytes.

    It closes a connection that sends anything else, more than 64 MiB, or nothing for a minute.
    """
    return Listener(host, port, _answer)


def _answer(connection: socket.socket) -> None:
    connection.settimeout(IDLE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = memoryview(bytearray(_READ_BYTES))
    while (header := receive_exactly(connection, _REQUEST.size)) is not None:
        magic, left, reply_bytes = _REQUEST.unpack(header)
        if magic != _MAGIC or left > MAX_MESSAGE_BYTES or reply_bytes > MAX_REPLY_BYTES:
            return
        while left:
            count = connection.recv_into(buffer, min(left, _READ_BYTES))
            if not count:
                return
            left -= count
        connection.sendall(_ANSWER.pack(_MAGIC, reply_bytes) + bytes(reply_bytes))


class LinkClient:
    """A client of `link_server`: sends messages over one connection, or with `fresh` each over a new one.

    A context manager. All network errors are UsageErrors of one line.
    """

    def __init__(self, address: Address, *, fresh: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        self.address, self.fresh, self.timeout_s = address, fresh, timeout_s
        self._connection: socket.socket | None = None

    def __enter__(self) -> LinkClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def send(self, payload: bytes, reply_bytes: int = DEFAULT_REPLY_BYTES) -> float:
        """Return the seconds from the first byte sent to the last one received; with `fresh` from before connecting."""
        if len(payload) > MAX_MESSAGE_BYTES or reply_bytes > MAX_REPLY_BYTES:
            raise UsageError(f"messages are at most {MAX_MESSAGE_BYTES:,} bytes, answers {MAX_REPLY_BYTES:,}")
        message = _REQUEST.pack(_MAGIC, len(payload), reply_bytes) + payload
        if self.fresh:
            self.close()
        elif self._connection is None:
            self._connect()
        with self._one_line_errors():
            _, seconds = measure.timed(lambda: self._exchange(message, reply_bytes))
        return seconds

    def _exchange(self, message: bytes, reply_bytes: int) -> None:
        connection = self._connection or self._connect()
        connection.sendall(message)
        header = receive_exactly(connection, _ANSWER.size)
        if header is None:
            raise UsageError(f"{self.address} ended the connection without an answer; {START}")
        if header != _ANSWER.pack(_MAGIC, reply_bytes) or receive_exactly(connection, reply_bytes) is None:
            raise UsageError(f"what listens at {self.address} is no link server; {START}")

    def _connect(self) -> socket.socket:
        with self._one_line_errors():
            self._connection = socket.create_connection(self.address, timeout=self.timeout_s)
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._connection

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        try:
            yield
        except ConnectionRefusedError as error:
            raise UsageError(f"nothing listens at {self.address}; {START}") from error
        except TimeoutError as error:
            raise UsageError(f"{self.address} gave no answer within {self.timeout_s:g} s; {START}") from error
        except socket.gaierror as error:
            raise UsageError(f"no host {self.address.host!r}; check its name") from error
        except OSError as error:
            if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
                raise UsageError(f"no route to {self.address.host}; check the network") from error
            raise UsageError(f"the connection to {self.address} broke: {error.strerror or error}") from error


def probe(
    client: LinkClient,
    sizes: Sequence[int],
    repeats: int,
    *,
    pause_s: float = 0.0,
    reply_bytes: int = DEFAULT_REPLY_BYTES,
) -> list[tuple[int, float]]:
    """Return `repeats` pairs (bytes, milliseconds) of each size, in rounds, so that drift affects all sizes equally.

    Messages are random bytes, which cannot be compressed on the way. One untimed message is sent first. If `pause_s` is
    much longer than the sender's retransmission timeout (0.2 s and a round trip on Linux), each message begins with
    slow start. Raises UsageError if the server cannot be reached or is no link server.
    """
    if not sizes or min(sizes) < 0 or repeats < 1:
        raise UsageError("a probe needs sizes from 0 on and at least one repeat")
    payloads = {size: os.urandom(size) for size in sizes}
    never_set = threading.Event()  # its wait() sleeps
    client.send(b"", reply_bytes)
    pairs = []
    for _ in range(repeats):
        for size, payload in payloads.items():
            if pause_s:
                never_set.wait(pause_s)
            pairs.append((size, client.send(payload, reply_bytes) * 1e3))
    return pairs
