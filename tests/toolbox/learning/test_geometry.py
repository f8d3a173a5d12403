"""Geometries: blocks as planes and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from support.training import noise
from torch import Tensor

from codecbench import TensorSpec
from codecbench.toolbox.learning.geometry import Geometry, geometry_of
from codecbench.toolbox.transforms.tiling import Tiling

VARYING = [
    TensorSpec((5, None), max_length=60),
    TensorSpec((None, 5), max_length=60),
    TensorSpec((2, 9, None), max_length=40),
    TensorSpec((None, 2, 9), max_length=40),
    TensorSpec((2, None, 9), max_length=40),
    TensorSpec((None,), max_length=300),
    TensorSpec((None,), max_length=10),
]
FIXED = [(3, 32, 32), (1, 12, 20), (12, 9, 7), (6, 10), (2, 3, 8, 8), (101,), (5000,), (1,), (600, 3, 3)]


def shapes_of(spec: TensorSpec) -> list[tuple[int, ...]]:
    """Of samples of some lengths."""
    lengths = [n for n in (1, 2, 10, 16, 17, 40, 60, 300) if n <= (spec.max_length or 0)]
    return [tuple(n if m is None else m for m in spec.shape) for n in lengths]


def geometries() -> dict[str, tuple[Tiling, tuple[int, ...], Geometry]]:
    """Of a tiling for a spec and of a shape; the geometry."""
    cases = [(Tiling.of(TensorSpec(shape)), shape) for shape in FIXED]
    cases += [(Tiling.one_block(shape), shape) for shape in FIXED if len(shape) > 1]
    cases += [(Tiling.of(spec), shape) for spec in VARYING for shape in shapes_of(spec)]
    return {f"{tiling.axes}{tiling.sizes} {shape}": (tiling, shape, Geometry(tiling, shape)) for tiling, shape in cases}


GEOMETRIES = geometries()


def numbered(shape: Sequence[int], count: int = 2) -> Tensor:
    return torch.arange(count * math.prod(shape)).reshape(count, *shape).float()


@pytest.mark.parametrize("case", GEOMETRIES)
def test_samples_planes_and_blocks_are_there_and_back(case: str) -> None:
    tiling, shape, geometry = GEOMETRIES[case]
    xs = numbered(shape)
    planes = geometry.planes(xs)
    high, wide = (count * size for count, size in zip(geometry.grid, geometry.block, strict=True))
    assert planes.shape == (2, geometry.channels, high, wide)
    assert torch.equal(geometry.samples(planes), xs)
    blocks = geometry.blocks(planes)
    assert torch.equal(geometry.columns(planes), blocks.transpose(1, 2))
    assert blocks.shape == (2, math.prod(geometry.grid), geometry.values)
    assert torch.equal(geometry.unblock(blocks), planes)
    assert geometry.values == tiling.values(shape)
    latents = noise(2, math.prod(geometry.grid), 7)
    grid = geometry.to_grid(latents)
    assert grid.shape == (2, 7, *geometry.grid)
    assert torch.equal(geometry.from_grid(grid), latents)


@pytest.mark.parametrize("case", GEOMETRIES)
def test_blocks_are_those_of_the_tiling_with_channels_first(case: str) -> None:
    tiling, shape, geometry = GEOMETRIES[case]
    xs, order = numbered(shape), geometry.order
    blocks = geometry.blocks(geometry.planes(xs)).flatten(0, 1)
    assert torch.equal(blocks, torch.from_numpy(tiling.split(xs.numpy()))[:, order])
    assert torch.equal(order.sort().values, torch.arange(geometry.values))
    if tiling.axes in ((), tuple(range(len(shape) - len(tiling.axes), len(shape)))):
        assert torch.equal(order, torch.arange(geometry.values))


@pytest.mark.parametrize("case", GEOMETRIES)
def test_a_grid_has_an_axis_for_each_that_is_tiled(case: str) -> None:
    tiling, shape, geometry = GEOMETRIES[case]
    tiled = [-(-shape[axis] // size) for axis, size in zip(tiling.axes, tiling.sizes, strict=True)]
    is_whole = not tiling.axes or (len(shape) > 1 and len(tiling.axes) == len(shape))
    assert geometry.is_one_block == is_whole
    assert geometry.grid == ((1, 1) if is_whole else tuple([1] * (2 - len(tiled)) + tiled))


@pytest.mark.parametrize("spec", VARYING, ids=str)
def test_geometries_of_one_tiling_agree_whatever_the_length(spec: TensorSpec) -> None:
    tiling = Tiling.of(spec)
    found = [Geometry(tiling, shape) for shape in shapes_of(spec)]
    assert len(found) > 2
    assert len({(g.is_one_block, g.block, g.channels, g.values) for g in found}) == 1


def test_a_geometry_is_made_once() -> None:
    tiling = Tiling((1, 2), (4, 4))
    assert geometry_of(tiling, (3, 8, 10)).grid == Geometry(tiling, (3, 8, 10)).grid == (2, 3)
    assert geometry_of(tiling, (3, 8, 10)) is geometry_of(tiling, torch.zeros(3, 8, 10).shape)
    assert geometry_of(tiling, (3, 8, 8)).grid == (2, 2)
