"""The scale of each symbol, computed from the magnitudes of the channel groups sent before it.

A scale is a weighted sum, with learned weights, of the magnitudes of earlier groups: at the position, around it, and
averaged over the whole tensor. Rounded to a quarter of an octave it is a level (backward adaptation of scales: Said and
Pearlman 1996, section II; by groups of channels: Minnen and Singh 2020, section 3).

All sums are exact integers, so encoder and decoder agree on every machine. Importing this module does not import numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from codecbench.toolbox.coding.symbol_means import spans_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_MAGNITUDE = 15
"""Magnitudes are clipped to this in sums, so that one outlier does not dominate."""

WEIGHT_GRID = 1 << 14
"""Weights, and so scales, are multiples of 2^-14 of a step."""

AREA, MEAN_GRID = 9, 16
"""The sum around a position is over AREA positions, 3 x 3; the mean over all positions is a multiple of 1/MEAN_GRID."""

MAX_WEIGHT = 1 << 20
_MAX_SCALE = (1 << 24) - 1
_FIRST_OCTAVE, _OCTAVES, _STEPS = 7, 17, 4
LEVELS = _OCTAVES * _STEPS
"""The number of scale levels: four an octave, from 2^7/WEIGHT_GRID of a step on."""


def group_sizes(channels: int) -> list[int]:
    """Return the numbers of channels of the groups: 3, 5, 8, 16, 32, ...; the last is cut to the channels left."""
    sizes = [3, 5, 8]
    while sum(sizes) < channels:
        sizes.append(sizes[-1] * 2)
    while sum(sizes) > channels:
        last = sizes.pop()
        if sum(sizes) < channels:
            sizes.append(min(last, channels - sum(sizes)))
    return sizes


def scale_of(level: Any) -> Any:
    """Return the scale in the middle of a level, or of an array of levels, in steps."""
    return 2.0 ** (_FIRST_OCTAVE + (level + 0.5) / _STEPS) / WEIGHT_GRID


@dataclass(frozen=True, eq=False)
class ScaleModel:
    """The weights that make scales from sums of magnitudes, for groups of channels of these `sizes`.

    `weights` (channels, 1 + 3 groups) are integers, in units of 1/WEIGHT_GRID of a step: a constant; then, for each
    group, the factor of its sum of magnitudes at the position, of the sum over AREA positions around it, and of
    MEAN_GRID times the mean over all positions. Factors of a channel's own group and of later groups are ignored.
    """

    sizes: tuple[int, ...]
    weights: NDArray[np.int64]

    @classmethod
    def from_floating(cls, weights: NDArray[np.float64]) -> ScaleModel:
        """Return the model for weights in steps, (channels, 1 + 3 groups), with the groups of `group_sizes`."""
        import numpy as np

        sizes = tuple(group_sizes(len(weights)))
        integers = np.rint(weights * _units(len(sizes)) * WEIGHT_GRID).clip(-MAX_WEIGHT, MAX_WEIGHT).astype(np.int64)
        return cls(sizes, integers)

    def floating_weights(self) -> NDArray[np.float64]:
        """Return the weights in steps, as `from_floating` takes them."""
        weights: NDArray[np.float64] = self.weights / (_units(len(self.sizes)) * WEIGHT_GRID)
        return weights

    @property
    def channels(self) -> int:
        """Channels of the symbols."""
        return len(self.weights)

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """First channel and end (last channel + 1) of each group."""
        return spans_of(self.sizes)

    def scales(self, sample: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the scale of each symbol in steps; 1 for the first group, which has no earlier one."""
        import numpy as np

        scales = np.ones(sample.shape)
        first = self.sizes[0]
        if first < self.channels:
            levels = self.levels(self.features(sample), first, self.channels)
            scales[first:] = scale_of(levels).reshape(scales[first:].shape)
        return scales

    def features(self, symbols: NDArray[Any], channels: int | None = None) -> NDArray[np.float64]:
        """Return sums of magnitudes of the groups before `channels`, (1 + 3 groups, positions); others are zero."""
        import numpy as np

        groups = len(self.sizes)
        _, height, width = symbols.shape
        spans = [span for span in self.spans[:-1] if channels is None or span[1] <= channels]
        features = np.zeros((1 + 3 * groups, height * width))
        features[0] = 1
        starts = [span[0] for span in spans]
        size = spans[-1][1] if spans else 0
        if not size or not height * width:
            return features
        magnitudes = np.minimum(np.abs(symbols[:size]), MAX_MAGNITUDE).reshape(size, -1)
        sums = np.add.reduceat(magnitudes, starts, axis=0)
        count = len(spans)
        features[1 : 1 + count] = sums
        features[1 + groups : 1 + groups + count] = _sums_of_3x3(sums.reshape(count, height, width)).reshape(count, -1)
        features[1 + 2 * groups : 1 + 2 * groups + count] = (sums.sum(axis=1) * MEAN_GRID // (height * width))[:, None]
        return features

    def levels(self, features: NDArray[np.float64], start: int, end: int) -> NDArray[np.uint8]:
        """Return the level, below LEVELS, of each symbol of these channels, (channels, positions). Exact in float64."""
        import numpy as np

        scales = self._factors[start:end] @ features
        # The exponent and the two leading bits of a float32 are its logarithm in quarters of an octave.
        quarters = scales.clip(1, _MAX_SCALE).astype(np.float32).view(np.int32) >> 21
        levels: NDArray[np.uint8] = (quarters - ((127 + _FIRST_OCTAVE) * _STEPS)).clip(0, LEVELS - 1).astype(np.uint8)
        return levels

    @cached_property
    def _factors(self) -> NDArray[np.float64]:
        """The weights, zero for the channel's own group and later ones."""
        import numpy as np

        groups = len(self.sizes)
        own = np.repeat(np.arange(groups), self.sizes)
        known = np.arange(groups) < own[:, None]
        return np.where(np.concatenate([np.ones((self.channels, 1), bool), known, known, known], 1), self.weights, 0.0)


def _units(groups: int) -> NDArray[np.float64]:
    """Return the factors that turn weights of means into weights of sums, because the features are sums."""
    import numpy as np

    return np.array([1.0, *([1.0] * groups), *([1 / AREA] * groups), *([1 / MEAN_GRID] * groups)])


def _sums_of_3x3(sums: NDArray[Any]) -> NDArray[Any]:
    """Return sums over 3 x 3 positions, (groups, height, width); the border is repeated outward."""
    _, height, width = sums.shape
    padded = sums.take(_with_border(height), 1).take(_with_border(width), 2)
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    total: NDArray[Any] = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return total


@lru_cache
def _with_border(side: int) -> NDArray[np.intp]:
    """Return the positions along an axis, with the first and the last repeated once."""
    import numpy as np

    return np.arange(-1, side + 1).clip(0, side - 1)
