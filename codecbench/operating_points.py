"""From what operating points follow: a codec's rate knob, and the statistics of a tensor's values.

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

MAX_CANDIDATES = 160
"""The most values of a rate knob among which a search chooses."""


@dataclass(frozen=True)
class RateKnob:
    """The argument of a codec's points that trades payload bytes for quality, and the range in which it is useful.

    `coarsest` gives the smallest payloads and `finest` the best quality; either may be the larger number. A real
    argument is searched in steps of 6 %, an `integer` one in steps of 1. Raises ValueError for a range that is empty,
    or that reaches 0 with a real argument.
    """

    argument: str
    coarsest: float
    finest: float
    integer: bool = False

    def __post_init__(self) -> None:
        ends = (self.coarsest, self.finest)
        if self.coarsest == self.finest or not all(map(math.isfinite, ends)):
            raise ValueError(f"a rate knob from {self.coarsest} to {self.finest} has no range")
        if not self.integer and min(ends) <= 0:
            raise ValueError(
                f"a rate knob from {self.coarsest} to {self.finest} reaches 0; set integer=True, or stop above"
            )
        if self.integer and any(end != int(end) for end in ends):
            raise ValueError(f"an integer rate knob goes from {self.coarsest} to {self.finest}")

    def values(self) -> list[float]:
        """Return the values among which a search chooses, from the coarsest to the finest: at most MAX_CANDIDATES."""
        if self.integer:
            low, high = int(self.coarsest), int(self.finest)
            count = min(abs(high - low) + 1, MAX_CANDIDATES)
            found: list[float] = [low + round(at * (high - low) / (count - 1)) for at in range(count)]
        else:
            ratio = self.finest / self.coarsest
            count = min(math.ceil(abs(math.log(ratio)) / math.log(1.06)) + 1, MAX_CANDIDATES)
            found = [float(f"{self.coarsest * ratio ** (at / (count - 1)):.3g}") for at in range(count)]
        return list(dict.fromkeys(found))


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
