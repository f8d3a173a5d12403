"""Tensors of any shape as blocks of one size, for codecs that transform blocks.

Importing this module does not import numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codecbench.codec import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_VALUES = 512
"""Blocks of `Tiling.of` have at most this number of values, so that a matrix over a block is small."""

MAX_CHANNELS = 2048
"""A vector of up to this number of values is one block. With more channels, a block's covariance takes long
to learn."""

PLANE_SIDE, SEQUENCE_SIDE = 8, 16
"""The largest sides of a block, if two axes are tiled and if one is."""


@dataclass(frozen=True)
class Tiling:
    """Blocks of `sizes` along the tiled `axes` of a sample, and whole along its other axes, the channels.

    A sample's blocks are in row-major order of their positions. The values of a block, one row of an array, are in
    row-major order of the sample's axes. Blocks beyond the border are padded with border values.
    """

    axes: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, spec: TensorSpec) -> Tiling:
        """Return the largest blocks of at most MAX_VALUES values; each side is a power of two or the whole axis.

        Tiled are the last two axes of a tensor with three axes or more, or the varying axis and the last; one axis of a
        matrix; no axis of a short vector.
        """
        axes, shape = _tiled_axes(spec), spec.max_shape
        channels, side = cls(axes, ()).channels(shape), SEQUENCE_SIDE if len(axes) == 1 else PLANE_SIDE
        while side > 1 and channels * side ** len(axes) > MAX_VALUES:
            side //= 2
        return cls(axes, tuple(max(1, min(side, shape[axis])) for axis in axes))

    @classmethod
    def one_block(cls, shape: Sequence[int]) -> Tiling:
        """Return one block that is the sample."""
        return cls(tuple(range(len(shape))), tuple(shape))

    @property
    def single(self) -> Tiling:
        """Blocks of one position each along the same axes."""
        return Tiling(self.axes, (1,) * len(self.axes))

    def channels(self, shape: Sequence[int]) -> int:
        """Return the number of values at one position of the tiled axes."""
        return math.prod(n for axis, n in enumerate(shape) if axis not in self.axes)

    def values(self, shape: Sequence[int]) -> int:
        """Return the number of values of one block."""
        return self.channels(shape) * math.prod(self.sizes)

    def count(self, shape: Sequence[int]) -> int:
        """Return the number of blocks of a sample of this shape."""
        return math.prod(-(-shape[axis] // size) for axis, size in zip(self.axes, self.sizes, strict=True))

    def split(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Return the blocks of samples (n, *shape), (n * count, values)."""
        import numpy as np

        shape = samples.shape[1:]
        count, values = len(samples) * self.count(shape), self.values(shape)
        if not count:
            return np.zeros((0, values), samples.dtype)
        margins = [(0, 0)] * samples.ndim
        for axis, size in zip(self.axes, self.sizes, strict=True):
            margins[axis + 1] = (0, -shape[axis] % size)
        cut = np.pad(samples, margins, mode="edge").reshape(-1, *self._cut(shape))
        return cut.transpose(self._order(shape)).reshape(count, values)

    def join(self, blocks: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
        """Return one sample of this shape, contiguous, from blocks (count, values); the inverse of `split`."""
        import numpy as np

        cut, order = (1, *self._cut(shape)), self._order(shape)
        padded = [count * size for count, size in zip(cut[1::2], cut[2::2], strict=True)]
        sample = blocks.reshape([cut[axis] for axis in order]).transpose(np.argsort(order)).reshape(padded)
        return np.ascontiguousarray(sample[tuple(slice(n) for n in shape)])

    def _cut(self, shape: Sequence[int]) -> list[int]:
        """Return the number of blocks along each axis and the size of one."""
        sizes = {**dict(enumerate(shape)), **dict(zip(self.axes, self.sizes, strict=True))}
        return [part for axis, n in enumerate(shape) for part in (-(-n // sizes[axis]), sizes[axis])]

    def _order(self, shape: Sequence[int]) -> list[int]:
        """Return the axes: samples, then blocks along each axis, then the positions within them."""
        axes = range(len(shape))
        return [0, *(1 + 2 * axis for axis in axes), *(2 + 2 * axis for axis in axes)]


def _tiled_axes(spec: TensorSpec) -> tuple[int, ...]:
    last = spec.ndim - 1
    varying = spec.shape.index(None) if None in spec.shape else None
    if spec.ndim == 1:
        return (0,) if varying == 0 or spec.max_shape[0] > MAX_CHANNELS else ()
    if spec.ndim == 2:
        return (last if varying is None else varying,)
    return (last - 1, last) if varying is None or varying >= last - 1 else (varying, last)
