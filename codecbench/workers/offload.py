"""Requests that offload, over TCP: a payload goes to the edge, and what it answers comes back on the same connection.

A message is its length in four bytes, big endian, and so many bytes. A connection that ends instead of an answer says
that there is none.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from codecbench.errors import CodecbenchError, DataError
from codecbench.links.tcp import Address, Listener, received

TIMEOUT_S = 60.0

_LENGTH = struct.Struct(">I")


def request_server(answer: Callable[[bytes], bytes]) -> Listener:
    """A listener at a free port of this machine that answers each payload; an error for users ends the connection."""

    def serve(edge_socket: socket.socket) -> None:
        edge_socket.settimeout(TIMEOUT_S)
        edge_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (payload := _received(edge_socket)) is not None:
            try:
                _send(edge_socket, answer(payload))
            except CodecbenchError:
                return

    return Listener("127.0.0.1", 0, serve)


@contextmanager
def request_client(address: Address) -> Iterator[Callable[[bytes], bytes]]:
    """A function that carries a payload to a `request_server` over one connection, and gives its answer.

    It raises DataError where none comes.
    """
    with socket.create_connection(address, timeout=TIMEOUT_S) as near:
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def request(payload: bytes) -> bytes:
            _send(near, payload)
            answer = _received(near)
            if answer is None:
                raise DataError(
                    "the edge process gave no answer; 'codecbench check' tells what is wrong with the codec"
                )
            return answer

        yield request


def _send(connection: socket.socket, message: bytes) -> None:
    connection.sendall(_LENGTH.pack(len(message)) + message)


def _received(connection: socket.socket) -> bytes | None:
    """One message, or None where the other side has ended."""
    header = received(connection, _LENGTH.size)
    return None if header is None else received(connection, _LENGTH.unpack(header)[0])
