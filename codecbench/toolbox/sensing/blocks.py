"""Blocks of values on an integer grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

from codecbench.codec import TensorSpec
from codecbench.toolbox.transforms.tiling import Tiling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Floats: TypeAlias = NDArray[np.float64]


IMAGE_SIDE, PLANE_SIDE, SIGNAL_SIDE, SEQUENCE_SIDE = 32, 16, 256, 32
"""The largest sides of a block: of an image, of another plane, of a vector, along a varying axis.

On the 32 x 32 planes after a network's first layer, blocks of 32 save 2 to 3 % of the bytes, but take four times the
computation and three times the state.
"""


VALUE_BITS, MATRIX_BITS = 18, 16
"""Measured values are integers up to 2^18, and matrices are multiples of 2^-16. So sums stay below 2^53, and float64
holds them exactly for any order, batch and number of threads."""


class Blocks:
    """The layout of a tensor as units of `groups` blocks of `shape`, and back.

    A unit holds the blocks of all channels at one position. The last two axes are planes; a vector, or a varying axis,
    is a plane of one row. Blocks are as equal in size as possible, so that padding is small. The sides of a block are
    divisible by 2^`halvings` if that pads at most an eighth.
    """

    def __init__(self, spec: TensorSpec, halvings: int = 0) -> None:
        self._varying = spec.shape.index(None) if None in spec.shape else None
        ordered = self._varying_last(spec.max_shape)
        flat = self._varying is not None or spec.ndim == 1
        self._axes = tuple(range(spec.ndim - (1 if flat else 2), spec.ndim))
        extents = [ordered[axis] for axis in self._axes]
        if self._varying is not None:
            # Lengths differ, so no block size divides all of them.
            extents, max_side = [min(extents[0], SEQUENCE_SIDE)], SEQUENCE_SIDE
        elif spec.ndim == 1:
            max_side = SIGNAL_SIDE
        else:
            max_side = IMAGE_SIDE if spec.image else PLANE_SIDE
        self._tiling = Tiling(self._axes, tuple(_block_side(extent, max_side, halvings) for extent in extents))
        self.groups = self._tiling.channels(ordered)
        self.shape = tuple(side for side in self._tiling.sizes if side > 1) or (1,)
        self.length = math.prod(self.shape)

    def shares(self, shape: Sequence[int]) -> list[float]:
        """Return, for each unit of a tensor of this shape, the share that is not padding."""
        ordered = self._varying_last(shape)
        along = (
            [min(side, ordered[axis] - start) / side for start in range(0, ordered[axis], side)]
            for axis, side in zip(self._axes, self._tiling.sizes, strict=True)
        )
        return [math.prod(parts) for parts in product(*along)]

    def cut(self, values: Floats) -> Floats:
        """Return the units of a tensor, (units, groups, length); border values are repeated to fill the last blocks."""
        import numpy as np

        if self._varying is not None:
            values = np.moveaxis(values, self._varying, -1)
        return self._tiling.split(values[None]).reshape(-1, self.groups, self.length)

    def join(self, units: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the tensor of this shape; the inverse of `cut`."""
        import torch

        ordered = torch.from_numpy(self._tiling.join(units.numpy(), self._varying_last(shape)))
        return ordered if self._varying is None else ordered.movedim(-1, self._varying)

    def _varying_last(self, shape: Sequence[int]) -> tuple[int, ...]:
        if self._varying is None:
            return tuple(shape)
        return (*shape[: self._varying], *shape[self._varying + 1 :], shape[self._varying])


def _block_side(extent: int, max_side: int, halvings: int) -> int:
    """Return the side of the fewest equal blocks that cover an extent.

    It is rounded up to a multiple of 2^`halvings`, or of a lower power of two, if that pads at most an eighth.
    """
    side = -(-extent // -(-extent // max_side))
    for times in range(halvings, 0, -1):
        rounded = -(-side // (1 << times)) << times
        if 8 * (rounded - side) <= side and rounded > 1 << times:
            return rounded
    return side


def to_integers(values: NDArray[Any], limit: float) -> Floats:
    """Return values, clipped to `limit`, in multiples of 2^-VALUE_BITS of it.

    Raises ValueError for values not finite.
    """
    import numpy as np

    if not np.isfinite(values).all():
        raise ValueError("the tensor holds values that are not finite; they cannot be measured")
    return np.rint(np.clip(values.astype(np.float64), -limit, limit) * ((1 << VALUE_BITS) / limit))
