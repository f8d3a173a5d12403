"""Entropy-constrained scalar quantisation: thresholds minimise squared error plus weighted rate.

Importing this module does not import numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_SYMBOL = 1 << 14
"""Values are clipped to this magnitude, in steps, before a quantiser is trained on them."""

BINS = 16
"""Possible thresholds a step: bin b holds the values from b/BINS to (b + 1)/BINS of a step."""

RATE_WEIGHT = 0.12
"""The weight of a bit, in squared steps. At high rates, one more bit lowers the squared error by ln(2)/6 = 0.116."""

_PASSES = 8
_MANY_SYMBOLS = 256
_SPARE_COUNT = 0.25
_MAX_BIN = 1 << 19  # beyond the thresholds of all symbols


@dataclass(frozen=True, eq=False)
class ScalarQuantiser:
    """Quantisation cells of values in steps; their symbols are the consecutive integers from `lowest` on.

    `counts` are the symbols' weights in training, none of them zero. `centroids` are the restored values of the
    symbols, in steps. `thresholds` are the first bins of all cells but the first, ascending. `error` is the mean
    squared error in training, in squared steps.
    """

    lowest: int
    counts: NDArray[np.float64]
    centroids: NDArray[np.float64]
    thresholds: NDArray[np.int64]
    error: float

    @property
    def cost(self) -> float:
        """Mean squared error plus RATE_WEIGHT for each bit of entropy, in squared steps."""
        import numpy as np

        shares = self.counts / self.counts.sum()
        return self.error - RATE_WEIGHT * float(shares @ np.log2(shares))

    @classmethod
    def trained(cls, values: NDArray[np.float64]) -> ScalarQuantiser | None:
        """Return a quantiser for values (n,) in steps, up to MAX_SYMBOL; None if all would have the same symbol.

        It starts with rounding. It then alternates between thresholds that minimise `cost` for the present counts and
        centroids, and the counts and centroids of these thresholds (Chou, Lookabaugh and Gray 1989).
        """
        import numpy as np

        lowest, highest = int(np.rint(values.min())) - 1, int(np.rint(values.max())) + 1
        symbols = np.arange(lowest, highest + 1)
        first_bin = lowest * BINS - BINS // 2
        bins = np.floor(values * BINS).astype(np.int64) - first_bin
        centres = (np.arange(BINS * len(symbols)) + first_bin + 0.5) / BINS
        weights = np.bincount(bins, minlength=len(centres))
        sums = np.bincount(bins, weights=values, minlength=len(centres))
        chosen = np.arange(len(centres)) // BINS
        # With more symbols each is so rare that thresholds at midpoints are as good.
        for _ in range(_PASSES if len(symbols) <= _MANY_SYMBOLS else 0):
            counts, centroids = _cells(chosen, weights, sums, symbols)
            bits = -np.log2(counts / counts.sum())
            cost = np.square(centres[:, None] - centroids) + RATE_WEIGHT * bits
            chosen = np.maximum.accumulate(cost.argmin(axis=1))
        if chosen[bins].min() == chosen[bins].max():
            return None
        counts, centroids = _cells(chosen, weights, sums, symbols)
        used = slice(int(chosen[0]), int(chosen[-1]) + 1)
        thresholds = np.searchsorted(chosen, np.arange(used.start + 1, used.stop)) + first_bin
        error = float(np.square(values - centroids[chosen[bins]]).mean())
        return cls(lowest + used.start, counts[used], centroids[used], thresholds, error)


def find_cells(thresholds: Sequence[NDArray[np.int64]], bins: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the cell of its row's quantiser that holds each bin, from 0 on, for bins (rows, n)."""
    import numpy as np

    # One search for all rows: each row is shifted to its own range, far from the others.
    starts = np.arange(len(thresholds))[:, None] * (4.0 * _MAX_BIN)
    ends = np.cumsum([0, *map(len, thresholds)])[:-1, None]
    ascending = [np.zeros(0), *(row + start for row, start in zip(thresholds, starts, strict=True))]
    cells: NDArray[np.int64] = (
        np.searchsorted(np.concatenate(ascending), bins.clip(-_MAX_BIN, _MAX_BIN) + starts, "right") - ends
    )
    return cells


def _cells(
    chosen: NDArray[Any], weights: NDArray[Any], sums: NDArray[Any], symbols: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return counts and centroids; each symbol also counts _SPARE_COUNT values that equal the symbol."""
    import numpy as np

    counts = np.bincount(chosen, weights=weights, minlength=len(symbols)) + _SPARE_COUNT
    return counts, (np.bincount(chosen, weights=sums, minlength=len(symbols)) + _SPARE_COUNT * symbols) / counts
