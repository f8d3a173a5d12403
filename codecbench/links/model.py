"""Models of networks: pure functions from payload bytes to seconds, vectorised over numpy arrays.

Bandwidths are goodput: links do not add the bytes of packet headers to a payload.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.errors import DataError, UsageError
from codecbench.system.textfiles import lines_of, read_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

PACKET_BYTES = 1_500
"""A full packet: the payload of an Ethernet frame (RFC 894), or of a delivery opportunity in a Mahimahi trace."""
SEGMENT_BYTES = 1_460
"""TCP's payload in a full packet: without 20 bytes of IPv4 header and 20 bytes of TCP header."""
TIMEOUT_FLOOR_S = 0.2
"""The least that Linux adds to the round trip for its retransmission timeout (RFC 6298: at least 1 s in total)."""
LATEST_MS = 10**12
"""The latest time of a trace, 30 years: sums of times stay exact."""
MIN_CONSTANT, MAX_CONSTANT = 1e-9, 1e18
"""Bounds of a link's constants: beyond them, the seconds of common sizes are no finite numbers."""
DUPLICATES_FOR_RETRANSMIT = 3
"""Segments that must arrive after a lost one to trigger its fast retransmit (RFC 5681 section 3.2)."""


class Link(ABC):
    """A network path from device to edge. Its time depends on the message size only."""

    name: str
    description: str
    bandwidth_bit_per_s: float | None = None
    """The bandwidth of the saturated path in bit/s; None if no single number describes it."""

    @abstractmethod
    def seconds(self, payload_bytes: ArrayLike) -> NDArray[np.float64]:
        """Return the seconds that each message takes, in the shape of `payload_bytes`.

        For the registered links and those that `codecbench link probe` fits, they include the return of a short answer.
        """

    def with_bandwidth(self, bandwidth_bit_per_s: float) -> Link:
        """Return the same path at another bandwidth; more is never slower. Raises UsageError if that is undefined."""
        raise UsageError(f"link {self.name!r} has no bandwidth that could be changed; define with_bandwidth() in it")

    def with_delay(self, delay_s: float) -> Link:
        """Return the same path with packets to the edge delayed. Raises UsageError if that is undefined."""
        raise UsageError(f"link {self.name!r} cannot delay its packets; define with_delay() in it")

    def with_background(self, share: float) -> Link:
        """Return the same path with background traffic of this share of its capacity, 0 <= share < 1.

        See `BackgroundLink`. Raises UsageError for a share out of bounds, and for a link without a bandwidth.
        """
        return self if share == 0 else BackgroundLink(self, share)


@dataclass(frozen=True)
class FixedRateLink(Link):
    """A link of constant latency and rate, without a protocol: latency + 8 * bytes / bandwidth."""

    name: str
    bandwidth_bit_per_s: float = field()
    latency_s: float = 0.0
    description: str = ""

    def __post_init__(self) -> None:
        _check(self, above_zero=("bandwidth_bit_per_s",), from_zero=("latency_s",))

    def seconds(self, payload_bytes: ArrayLike) -> NDArray[np.float64]:
        """Return the seconds of latency and serialisation."""
        import numpy as np

        return self.latency_s + np.asarray(payload_bytes, dtype=np.float64) * 8 / self.bandwidth_bit_per_s

    def with_bandwidth(self, bandwidth_bit_per_s: float) -> FixedRateLink:
        """Return a link of the same latency at another rate."""
        return replace(self, bandwidth_bit_per_s=bandwidth_bit_per_s)

    def with_delay(self, delay_s: float) -> FixedRateLink:
        """Return a link of a longer latency at the same rate."""
        return replace(self, latency_s=self.latency_s + delay_s)


@dataclass(frozen=True)
class TcpRampLink(Link):
    """A TCP connection whose window doubles each round trip until it reaches the bandwidth.

    A message that fits the initial window takes base + 8 * bytes / bandwidth. A larger one stalls after each window
    until the first acknowledgement (slow start, RFC 5681 section 3.1; initial window of RFC 6928), until a window holds
    as much as the path carries in a round trip. From then on only the bandwidth counts.

    The connection is open and idle before a message, so its window is the initial one again (RFC 5681 section 4.1). A
    new connection adds `handshake_round_trips`: 1 for TCP (RFC 9293), 2 with TLS 1.3 (RFC 8446).

    `loss` is the share of packets that are lost, independently of each other. The expected time then has three parts,
    after Cardwell, Savage and Anderson, Modeling TCP Latency, INFOCOM 2000: (1) slow start sends the bytes expected
    before the first loss; (2) the rest is sent at the steady rate of Mathis et al., The Macroscopic Behavior of the TCP
    Congestion Avoidance Algorithm, CCR 1997, which is segment / round trip * sqrt(3 / (2 loss)), or at the bandwidth if
    that is lower; (3) any loss costs a round trip, and a loss among the last three segments, which have too few
    segments after them for a fast retransmit, costs a timeout. Parts 1 and 2 together never take less than the message
    without loss.
    """

    name: str
    round_trip_s: float
    bandwidth_bit_per_s: float = field()
    base_s: float = 0.0
    initial_window_bytes: int = 10 * SEGMENT_BYTES
    handshake_round_trips: float = 0.0
    loss: float = 0.0
    description: str = ""

    def __post_init__(self) -> None:
        _check(
            self, above_zero=("bandwidth_bit_per_s", "initial_window_bytes"),
            from_zero=("round_trip_s", "base_s", "handshake_round_trips", "loss"), below_one=("loss",),
        )  # fmt: skip

    def seconds(self, payload_bytes: ArrayLike) -> NDArray[np.float64]:
        """Return the seconds until the last byte arrives: base, handshake, stalls, serialisation, losses."""
        import numpy as np

        payload: NDArray[Any] = np.array(payload_bytes, dtype=np.float64, copy=True)
        # One axis even for a scalar: numpy's powers of scalars and arrays differ in the last bit.
        in_row = payload.reshape(-1)
        fixed_s = self.base_s + self.handshake_round_trips * self.round_trip_s
        seconds = fixed_s + (self._lossy_s(in_row) if self.loss else self._ramp_s(in_row))
        return seconds.reshape(payload.shape)

    def _lossy_s(self, payload: NDArray[Any]) -> NDArray[np.float64]:
        """Return the sum of the three parts that the class describes, without base and handshake."""
        import numpy as np

        kept = 1 - self.loss
        segments = payload / SEGMENT_BYTES
        ramp_bytes = np.minimum(payload, ((1 - kept**segments) * kept / self.loss + 1) * SEGMENT_BYTES)
        steady_s = (payload - ramp_bytes) * 8 / self._steady_bit_per_s()
        recovery_s = (1 - kept**segments) * self.round_trip_s
        tail = np.minimum(segments, DUPLICATES_FOR_RETRANSMIT)
        timeout_s = (1 - kept**tail) * (self.round_trip_s + TIMEOUT_FLOOR_S)
        # An early loss ends slow start without its later stalls, so parts 1 and 2 may be too small: hence the maximum.
        seconds: NDArray[np.float64] = np.maximum(self._ramp_s(payload), self._ramp_s(ramp_bytes) + steady_s)
        return seconds + recovery_s + timeout_s

    def _ramp_s(self, remaining: NDArray[Any]) -> NDArray[np.float64]:
        import numpy as np

        seconds: NDArray[np.float64] = remaining * 8 / self.bandwidth_bit_per_s
        window = float(self.initial_window_bytes)
        path_bytes = self.round_trip_s * self.bandwidth_bit_per_s / 8
        while window < path_bytes and bool((remaining > window).any()):
            # The sender is idle from the end of this window until the first acknowledgement returns.
            stall_s = self.round_trip_s - window * 8 / self.bandwidth_bit_per_s
            seconds = seconds + np.where(remaining > window, stall_s, 0.0)
            remaining = remaining - window
            window *= 2
        return seconds

    def _steady_bit_per_s(self) -> float:
        if not self.round_trip_s:
            return self.bandwidth_bit_per_s
        mathis = SEGMENT_BYTES * 8 / self.round_trip_s * math.sqrt(1.5 / self.loss)
        return min(self.bandwidth_bit_per_s, mathis)

    def with_bandwidth(self, bandwidth_bit_per_s: float) -> TcpRampLink:
        """Return a link of the same round trip, window and loss at another bandwidth."""
        return replace(self, bandwidth_bit_per_s=bandwidth_bit_per_s)

    def with_delay(self, delay_s: float) -> TcpRampLink:
        """Return the same path with the delay added to its base and to its round trip."""
        return replace(self, base_s=self.base_s + delay_s, round_trip_s=self.round_trip_s + delay_s)

    def on_fresh_connections(self, handshake_round_trips: float = 1.0) -> TcpRampLink:
        """Return the same path with a new connection for each message: 1 round trip for TCP, 2 with TLS 1.3."""
        return replace(self, handshake_round_trips=handshake_round_trips)


@dataclass(frozen=True)
class BackgroundLink(Link):
    """A link with background traffic: the remaining bandwidth, and a wait in the queue behind packets of others.

    The link runs at (1 - share) of its bandwidth, and each packet to the edge waits as in an M/D/1 queue: packets of
    others arrive at random (Poisson) and take a constant time D each, that of 1,500 bytes at the full bandwidth. The
    mean wait is share / (2 (1 - share)) * D (Pollaczek and Khinchine; Kleinrock, Queueing Systems, volume 1, 1975,
    chapter 5). Unlike TCP, the background traffic does not slow down for this message.

    Raises UsageError for a share outside [0, 1), and for a link without a bandwidth.
    """

    link: Link
    share: float
    name: str = field(init=False)
    description: str = field(init=False)
    bandwidth_bit_per_s: float = field(init=False)

    def __post_init__(self) -> None:
        if not _is_number(self.share) or not 0 <= self.share < 1:
            raise UsageError(f"background of {self.share!r}: give the share that others take, from 0 to below 1")
        bandwidth_bit_per_s = self.link.bandwidth_bit_per_s
        if bandwidth_bit_per_s is None:
            raise UsageError(f"link {self.link.name!r} has no bandwidth that others could take a share of")
        object.__setattr__(self, "name", self.link.name)
        taken = f"{100 * self.share:g} % of it taken by others"
        object.__setattr__(self, "description", f"{self.link.description}, {taken}".removeprefix(", "))
        object.__setattr__(self, "bandwidth_bit_per_s", bandwidth_bit_per_s)

    @property
    def waiting_s(self) -> float:
        """The mean wait of a packet in the queue, in seconds."""
        return self.share / (2 * (1 - self.share)) * PACKET_BYTES * 8 / self.bandwidth_bit_per_s

    def seconds(self, payload_bytes: ArrayLike) -> NDArray[np.float64]:
        """Return the seconds over the link at its remaining bandwidth, plus the wait in the queue."""
        if self.share == 0:
            return self.link.seconds(payload_bytes)
        left = self.link.with_bandwidth((1 - self.share) * self.bandwidth_bit_per_s)
        return left.with_delay(self.waiting_s).seconds(payload_bytes)

    def with_bandwidth(self, bandwidth_bit_per_s: float) -> BackgroundLink:
        """Return a link with the same share of another bandwidth: that of the full path, not the remaining one."""
        return BackgroundLink(self.link.with_bandwidth(bandwidth_bit_per_s), self.share)

    def with_delay(self, delay_s: float) -> BackgroundLink:
        """Return a link with the same background traffic and a longer delay."""
        return BackgroundLink(self.link.with_delay(delay_s), self.share)

    def with_background(self, share: float) -> Link:
        """Return a link with more background traffic: `share` is of the capacity that remained."""
        return self if share == 0 else BackgroundLink(self.link, 1 - (1 - self.share) * (1 - share))


@dataclass(frozen=True)
class TraceLink(Link):
    """A replayed trace: each line of a Mahimahi trace is a millisecond at which 1,500 bytes can be delivered.

    A message takes one opportunity for each 1,500 bytes, and waits until the last of them. The trace repeats at its
    end. `seconds` is the exact mean over all starting times: each gap between two opportunities is weighted by its
    length. The format and the replay are those of mm-link: Netravali et al., Mahimahi, USENIX ATC 2015.
    Acknowledgements, windows and headers are not modelled.

    Raises UsageError for times that are missing, negative, not in order, or all 0.
    """

    name: str
    times_ms: Sequence[int] = field(repr=False)
    latency_s: float = 0.0
    opportunity_bytes: float = PACKET_BYTES
    description: str = ""
    bandwidth_bit_per_s: float = field(init=False)

    def __post_init__(self) -> None:
        _check(self, above_zero=("opportunity_bytes",), from_zero=("latency_s",))
        times = tuple(self.times_ms)
        if any(type(t) is not int or t < 0 for t in times):
            raise UsageError(f"trace {self.name!r} needs whole milliseconds from 0 on")
        if any(t > LATEST_MS for t in times):
            raise UsageError(f"trace {self.name!r} has a time above {LATEST_MS} ms")
        if any(later < earlier for earlier, later in pairwise(times)):
            raise UsageError(f"trace {self.name!r} goes back in time; its lines must be in order")
        if not times or times[-1] == 0:
            raise UsageError(f"trace {self.name!r} has no length; its last line must be a time above 0")
        object.__setattr__(self, "times_ms", times)
        bandwidth = len(times) * self.opportunity_bytes * 8e3 / times[-1]
        object.__setattr__(self, "bandwidth_bit_per_s", bandwidth)

    @classmethod
    def read(cls, path: Path, *, name: str | None = None, latency_s: float = 0.0) -> TraceLink:
        """Read a Mahimahi trace file. Raises DataError, with the line, if it is missing or damaged."""
        lines = lines_of(read_text(path))
        while lines and not lines[-1].strip():
            lines.pop()
        times: list[int] = []
        for number, line in enumerate(lines, start=1):
            word = line.strip()
            shown = f"{path}, line {number}: {word[:40]!r}"
            if not (word.isascii() and word.isdecimal()):
                raise DataError(f"{shown} is no time; a line is one whole number of ms")
            if len(word.lstrip("0")) > len(str(LATEST_MS)) or int(word) > LATEST_MS:
                raise DataError(f"{shown} is later than a trace can be; a line is one whole number of ms")
            if times and int(word) < times[-1]:
                raise DataError(f"{shown} goes back in time, after {times[-1]}; the lines must be in order")
            times.append(int(word))
        link = path.stem if name is None else name
        description = f"Mahimahi trace {path.name}, replayed"
        try:
            return cls(link, times, latency_s=latency_s, description=description)
        except UsageError as error:
            raise DataError(f"{path}: {error}") from error

    @cached_property
    def _mean_ms(self) -> NDArray[np.float64]:
        """The mean milliseconds from a starting time to the m-th opportunity, for m = 1 to all of one pass.

        A start in gap j ends at opportunity j + m - 1, so the mean over starts is a circular correlation of gaps and
        times. All terms are whole numbers, so rounding removes the error of the Fourier transform.
        """
        import numpy as np

        times = np.array(self.times_ms, dtype=np.float64)
        period = times[-1]
        gaps = np.diff(times, prepend=0.0)
        ends = np.fft.irfft(np.conj(np.fft.rfft(gaps)) * np.fft.rfft(times), n=len(times))
        in_next_pass = np.concatenate(([0.0], np.cumsum(gaps[::-1])[:-1])) * period
        starts = (gaps * (times - gaps / 2)).sum()
        mean: NDArray[np.float64] = np.maximum.accumulate((np.rint(ends) + in_next_pass - starts) / period)
        return mean

    def seconds(self, payload_bytes: ArrayLike) -> NDArray[np.float64]:
        """Return the seconds until the last byte is delivered, averaged over all starting times."""
        import numpy as np

        payload = np.asarray(payload_bytes, dtype=np.float64)
        opportunities = np.ceil(payload / self.opportunity_bytes)
        passes, rest = np.divmod(np.maximum(opportunities - 1, 0), len(self.times_ms))
        mean_ms = self._mean_ms[rest.astype(np.int64)]
        waited_ms = np.where(opportunities > 0, mean_ms + passes * float(self.times_ms[-1]), 0.0)
        return self.latency_s + waited_ms / 1e3

    def with_bandwidth(self, bandwidth_bit_per_s: float) -> TraceLink:
        """Return a link with the same opportunities, their bytes scaled to this mean bandwidth."""
        scale = bandwidth_bit_per_s / self.bandwidth_bit_per_s
        return replace(self, opportunity_bytes=self.opportunity_bytes * scale)

    def with_delay(self, delay_s: float) -> TraceLink:
        """Return the same trace with a longer latency."""
        return replace(self, latency_s=self.latency_s + delay_s)


def _check(
    link: Link, *, above_zero: Sequence[str] = (), from_zero: Sequence[str] = (), below_one: Sequence[str] = ()
) -> None:
    """Raise UsageError unless these fields are finite numbers within their bounds."""
    if not isinstance(link.name, str) or not link.name:
        raise UsageError(f"a link needs a name, not {link.name!r}")
    if not isinstance(link.description, str):
        raise UsageError(f"link {link.name!r}: its description must be text, not {link.description!r}")
    for key in (*above_zero, *from_zero):
        value = getattr(link, key)
        beyond = not _is_number(value) or not 0 <= value <= MAX_CONSTANT or (key in above_zero and value < MIN_CONSTANT)
        if beyond or (key in below_one and value >= 1):
            bounds = "above 0" if key in above_zero else "from 0" + (" to below 1" if key in below_one else "")
            if isinstance(value, int | float) and abs(value) > 0 and not MIN_CONSTANT <= value <= MAX_CONSTANT:
                bounds += f", {MIN_CONSTANT:g} to {MAX_CONSTANT:g}" if value > 0 else ""
            raise UsageError(f"link {link.name!r}: {key} must be a number {bounds}, not {repr(value)[:40]}")


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= MAX_CONSTANT
    return isinstance(value, float) and math.isfinite(value)
