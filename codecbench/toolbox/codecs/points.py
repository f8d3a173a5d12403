"""Operating points that differ with the kind of tensor: what suits an image does not suit forty feature planes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from codecbench.codec import TensorSpec

TensorKind: TypeAlias = Literal["image", "large", "middle", "small"]
"""The kinds of tensor for which operating points differ."""
Points: TypeAlias = tuple[Mapping[str, Any], ...]
"""Operating points: constructor arguments, coarse to fine."""

SMALL_VALUES, LARGE_VALUES = 4096, 8192
"""Up to so many values a tensor is small, beyond so many large. Late ones, the smaller, bear coarser steps."""


def kind_of(spec: TensorSpec) -> TensorKind:
    """An image, or by the number of values of the longest sample."""
    if spec.image:
        return "image"
    values = math.prod(spec.max_shape)
    return "small" if values <= SMALL_VALUES else "large" if values > LARGE_VALUES else "middle"


def steps(*values: float) -> Points:
    """Points that differ by their `step` alone."""
    return tuple({"step": value} for value in values)
