"""TCP addresses, a listener, and reads of an exact length."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from codecbench.errors import UsageError

MAX_CONNECTIONS = 32


IDLE_S = 60.0
"""Seconds without data after which the server closes a connection."""


TIMEOUT_S = 10.0


class Address(NamedTuple):
    """A host, by name or number, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse an address like pi.local:7413 or [::1]:7413. Raises UsageError for any other text."""
    matched = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]\s]+)):(\d{1,5})", text)
    if matched is None or not 0 < int(matched[3]) < 1 << 16:
        raise UsageError(f"{text!r} is no address; write HOST:PORT, like localhost:7413")
    return Address(matched[1] or matched[2], int(matched[3]))


class Listener(socketserver.ThreadingTCPServer):
    """A TCP server with a thread for each connection, at most MAX_CONNECTIONS at a time.

    An OSError in `serve` ends only its connection. Port 0 means any free port; see `address`. Use it as a context
    manager, or call `server_close`. Raises UsageError if it cannot listen at the address.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, host: str, port: int, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        try:
            self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            super().__init__((host, port), socketserver.BaseRequestHandler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(
                f"cannot listen on {Address(host, port)}: {reason}; take another --host or --port"
            ) from error

    @property
    def address(self) -> Address:
        """The address at which it listens."""
        return Address(*self.server_address[:2])  # type: ignore[arg-type]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, or close it if there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection until it ends or breaks."""
        try:
            self._serve(request)
        except OSError:
            pass  # the other side has closed the connection, or sent nothing for too long
        finally:
            self._free.release()

    @contextmanager
    def running(self) -> Iterator[Address]:
        """Listen in a thread within a with block; yield the address."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self.address
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


def receive_exactly(connection: socket.socket, count: int) -> bytes | None:
    """Receive exactly `count` bytes; return None if the other side closes the connection before."""
    parts = []
    while count:
        part = connection.recv(count)
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
