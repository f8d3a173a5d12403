"""Offloading requests over TCP: the device sends a payload, the edge answers on the same connection.

A message is its length in four bytes, big endian, and that many bytes. If there is no answer, the edge closes the
connection.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from codecbench.errors import CodecbenchError, DataError
from codecbench.links.tcp import Address, Listener, receive_exactly

TIMEOUT_S = 60.0

_LENGTH = struct.Struct(">I")


def request_server(answer: Callable[[bytes], bytes]) -> Listener:
    """Return a listener at a free local port that answers each payload; a CodecbenchError closes the connection."""

    def serve(edge_socket: socket.socket) -> None:
        edge_socket.settimeout(TIMEOUT_S)
        edge_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (payload := _receive_message(edge_socket)) is not None:
            try:
                _send_message(edge_socket, answer(payload))
            except CodecbenchError:
                return

    return Listener("127.0.0.1", 0, serve)


@contextmanager
def request_client(address: Address) -> Iterator[Callable[[bytes], bytes]]:
    """Yield a function that sends a payload to a `request_server` over one connection and returns the answer.

    The function raises DataError if there is no answer.
    """
    with socket.create_connection(address, timeout=TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def request(payload: bytes) -> bytes:
            _send_message(connection, payload)
            answer = _receive_message(connection)
            if answer is None:
                raise DataError(
                    "the edge process gave no answer; 'codecbench check' tells what is wrong with the codec"
                )
            return answer

        yield request


def _send_message(connection: socket.socket, message: bytes) -> None:
    connection.sendall(_LENGTH.pack(len(message)) + message)


def _receive_message(connection: socket.socket) -> bytes | None:
    """Return one message, or None if the other side has closed the connection."""
    header = receive_exactly(connection, _LENGTH.size)
    return None if header is None else receive_exactly(connection, _LENGTH.unpack(header)[0])
