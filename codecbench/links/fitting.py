"""Fits a link to measured pairs of message size and time, and states its error on held-out sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from codecbench.errors import UsageError
from codecbench.links.model import SEGMENT_BYTES, TcpRampLink

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

INITIAL_WINDOWS_BYTES = tuple(segments * SEGMENT_BYTES for segments in (10, 4, 3, 2, 1))
"""Initial windows of TCP's standards: RFC 6928 (10 segments), RFC 3390 (3 or 4), RFC 2581 (2) and RFC 2001 (1)."""
MIN_SIZES = 5
"""The number of different sizes that a fit needs: three for the constants, two more to check them."""
FOLDS = 10
NEAR_BEST = (1.02, 0.002)
"""Among ramps with an error up to this factor times the smallest, plus this offset, the fewest stalls win."""
DIGITS = 3
FASTEST_BIT_PER_S = 1e12
"""The upper bound of fitted bandwidths. A fit that reaches it means that times do not grow with size."""


@dataclass(frozen=True)
class LinkFit:
    """A fitted link, and its mean and median relative errors: on the fitted pairs, and on sizes held out of the fit."""

    link: TcpRampLink
    pairs: int
    sizes: int
    mean_error: float
    median_error: float
    held_out_mean_error: float
    held_out_median_error: float


def fit_pairs(
    payload_bytes: ArrayLike,
    ms: ArrayLike,
    *,
    name: str = "fitted",
    description: str = "",
    handshake_round_trips: float = 0.0,
) -> LinkFit:
    """Return the TCP ramp of the smallest mean relative error over these pairs, constants rounded to three digits.

    For a given initial window and a given number of windows that stall, the time is linear in base, round trip and time
    per bit. So the smallest sum of absolute relative errors is a linear program (Charnes, Cooper and Ferguson, Optimal
    Estimation of Executive Compensation by Linear Programming, Management Science 1955). The best solution over all
    INITIAL_WINDOWS_BYTES and all numbers of stalls is the optimum: the fit uses no random numbers and no start values.
    Pairs of one size enter as their median, weighted by their number.

    Errors are those of single pairs. Held-out errors come from ten-fold cross-validation (fewer folds for fewer sizes)
    in which a fold has all pairs of its sizes. Raises UsageError for fewer than five sizes, for times that are not
    above 0, and for times that do not grow with size.
    """
    import numpy as np

    size, time_ms = np.asarray(payload_bytes, dtype=np.float64), np.asarray(ms, dtype=np.float64)
    if size.shape != time_ms.shape or size.ndim != 1:
        raise UsageError(f"a fit needs a time for each size, not sizes {size.shape} and times {time_ms.shape}")
    if not (np.isfinite(size) & np.isfinite(time_ms) & (size >= 0) & (time_ms > 0)).all():
        raise UsageError("a fit needs sizes from 0 on and times above 0")
    seconds, distinct = time_ms / 1e3, np.unique(size)
    check_sizes(distinct.tolist())
    base = TcpRampLink(name, 0.0, 1.0, handshake_round_trips=handshake_round_trips, description=description)
    link = _best(base, size, seconds)
    if link.bandwidth_bit_per_s >= FASTEST_BIT_PER_S:
        raise UsageError("the times do not grow with the size; measure larger messages")
    error = np.abs(link.seconds(size) / seconds - 1)
    held_out = np.empty_like(error)
    folds = min(FOLDS, len(distinct))
    for fold in range(folds):
        out = np.isin(size, distinct[fold::folds])
        held_out[out] = np.abs(_best(base, size[~out], seconds[~out]).seconds(size[out]) / seconds[out] - 1)
    return LinkFit(
        link, len(size), len(distinct), float(error.mean()), float(np.median(error)), float(held_out.mean()),
        float(np.median(held_out)),
    )  # fmt: skip


def check_sizes(sizes: Sequence[float]) -> None:
    """Raise UsageError if there are too few different sizes for a fit."""
    if len(set(sizes)) < MIN_SIZES:
        raise UsageError(f"{len(set(sizes))} different sizes are too few for a fit; give at least {MIN_SIZES}")


def _best(base: TcpRampLink, size: NDArray[Any], seconds: NDArray[Any]) -> TcpRampLink:
    """Return the best ramp over all initial windows and numbers of stalls, constants rounded."""
    import numpy as np

    sizes, at, count = np.unique(size, return_inverse=True, return_counts=True)
    medians = np.array([np.median(seconds[at == i]) for i in range(len(sizes))])
    candidates = []
    for window in INITIAL_WINDOWS_BYTES:
        # Without a stall a ramp is a straight line for any window, so one window is enough.
        stalls = 0 if window == INITIAL_WINDOWS_BYTES[0] else 1
        while window * (2**stalls - 1) < sizes[-1]:
            found = _ramp(replace(base, initial_window_bytes=window), stalls, sizes, medians, count)
            if found is not None:
                candidates.append((*found, stalls))
            stalls += 1
    if not candidates:
        raise UsageError("no link fits these pairs: sizes or times are too far apart; measure sizes that you will send")
    factor, more = NEAR_BEST
    limit = factor * min(error for error, _, _ in candidates) + more
    _, link, _ = min((c for c in candidates if c[0] <= limit), key=lambda c: (c[2], c[0]))
    return link


def _ramp(
    base: TcpRampLink, stalls: int, sizes: NDArray[Any], seconds: NDArray[Any], count: NDArray[Any]
) -> tuple[float, TcpRampLink] | None:
    """Return the mean relative error and the best ramp with this number of stalls, or None if there is none."""
    import numpy as np
    from scipy.optimize import linprog

    windows = base.initial_window_bytes * 2.0 ** np.arange(stalls + 1)
    waits = sizes[:, None] > np.cumsum(windows)[:stalls]
    # Columns: base, round trip, microseconds per bit. A stall takes a round trip minus the time of its window's bits.
    columns = np.stack(
        [
            np.ones_like(sizes),
            waits.sum(axis=1) + base.handshake_round_trips,
            8e-6 * (sizes - (waits * windows[:stalls]).sum(axis=1)),
        ],
        axis=1,
    )
    relative, slack, none = columns / seconds[:, None], np.eye(len(sizes)), np.zeros(len(sizes))
    limits = [
        np.array([0.0, 1.0, -8e-6 * windows[stalls], *none])
    ]  # the first window that does not stall fills the path
    if stalls:
        limits.append(np.array([0.0, -1.0, 8e-6 * windows[stalls - 1], *none]))  # the last window that stalls does not
    solved = linprog(
        np.concatenate([np.zeros(3), count / count.sum()]),
        A_ub=np.vstack([np.hstack([relative, -slack]), np.hstack([-relative, -slack]), *limits]),
        b_ub=np.concatenate([np.ones(len(sizes)), -np.ones(len(sizes)), np.zeros(len(limits))]),
        bounds=[(0, None), (0, None), (1e6 / FASTEST_BIT_PER_S, None)] + [(0, None)] * len(sizes),
    )  # fmt: skip
    if solved.status != 0:
        return None
    # The solver's values may be below 0 by its tolerance.
    base_s, round_trip_s, us_per_bit = (max(0.0, float(value)) for value in solved.x[:3])
    if not stalls and not base.handshake_round_trips:
        round_trip_s = 0.0  # no time depends on it
    link = replace(
        base,
        base_s=_rounded(base_s),
        round_trip_s=_rounded(round_trip_s),
        bandwidth_bit_per_s=_rounded(1e6 / us_per_bit),
    )
    return float(solved.fun), link


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
