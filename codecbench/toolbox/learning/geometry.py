"""Layouts of a tensor as samples, blocks, planes and grids of latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from codecbench.toolbox.transforms.tiling import Tiling


class Geometry:
    """The layouts of samples of one shape: samples, blocks of a `Tiling`, planes, and a grid of latents.

    - samples: (n, *shape);
    - blocks: (n, positions, values), positions in the order of `Tiling.split`, channels first within the values;
      `order` gives the index of each value in a block of `Tiling.split`;
    - planes, for convolutions: (n, channels, height, width), padded to whole blocks with border values;
    - grid: (n, latents, height, width), of height 1 if one axis is tiled, and 1 x 1 if none is or all are.

    `is_one_block` is true if one block is the whole sample, whatever its size: no axis is tiled, or all of several axes
    are. The only axis of a vector is tiled if its length varies, because its samples may then have one block or many.
    """

    def __init__(self, tiling: Tiling, shape: Sequence[int]) -> None:
        self.tiling, self.shape = tiling, tuple(shape)
        is_block = len(self.shape) > 1 and len(tiling.axes) == len(self.shape) and tiling.count(shape) == 1
        self.is_one_block = not tiling.axes or is_block
        axes = () if self.is_one_block else tiling.axes
        self.axes = axes
        sizes = dict(zip(tiling.axes, tiling.sizes, strict=True))
        pairs = [(self.shape[axis], sizes[axis]) for axis in axes]
        pairs = [(1, 1)] * (2 - len(pairs)) + pairs
        self.block = tuple(size for _, size in pairs)
        self.grid = tuple(-(-extent // size) for extent, size in pairs)
        self.sides = tuple(extent for extent, _ in pairs)
        self.channels = math.prod(n for axis, n in enumerate(self.shape) if axis not in axes)
        self._order = [axis for axis in range(len(self.shape)) if axis not in axes] + list(axes)

    @property
    def values(self) -> int:
        """Values of a block."""
        return self.channels * math.prod(self.block)

    @property
    def order(self) -> Tensor:
        """The index of each value in a block of `Tiling.split`, (values,); ascending if the last axes are tiled."""
        sizes = {**dict(enumerate(self.shape)), **dict(zip(self.tiling.axes, self.tiling.sizes, strict=True))}
        positions = torch.arange(self.values).reshape([sizes[axis] for axis in range(len(self.shape))])
        return positions.permute(self._order).flatten()

    def planes(self, xs: Tensor) -> Tensor:
        """Return samples as padded planes."""
        planes = xs.permute(0, *(axis + 1 for axis in self._order)).reshape(len(xs), self.channels, *self.sides)
        margins = [grid * size - side for grid, size, side in zip(self.grid, self.block, self.sides, strict=True)]
        if not any(margins):
            return planes
        return F.pad(planes.float(), (0, margins[1], 0, margins[0]), mode="replicate").to(planes.dtype)

    def samples(self, planes: Tensor) -> Tensor:
        """Return padded planes as samples; the inverse of `planes`."""
        cut = planes[:, :, : self.sides[0], : self.sides[1]]
        ordered = cut.reshape(len(planes), *(self.shape[axis] for axis in self._order))
        return ordered.permute(0, *(self._order.index(axis) + 1 for axis in range(len(self.shape))))

    def blocks(self, planes: Tensor) -> Tensor:
        """Return padded planes as blocks."""
        return self._cut(planes).permute(0, 2, 4, 1, 3, 5).reshape(len(planes), math.prod(self.grid), self.values)

    def columns(self, planes: Tensor) -> Tensor:
        """Return padded planes as blocks, one a column, (n, values, positions)."""
        return self._cut(planes).permute(0, 1, 3, 5, 2, 4).reshape(len(planes), self.values, math.prod(self.grid))

    def _cut(self, planes: Tensor) -> Tensor:
        """Reshape to (n, channels, positions, rows of a block, positions, columns of a block)."""
        (high, wide), (rows, columns) = self.grid, self.block
        return planes.reshape(len(planes), self.channels, high, rows, wide, columns)

    def unblock(self, blocks: Tensor) -> Tensor:
        """Return blocks as padded planes; the inverse of `blocks`."""
        (high, wide), (rows, columns) = self.grid, self.block
        cut = blocks.reshape(len(blocks), high, wide, self.channels, rows, columns)
        return cut.permute(0, 3, 1, 4, 2, 5).reshape(len(blocks), self.channels, high * rows, wide * columns)

    def to_grid(self, latents: Tensor) -> Tensor:
        """Return latents (n, positions, latents) as a grid."""
        return latents.transpose(1, 2).reshape(len(latents), latents.shape[2], *self.grid)

    def from_grid(self, grid: Tensor) -> Tensor:
        """Return a grid as (n, positions, latents); the inverse of `to_grid`."""
        return grid.flatten(2).transpose(1, 2)


@lru_cache(maxsize=64)
def geometry_of(tiling: Tiling, shape: tuple[int, ...]) -> Geometry:
    """Return a cached geometry, because an encoder needs that of the same shape for every sample."""
    return Geometry(tiling, shape)
