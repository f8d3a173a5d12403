"""Pure models of networks: payload bytes to seconds. No clock, no state, vectorised over numpy arrays.

Bandwidths are what a payload sees (goodput): no link adds the bytes of packet headers.
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

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

PACKET_BYTES = 1_500
"""A full packet: the payload of an Ethernet frame (RFC 894), and of a delivery opportunity in a Mahimahi trace."""
SEGMENT_BYTES = 1_460
"""What TCP carries in a full packet: without 20 bytes of IPv4 header and 20 of its own."""
TIMEOUT_FLOOR_S = 0.2
"""What Linux adds at least to the round trip in its retransmission timeout (RFC 6298 asks for a second in all)."""
DUPLICATES_FOR_RETRANSMIT = 3
"""Segments that must arrive behind a lost one before it is sent again at once (RFC 5681 section 3.2)."""


class Link(ABC):
    """A network path from device to edge, as a function of size alone."""

    name: str
    description: str
    bandwidth_bit_per_s: float | None = None
    """What the path carries when it is full; None where no one number says it."""

    @abstractmethod
    def seconds(self, payload_bytes: ArrayLike) -> NDArray[np.float64]:
        """Seconds that each message takes. Shape follows `payload_bytes`.

        The registered links and what `codecbench link probe` fits count the way back of a short answer, too.
        """

    def with_bandwidth(self, bandwidth_bit_per_s: float) -> Link:
        """The same path at another bandwidth, never slower at a greater one. Raises UsageError where it cannot tell."""
        raise UsageError(f"link {self.name!r} has no bandwidth that could be changed; define with_bandwidth() in it")

    def with_delay(self, delay_s: float) -> Link:
        """The same path with every packet to the edge this much later. Raises UsageError where it cannot tell."""
        raise UsageError(f"link {self.name!r} cannot delay its packets; define with_delay() in it")

    def with_background(self, share: float) -> Link:
        """The same path while others take this share of its capacity, 0 <= share < 1: see `BackgroundLink`.

        Raises UsageError for another share, and for a link that has no bandwidth.
        """
        return self if share == 0 else BackgroundLink(self, share)


@dataclass(frozen=True)
class FixedRateLink(Link):
    """A constant latency and a constant rate: latency + bytes / bandwidth. No protocol."""

    name: str
    bandwidth_bit_per_s: float = field()
    latency_s: float = 0.0
    description: str = ""

    def __post_init__(self) -> None:
        _check(self, above_zero=("bandwidth_bit_per_s",), from_zero=("latency_s",))

    def seconds(self, payload_bytes: ArrayLike) -> NDArray[np.float64]:
        """Seconds of latency and serialisation."""
        import numpy as np

        return self.latency_s + np.asarray(payload_bytes, dtype=np.float64) * 8 / self.bandwidth_bit_per_s

    def with_bandwidth(self, bandwidth_bit_per_s: float) -> FixedRateLink:
        """The same latency at another rate."""
        return replace(self, bandwidth_bit_per_s=bandwidth_bit_per_s)

    def with_delay(self, delay_s: float) -> FixedRateLink:
        """A longer latency at the same rate."""
        return replace(self, latency_s=self.latency_s + delay_s)


@dataclass(frozen=True)
class TcpRampLink(Link):
    """A TCP connection whose window doubles each round trip until it reaches the bandwidth.

    A message that fits the initial window takes base + bytes / bandwidth. A larger one waits a round trip for each
    doubling that it needs (slow start, RFC 5681 section 3.1, initial window of RFC 6928), until a window holds as much
    as the path carries in a round trip; from then on the bandwidth alone counts.

    The connection is open and idle, as between two requests: its window is the initial one again (RFC 5681 section
    4.1). A fresh one adds `handshake_round_trips`: 1 for TCP (RFC 9293), 2 with TLS 1.3 (RFC 8446).

    `loss` is the share of packets that are lost, each by itself. The expected time then has three parts, in the manner
    of Cardwell, Savage and Anderson, Modeling TCP Latency, INFOCOM 2000: (1) slow start carries what is expected to be
    sent up to the first loss; (2) the rest goes at the steady rate of Mathis et al., The
    Macroscopic Behavior of the TCP Congestion Avoidance Algorithm, CCR 1997: segment / round trip * sqrt(3 / (2 loss)),
    or at the bandwidth where that is less; (3) a loss anywhere costs a round trip, and one among the last three
    segments, which have too few behind them for a fast retransmit, a timeout. Parts 1 and 2 never take less than
    the message would without a loss.
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
        """Seconds until the last byte has arrived: base, handshake, round trips of the ramp, serialisation, losses."""
        import numpy as np

        payload: NDArray[Any] = np.array(payload_bytes, dtype=np.float64, copy=True)
        # In one axis even where there is a single number, whose powers would else differ in the last bit.
        in_row = payload.reshape(-1)
        fixed_s = self.base_s + self.handshake_round_trips * self.round_trip_s
        seconds = fixed_s + (self._lossy_s(in_row) if self.loss else self._ramp_s(in_row))
        return seconds.reshape(payload.shape)

    def _lossy_s(self, payload: NDArray[Any]) -> NDArray[np.float64]:
        """The three parts of the class's text."""
        import numpy as np

        kept = 1 - self.loss
        segments = payload / SEGMENT_BYTES
        ramp_bytes = np.minimum(payload, ((1 - kept**segments) * kept / self.loss + 1) * SEGMENT_BYTES)
        steady_s = (payload - ramp_bytes) * 8 / self._steady_bit_per_s()
        recovery_s = (1 - kept**segments) * self.round_trip_s
        tail = np.minimum(segments, DUPLICATES_FOR_RETRANSMIT)
        timeout_s = (1 - kept**tail) * (self.round_trip_s + TIMEOUT_FLOOR_S)
        # An early loss ends slow start, and with it stalls that the steady rate does not pay for: hence the maximum.
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
        """The same round trip, window and loss at another bandwidth."""
        return replace(self, bandwidth_bit_per_s=bandwidth_bit_per_s)

    def with_delay(self, delay_s: float) -> TcpRampLink:
        """The same path with the delay once in its base and once in each round trip."""
        return replace(self, base_s=self.base_s + delay_s, round_trip_s=self.round_trip_s + delay_s)

    def on_fresh_connections(self, handshake_round_trips: float = 1.0) -> TcpRampLink:
        """The same path where each message opens a connection: 1 round trip for TCP, 2 with TLS 1.3."""
        return replace(self, handshake_round_trips=handshake_round_trips)


@dataclass(frozen=True)
class BackgroundLink(Link):
    """A path of whose capacity others take a share: what they leave, and the wait in the queue behind their packets.

    The link runs at (1 - share) of its bandwidth, and each packet to the edge waits as in an M/D/1 queue: packets of
    others arrive at random (Poisson) and take a constant time D each, that of 1,500 bytes at the whole bandwidth. The
    mean wait is share / (2 (1 - share)) * D (Pollaczek and Khinchine; Kleinrock, Queueing Systems, volume 1, 1975,
    chapter 5). Others do not slow down for this message, as TCP would.

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
        """Mean seconds that a packet waits in the queue."""
        return self.share / (2 * (1 - self.share)) * PACKET_BYTES * 8 / self.bandwidth_bit_per_s

    def seconds(self, payload_bytes: ArrayLike) -> NDArray[np.float64]:
        """Seconds over the link at its residual bandwidth, behind the queue."""
        if self.share == 0:
            return self.link.seconds(payload_bytes)
        left = self.link.with_bandwidth((1 - self.share) * self.bandwidth_bit_per_s)
        return left.with_delay(self.waiting_s).seconds(payload_bytes)

    def with_bandwidth(self, bandwidth_bit_per_s: float) -> BackgroundLink:
        """The same share of another bandwidth: that of the whole path, not of what is left."""
        return BackgroundLink(self.link.with_bandwidth(bandwidth_bit_per_s), self.share)

    def with_delay(self, delay_s: float) -> BackgroundLink:
        """The same background on a path with a longer delay."""
        return BackgroundLink(self.link.with_delay(delay_s), self.share)

    def with_background(self, share: float) -> Link:
        """More background: the share is of what was left so far."""
        return self if share == 0 else BackgroundLink(self.link, 1 - (1 - self.share) * (1 - share))


@dataclass(frozen=True)
class TraceLink(Link):
    """A recorded path, replayed: each line of a Mahimahi trace is a millisecond at which 1,500 bytes can be delivered.

    A message takes one opportunity for each 1,500 bytes, and waits until the last of them. The trace repeats at its
    end. `seconds` is the mean over all starting times, exactly: each stretch between two opportunities counts by its
    length. The format and the replay are those of mm-link: Netravali et al., Mahimahi, USENIX ATC 2015. Bytes that
    are sent are billed; acknowledgements, windows and headers are not modelled.

    Raises UsageError for times that are none, negative, not in order, or all 0.
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
        if any(later < earlier for earlier, later in pairwise(times)):
            raise UsageError(f"trace {self.name!r} goes back in time; its lines must be in order")
        if not times or times[-1] == 0:
            raise UsageError(f"trace {self.name!r} has no length; its last line must be a time above 0")
        object.__setattr__(self, "times_ms", times)
        bandwidth = len(times) * self.opportunity_bytes * 8e3 / times[-1]
        object.__setattr__(self, "bandwidth_bit_per_s", bandwidth)

    @classmethod
    def read(cls, path: Path, *, name: str | None = None, latency_s: float = 0.0) -> TraceLink:
        """A Mahimahi trace file. Raises DataError, naming the line, for one that is missing or damaged."""
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"trace {path} cannot be read ({error}); give a text file of milliseconds") from error
        while lines and not lines[-1].strip():
            lines.pop()
        for number, line in enumerate(lines, start=1):
            if not line.strip().isdecimal():
                shown = line.strip()[:40]
                raise DataError(f"{path}, line {number}: {shown!r} is no time; a line is one whole number of ms")
        link = path.stem if name is None else name
        description = f"Mahimahi trace {path.name}, replayed"
        try:
            return cls(link, [int(line) for line in lines], latency_s=latency_s, description=description)
        except UsageError as error:
            raise DataError(f"{path}: {error}") from error

    @cached_property
    def _mean_ms(self) -> NDArray[np.float64]:
        """For 1 to all opportunities of one pass: mean ms from a starting time to the last of so many.

        A start in gap j ends at opportunity j + m - 1, so the mean over starts is a circular correlation of gaps and
        times. All terms are whole numbers; rounding takes the error of the transform away.
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
        """Mean seconds over all starting times until the last byte has been delivered."""
        import numpy as np

        payload = np.asarray(payload_bytes, dtype=np.float64)
        opportunities = np.ceil(payload / self.opportunity_bytes).astype(np.int64)
        passes, rest = np.divmod(np.maximum(opportunities - 1, 0), len(self.times_ms))
        waited_ms = np.where(opportunities > 0, self._mean_ms[rest] + passes * float(self.times_ms[-1]), 0.0)
        return self.latency_s + waited_ms / 1e3

    def with_bandwidth(self, bandwidth_bit_per_s: float) -> TraceLink:
        """The same opportunities, each of so many bytes that the mean is this bandwidth."""
        scale = bandwidth_bit_per_s / self.bandwidth_bit_per_s
        return replace(self, opportunity_bytes=self.opportunity_bytes * scale)

    def with_delay(self, delay_s: float) -> TraceLink:
        """The same trace behind a longer latency."""
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
        beyond = not _is_number(value) or value < 0 or (key in above_zero and value == 0)
        if beyond or (key in below_one and value >= 1):
            bounds = "above 0" if key in above_zero else "from 0" + (" to below 1" if key in below_one else "")
            raise UsageError(f"link {link.name!r}: {key} must be a number {bounds}, not {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
