"""Pure models of networks: payload bytes to seconds. No clock, no state, vectorised over numpy arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


class Link(ABC):
    """A network path from device to edge, as a function of size alone."""

    name: str
    description: str

    @abstractmethod
    def seconds(self, payload_bytes: ArrayLike) -> NDArray[np.float64]:
        """Seconds until the last byte of each message has arrived. Shape follows `payload_bytes`."""


@dataclass(frozen=True)
class TcpRampLink(Link):
    """A warm TCP connection whose window doubles each round trip until it reaches the bandwidth.

    A message that fits the initial window takes base + bytes / bandwidth. A larger one waits a round trip for each
    doubling that it needs (slow start, RFC 5681 section 3.1, initial window of RFC 6928), until a window holds as much
    as the path carries in a round trip; from then on the bandwidth alone counts.
    """

    name: str
    round_trip_s: float
    bandwidth_bit_per_s: float
    base_s: float = 0.0
    initial_window_bytes: int = 14_600
    description: str = ""

    def seconds(self, payload_bytes: ArrayLike) -> NDArray[np.float64]:
        """Seconds until the last byte has arrived: base, round trips of the ramp, and serialisation."""
        import numpy as np

        remaining: NDArray[Any] = np.array(payload_bytes, dtype=np.float64, copy=True)
        seconds = self.base_s + remaining * 8 / self.bandwidth_bit_per_s
        window = float(self.initial_window_bytes)
        path_bytes = self.round_trip_s * self.bandwidth_bit_per_s / 8
        while window < path_bytes and bool((remaining > window).any()):
            # The sender is idle from the end of this window until the first acknowledgement returns.
            stall_s = self.round_trip_s - window * 8 / self.bandwidth_bit_per_s
            seconds = seconds + np.where(remaining > window, stall_s, 0.0)
            remaining = remaining - window
            window *= 2
        return seconds
