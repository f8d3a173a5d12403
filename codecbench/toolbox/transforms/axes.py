"""Checks on held-out training blocks that principal axes save bits or errors; without that, none are used.

Importing this module does not import numpy.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from codecbench.codec import FitData
from codecbench.toolbox.transforms.moments import Moments, principal_axes
from codecbench.toolbox.transforms.sensitivity import Sensitivity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENOUGH_BLOCKS = 10
"""With so many blocks for each value of a block, the principal axes are known well enough."""

RELATIVE_STEP = 0.5
"""The quantiser's step of the comparison, in units of the values' root-mean-square deviation."""

MIN_DEVIATION = 1 / 8
"""In steps. A component of smaller deviation is not sent."""


def told_by(data: FitData, sensitivity: Sensitivity) -> tuple[Sensitivity, Moments]:
    """Return the sensitivity and the statistics from which to learn a transform, as far as the training data tells.

    Few blocks in many dimensions have principal axes of their own: other blocks then lie outside of them, and lose what
    is not sent. Where they cost more than no transform on blocks that they were not learned from, each value is
    weighted for itself, and covariances are zero.
    """
    import numpy as np

    moments = Moments.of(data, sensitivity)
    if are_known(moments.weighted):
        return sensitivity, moments
    apart = sensitivity.apart()
    moments = Moments.of(data, apart)
    return apart, replace(moments, covariance=np.diag(np.diag(moments.covariance)))


def are_known(blocks: NDArray[np.float64]) -> bool:
    """Return True if there are ENOUGH_BLOCKS, or axes from one half of them save bits or errors in the other half."""
    import numpy as np

    count, values = blocks.shape
    if count >= ENOUGH_BLOCKS * values or count < 2:
        return True
    first, second = blocks[: count // 2], blocks[count // 2 :]
    step = RELATIVE_STEP * math.sqrt(float(np.square(blocks).mean())) or 1.0
    _, vectors = principal_axes(first.T @ first)
    return _cost(first @ vectors, second @ vectors, step) <= _cost(first, second, step)


def _cost(first: NDArray[np.float64], second: NDArray[np.float64], step: float) -> float:
    """Return squared error + (ln 2 / 6) step^2 bits of components `second`, if `first` tell which are sent.

    Bits follow from mean magnitudes, as for Laplace distributions, since values after a ReLU are mostly zero, and a
    transform would spread the others.
    """
    import numpy as np

    sent = np.square(first).mean(0) > (MIN_DEVIATION * step) ** 2
    energies, magnitudes = np.square(second).mean(0), np.abs(second).mean(0)
    bits = float(np.log2(1 + 2 * math.e * magnitudes[sent] / step).sum())
    error = float(energies[~sent].sum() + np.minimum(energies[sent], step**2 / 12).sum())
    return error + math.log(2) / 6 * step**2 * bits
