"""What `deepcod-rd` codes on frequency bands, in which blocks, and at which steps."""

from __future__ import annotations

import math

from codecbench import TensorSpec
from codecbench.toolbox.codecs import Points, steps
from codecbench.toolbox.transforms import Tiling

BLOCK_VALUES = 16_384
"""A picture or a feature map of fixed size with more values than this is coded on frequency bands."""

EARLY_CHANNELS = 128
"""A feature map of up to this number of channels is early: finer, and less tolerant of errors, than late ones."""

MAX_SIDE, MAX_EARLY_SIDE = 14, 8
"""The largest side of a block: of late feature maps; of pictures and early maps, whose blocks predict each other."""

PICTURE_POINTS, EARLY_POINTS, LATE_POINTS = steps(1.1, 0.8), steps(2.2, 1.6), steps(6.0, 4.0)


def is_banded(spec: TensorSpec) -> bool:
    """Return True for a tensor that is coded on frequency bands: a large picture or feature map."""
    fixed = spec.ndim == 3 and None not in spec.shape
    return fixed and math.prod(spec.max_shape) > BLOCK_VALUES


def banded_points(spec: TensorSpec) -> Points:
    """Return the points of a tensor that is coded on frequency bands, the finest last."""
    if spec.image:
        return PICTURE_POINTS
    return EARLY_POINTS if _is_early(spec) else LATE_POINTS


def banded_tiling(spec: TensorSpec) -> Tiling:
    """Return blocks of at most the largest side, as few as that takes, of equal size."""
    limit = MAX_EARLY_SIDE if _is_early(spec) else MAX_SIDE
    sides = [-(-extent // -(-extent // limit)) for extent in spec.max_shape[1:]]
    return Tiling((1, 2), tuple(sides))


def _is_early(spec: TensorSpec) -> bool:
    return spec.max_shape[0] <= EARLY_CHANNELS
