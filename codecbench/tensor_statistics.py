"""TensorStatistics: what a run knows of the values of a tensor before a codec is asked for its operating points.

Importing this module does not import numpy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATISTICS_SAMPLES = 32
"""The number of training samples that statistics are made of, or all if there are fewer."""

COMPARED_VALUES = 1 << 16
"""About the number of a sample's values, evenly spread, from which `effective_values` is estimated."""

DIGITS = 4
"""Significant digits of every number, so that the last bits of a machine's arithmetic change no operating point."""


@dataclass(frozen=True)
class TensorStatistics:
    """The values of a tensor over the first STATISTICS_SAMPLES training samples, to four significant digits.

    `values` is the mean number of values of a sample. `low`, `high`, `mean` and `deviation` (root mean square, from the
    mean) are over all values of all samples, `zeros` is the share of them that is exactly 0. `sample_range` is the mean
    over samples of the highest less the lowest value. `effective_values` is the number of independent values of equal
    variance that differ from sample to sample as much: tr(C)^2 / tr(C^2) of their covariance C (the participation
    ratio), at least 1 and at most the number of values. Feature maps of thousands of values have tens.
    """

    samples: int
    values: float
    low: float
    high: float
    mean: float
    deviation: float
    zeros: float
    sample_range: float
    effective_values: float

    @classmethod
    def of(cls, samples: Sequence[NDArray[Any]]) -> TensorStatistics | None:
        """Return the statistics of these samples; None without values, or if one is not finite."""
        import numpy as np

        flat = [np.asarray(sample, np.float64).reshape(-1) for sample in samples if sample.size]
        if not flat or not all(np.isfinite(values).all() for values in flat):
            return None
        count = sum(values.size for values in flat)
        mean = sum(float(values.sum()) for values in flat) / count
        return cls(
            samples=len(flat),
            values=_rounded(count / len(flat)),
            low=_rounded(min(float(values.min()) for values in flat)),
            high=_rounded(max(float(values.max()) for values in flat)),
            mean=_rounded(mean),
            deviation=_rounded(math.sqrt(sum(float(((values - mean) ** 2).sum()) for values in flat) / count)),
            zeros=_rounded(sum(int((values == 0).sum()) for values in flat) / count),
            sample_range=_rounded(sum(float(np.ptp(values)) for values in flat) / len(flat)),
            effective_values=_rounded(_effective_values(samples)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_json` makes equal statistics."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TensorStatistics:
        """The inverse of `to_json`."""
        return cls(**values)


def _effective_values(samples: Sequence[NDArray[Any]]) -> float:
    """Return the participation ratio of the covariance, estimated from the products of different samples.

    Samples of different lengths are compared up to the shortest. The products of samples less their mean vary by
    tr(C^2), however few samples there are.
    """
    import numpy as np

    shape = [min(lengths) for lengths in zip(*(sample.shape for sample in samples), strict=True)]
    size = math.prod(shape)
    if not size or len(samples) < 3:
        return 1.0
    stride = -(-size // COMPARED_VALUES)
    corner = tuple(slice(n) for n in shape)
    rows = np.stack([np.asarray(sample[corner], np.float64).reshape(-1)[::stride] for sample in samples])
    rows -= rows.mean(0)
    products = rows @ rows.T
    variance = float(np.trace(products)) / (len(rows) - 1)
    overlap = float(products[np.triu_indices(len(rows), 1)].var())
    return min(max(variance**2 / overlap, 1.0), float(size)) if overlap > 0 else 1.0


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
