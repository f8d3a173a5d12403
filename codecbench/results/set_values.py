"""Values of a set metric: of samples, and of bootstrap resamples of them, kept so that two records can be compared."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
"""Resamples of a set metric, whose values may take milliseconds each."""

_CHUNK_COUNTS = 1 << 20
"""Counts in one call: 8 MB, of which a metric may make arrays that are some ten times as large."""


@dataclass(frozen=True, eq=False)
class SetValues:
    """The value of a set metric for samples, and for resamples of them; nan where it has none.

    The resamples depend on the number of samples alone. So those of two records of one sample set are the same, and
    their values are paired.
    """

    value: float
    resampled: NDArray[np.float64]

    def to_text(self) -> str:
        """Return the values of the resamples as text: base64 of little-endian float64."""
        return base64.b64encode(self.resampled.astype("<f8").tobytes()).decode()


def resampled_from(text: str) -> NDArray[np.float64]:
    """Return the values of resamples from the text of `SetValues.to_text`. Raises ValueError for another text."""
    return np.frombuffer(base64.b64decode(text, validate=True), "<f8").astype(np.float64)


def bootstrap(
    values: Callable[[Sequence[tuple[NDArray[Any], ...]], NDArray[np.int64]], NDArray[np.float64]],
    outcomes: Sequence[tuple[NDArray[Any], ...]],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SetValues:
    """Return the values of a metric for samples with these outcomes, and for resamples drawn from a seed.

    `values` is `SetMetric.values`. It is called with all resamples at once unless their counts take much memory.
    """
    count = len(outcomes)
    (value,) = values(outcomes, np.ones((1, count), dtype=np.int64)).tolist()
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_COUNTS // count)
    sizes = [min(chunk, resamples - start) for start in range(0, resamples, chunk)]
    resampled = [values(outcomes, draw_counts(rng, count, size)) for size in sizes]
    return SetValues(value, np.concatenate([np.empty(0), *resampled]))


def draw_counts(rng: np.random.Generator, count: int, resamples: int) -> NDArray[np.int64]:
    """Return how often each sample is drawn in each resample, of shape (resamples, count)."""
    counts = np.empty((resamples, count), dtype=np.int64)
    picks = rng.integers(0, count, size=(resamples, count), dtype=np.uint32)  # drawn three times as fast as int64
    for row, picked in zip(counts, picks, strict=True):
        row[:] = np.bincount(picked, minlength=count)
    return counts
