"""A relay that makes a path slow: bytes pass at a rate and after a delay. It needs no rights and no other program."""

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
"""Chunks that a direction holds at least, before the sender has to wait."""
UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}


def parse_rate(text: str) -> float:
    """Bits a second of a text like 20Mbit, 512kbit, 1.5Gbit or 9600. Raises UsageError for another text."""
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kmg]?)bit(?:/s)?)?", text.strip().lower())
    rate = float(matched[1]) * UNITS[matched[2] or ""] if matched else 0.0
    if rate <= 0:
        raise UsageError(f"{text!r} is no rate; write 20Mbit, 512kbit or 1.5Gbit")
    return rate


class Shaper:
    """One direction of a path: bytes leave one after another at a rate, and arrive a delay later.

    A token bucket without a bucket: nothing may leave faster than the rate, after however long a silence. All
    connections share it, as they would share a wire.
    """

    def __init__(self, rate_bit_per_s: float, delay_s: float) -> None:
        self.rate_bit_per_s, self.delay_s = rate_bit_per_s, delay_s
        self._watch, self._lock, self._free_s = measure.Stopwatch(), threading.Lock(), 0.0

    def due_s(self, count_bytes: int) -> float:
        """When bytes that are here now have arrived, on this shaper's own watch."""
        with self._lock:
            self._free_s = max(self._free_s, self._watch.elapsed_s()) + count_bytes * 8 / self.rate_bit_per_s
            return self._free_s + self.delay_s

    def remaining_s(self, due_s: float) -> float:
        """Seconds until then; 0 or less when it has passed."""
        return due_s - self._watch.elapsed_s()


def relay(
    target: Address, *, rate_bit_per_s: float, delay_s: float = 0.0, host: str = "127.0.0.1", port: int = 0
) -> Listener:
    """A listener whose connections lead to the target, at this rate and with this delay in each direction.

    It ends TCP on both sides: what it shapes is the stream, so there is no slow start over its delay and no loss. Each
    message takes two delays and its bytes at the rate. A connection is closed where the target cannot be reached.
    Raises UsageError for a rate or a delay that is none, and for an address that cannot be had.
    """
    if not (0 < rate_bit_per_s < math.inf and 0 <= delay_s < math.inf):
        raise UsageError(f"a relay needs a rate above 0 and a delay from 0, not {rate_bit_per_s!r} and {delay_s!r}")
    there, back = (Shaper(rate_bit_per_s, delay_s) for _ in range(2))
    depth = max(MIN_QUEUE, math.ceil(2 * rate_bit_per_s * delay_s / 8 / PACKET_BYTES))

    def serve(near: socket.socket) -> None:
        with socket.create_connection(target, timeout=TIMEOUT_S) as edge_socket:
            for end in (near, edge_socket):
                end.settimeout(IDLE_S)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _run_all([*_pump(near, edge_socket, there, depth), *_pump(edge_socket, near, back, depth)])

    return Listener(host, port, serve)


def _run_all(threads: Iterable[threading.Thread]) -> None:
    threads = list(threads)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _pump(source: socket.socket, sink: socket.socket, shaper: Shaper, depth: int) -> list[threading.Thread]:
    """The two threads of one direction: one notes when bytes came, the other passes them on when they are due."""
    waiting: queue.Queue[tuple[float, bytes]] = queue.Queue(depth)
    never = threading.Event()

    def take() -> None:
        with suppress(OSError):  # an end as good as any
            while data := source.recv(CHUNK_BYTES):
                waiting.put((shaper.due_s(len(data)), data))
        waiting.put((0.0, b""))

    def give() -> None:
        broken = False
        while True:
            due_s, data = waiting.get()
            if not data:
                break
            if broken:
                continue  # so that the other thread is not held up for ever
            remaining_s = shaper.remaining_s(due_s)
            if remaining_s > 0:
                never.wait(remaining_s)
            try:
                sink.sendall(data)
            except OSError:
                broken = True
                _shut(source, socket.SHUT_RD)
        _shut(sink, socket.SHUT_WR)

    return [threading.Thread(target=work, daemon=True) for work in (take, give)]


def _shut(end: socket.socket, how: int) -> None:
    with suppress(OSError):  # where it has ended by itself
        end.shutdown(how)
