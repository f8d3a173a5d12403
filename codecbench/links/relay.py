"""A relay that limits the rate of a path and adds a delay, without special rights or other programs."""

from __future__ import annotations

import math
import queue
import re
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress

from codecbench import measure
from codecbench.errors import UsageError
from codecbench.links.model import PACKET_BYTES
from codecbench.links.tcp import IDLE_S, TIMEOUT_S, Address, Listener

CHUNK_BYTES = 1 << 16
MIN_QUEUE = 64
"""The smallest queue of a direction, in chunks; a sender waits while the queue is full."""
SLOWEST_BIT_PER_S, FASTEST_BIT_PER_S = 1e3, 1e15
"""Bounds of rates. No path is as slow; a number below them lacks its unit."""
UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}


def parse_rate(text: str) -> float:
    """Parse a rate like 20Mbit, 512kbit, 1.5Gbit or 9600 into bit/s. Raises UsageError for any other text."""
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kmg]?)bit(?:/s)?)?", text.strip().lower())
    rate = float(matched[1]) * UNITS[matched[2] or ""] if matched else 0.0
    if not 0 < rate <= FASTEST_BIT_PER_S:
        raise UsageError(f"{text[:40]!r} is no rate; write 20Mbit, 512kbit or 1.5Gbit")
    if rate < SLOWEST_BIT_PER_S:
        raise UsageError(f"{text!r} is {rate:g} bits a second; write the unit, like 20Mbit, 512kbit or 1.5Gbit")
    return rate


class Shaper:
    """One direction of a path: bytes leave one after another at a rate, and arrive a delay later.

    Unlike a token bucket, it allows no burst after an idle time. All connections share it, as they share a cable.
    """

    def __init__(self, rate_bit_per_s: float, delay_s: float) -> None:
        self.rate_bit_per_s, self.delay_s = rate_bit_per_s, delay_s
        self._watch, self._lock, self._free_s = measure.Stopwatch(), threading.Lock(), 0.0

    def due_s(self, count_bytes: int) -> float:
        """Send bytes now; return the time at which they arrive, in seconds since the shaper's creation."""
        with self._lock:
            self._free_s = max(self._free_s, self._watch.elapsed_s()) + count_bytes * 8 / self.rate_bit_per_s
            return self._free_s + self.delay_s

    def remaining_s(self, due_s: float) -> float:
        """Return the seconds until a time of `due_s`; 0 or less once it has passed."""
        return due_s - self._watch.elapsed_s()


def relay(
    target: Address, *, rate_bit_per_s: float, delay_s: float = 0.0, host: str = "127.0.0.1", port: int = 0
) -> Listener:
    """Return a listener that forwards connections to the target, with this rate and delay in each direction.

    The relay has a TCP connection of its own on each side and shapes the byte stream between them, so its delay causes
    no slow start, and there is no loss. A request and its answer take two delays, plus their bytes at the rate. If the
    target cannot be reached, the connection is closed. Raises UsageError for an invalid rate or delay, and if the
    listener cannot use its address.
    """
    if not (0 < rate_bit_per_s < math.inf and 0 <= delay_s < math.inf):
        raise UsageError(f"a relay needs a rate above 0 and a delay from 0, not {rate_bit_per_s!r} and {delay_s!r}")
    to_target, to_client = (Shaper(rate_bit_per_s, delay_s) for _ in range(2))
    depth = max(MIN_QUEUE, math.ceil(2 * rate_bit_per_s * delay_s / 8 / PACKET_BYTES))

    def serve(client_socket: socket.socket) -> None:
        with socket.create_connection(target, timeout=TIMEOUT_S) as target_socket:
            for end in (client_socket, target_socket):
                end.settimeout(IDLE_S)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _run_all(
                [
                    *_pump(client_socket, target_socket, to_target, depth),
                    *_pump(target_socket, client_socket, to_client, depth),
                ]
            )

    return Listener(host, port, serve)


def _run_all(threads: Iterable[threading.Thread]) -> None:
    threads = list(threads)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _pump(source: socket.socket, sink: socket.socket, shaper: Shaper, depth: int) -> list[threading.Thread]:
    """Return the two threads of one direction: one reads bytes and queues them, the other forwards them when due."""
    pending: queue.Queue[tuple[float, bytes]] = queue.Queue(depth)
    never_set = threading.Event()  # its wait() sleeps

    def read() -> None:
        with suppress(OSError):  # a broken connection ends the stream, too
            while data := source.recv(CHUNK_BYTES):
                pending.put((shaper.due_s(len(data)), data))
        pending.put((0.0, b""))

    def write() -> None:
        broken = False
        while True:
            due_s, data = pending.get()
            if not data:
                break
            if broken:
                continue  # empty the queue, so that the reading thread does not block
            remaining_s = shaper.remaining_s(due_s)
            if remaining_s > 0:
                never_set.wait(remaining_s)
            try:
                sink.sendall(data)
            except OSError:
                broken = True
                _shut(source, socket.SHUT_RD)
        _shut(sink, socket.SHUT_WR)

    return [threading.Thread(target=work, daemon=True) for work in (read, write)]


def _shut(end: socket.socket, how: int) -> None:
    with suppress(OSError):  # the connection may be closed already
        end.shutdown(how)
