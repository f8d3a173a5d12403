"""Operating points that suit a tensor by its statistics, from points that were tuned on the features of a ResNet-20.

Late features of such a network tolerate steps of several standard deviations: few large values carry the class, and
many values say the same. Other tensors of that size tolerate less. `TensorSpec.statistics` tell them apart; without
statistics, for an image, and for a tensor like the tuned ones, points stay as they were tuned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from codecbench.codec import TensorSpec
from codecbench.toolbox.codecs.points import Points, TensorKind, kind_of

TUNED: Mapping[TensorKind, tuple[float, float]] = {"large": (7.0, 7.0), "middle": (8.0, 5.0), "small": (11.0, 6.0)}
"""Two numbers of the tensors on which points were tuned: a sample's range over the standard deviation of the values,
and the square root of (number of values / effective number of values), by which independent errors average out."""

NEAR = 0.75
"""A tensor with at least this share of both is like the tuned ones."""
MARGIN = 0.7
"""Points of other tensors are finer by this factor than their share says, since nothing was tuned on these tensors."""
SAFE_STEP = 0.5
"""A step, in deviations, that lost less than the budget on all tensors that were tried: none has to be finer."""

TAILED = 15.0
"""A range of this number of deviations is that of heavy tails. The tuned tensors are below 12."""


def step_factor(spec: TensorSpec, tuned_step: float) -> float:
    """Return the factor of the steps of a codec whose tuned step is `tuned_step` deviations: 1, or less.

    The factor never takes that step below SAFE_STEP.
    """
    share = min(_shares(spec))
    return 1.0 if share >= NEAR or tuned_step <= SAFE_STEP else max(MARGIN * share, SAFE_STEP / tuned_step)


def suited_steps(spec: TensorSpec, points: Points, tuned_step: float) -> Points:
    """Return points with their `step` times `step_factor`, to two digits; as they are where that is 1.

    Of the points, `tuned_step` is the one that loses about as much as the budget.
    """
    factor = step_factor(spec, tuned_step)
    if factor == 1.0:
        return points
    return tuple({**point, "step": float(f"{point['step'] * factor:.2g}")} for point in points)


def range_factor(spec: TensorSpec) -> float:
    """Return by how much finer than tuned a codec has to be that spaces its levels over a tensor's range: 1, or more.

    Such a step grows with the range by itself. What is left to ask for is the margin, and more where values say less of
    each other, together at most 1 / MARGIN^2; or for heavy tails, as much as their range is wider.
    """
    if spec.image:
        return 1.0
    spread, averaging = _shares(spec)
    left = min(1.0, averaging / spread) if spread else 1.0
    unlike = 1.0 if min(spread, averaging) >= NEAR else 1 / (MARGIN * max(left, MARGIN))
    return max(unlike, spread * TUNED[kind_of(spec)][0] / TAILED)


def _shares(spec: TensorSpec) -> tuple[float, float]:
    """Return range and averaging of a tensor as shares of those of the tuned ones; 1 and 1 if nothing is known."""
    kind, statistics = kind_of(spec), spec.statistics
    if statistics is None or kind == "image" or not statistics.deviation:
        return 1.0, 1.0
    spread, averaging = TUNED[kind]
    return (
        statistics.sample_range / statistics.deviation / spread,
        math.sqrt(statistics.values / statistics.effective_values) / averaging,
    )
