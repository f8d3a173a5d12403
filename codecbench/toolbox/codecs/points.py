"""Operating points that differ by the kind of tensor: an image needs other points than forty feature planes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from codecbench.codec import TensorSpec

TensorKind: TypeAlias = Literal["image", "large", "middle", "small"]
"""The kinds of tensor for which operating points differ."""
Points: TypeAlias = tuple[Mapping[str, Any], ...]
"""Operating points: constructor arguments, from coarse to fine."""

SMALL_VALUES, LARGE_VALUES = 4096, 8192
"""A tensor of up to SMALL_VALUES values is small, one of more than LARGE_VALUES large. Small tensors come late in a
network and tolerate coarser steps."""


def kind_of(spec: TensorSpec) -> TensorKind:
    """Return "image", or the size class by the number of values of the longest sample."""
    if spec.image:
        return "image"
    values = math.prod(spec.max_shape)
    return "small" if values <= SMALL_VALUES else "large" if values > LARGE_VALUES else "middle"


def steps(*values: float) -> Points:
    """Return points that differ by their `step` alone."""
    return tuple({"step": value} for value in values)
