"""Blocks: what is split comes back, values stay near each other, and blocks are as large as they may be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench import TensorSpec
from codecbench.toolbox.transforms.tiling import MAX_CHANNELS, MAX_VALUES, Tiling


@st.composite
def tilings(draw: st.DrawFn) -> tuple[Tiling, tuple[int, ...]]:
    shape = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    axes = draw(st.lists(st.integers(0, len(shape) - 1), unique=True).map(sorted))
    return Tiling(tuple(axes), tuple(draw(st.integers(1, 5)) for _ in axes)), tuple(shape)


@given(tilings(), st.integers(1, 3))
def test_join_undoes_split(case: tuple[Tiling, tuple[int, ...]], n: int) -> None:
    tiling, shape = case
    samples = np.arange(n * math.prod(shape), dtype=np.float32).reshape(n, *shape)
    blocks = tiling.split(samples)
    assert blocks.shape == (n * tiling.count(shape), tiling.values(shape))
    for sample, its_blocks in zip(samples, np.split(blocks, n), strict=True):
        joined = tiling.join(its_blocks, shape)
        assert joined.flags.c_contiguous
        assert joined.dtype == sample.dtype
        assert np.array_equal(joined, sample)


def test_a_block_holds_all_channels_of_a_place() -> None:
    sample = np.arange(2 * 4 * 4).reshape(2, 4, 4)
    blocks = Tiling((1, 2), (2, 2)).split(sample[None])
    assert blocks[0].tolist() == sample[:, :2, :2].reshape(-1).tolist()
    assert blocks[1].tolist() == sample[:, :2, 2:].reshape(-1).tolist()


def test_what_does_not_tile_is_filled_with_edge_values() -> None:
    assert Tiling((0,), (4,)).split(np.arange(6)[None]).tolist() == [[0, 1, 2, 3], [4, 5, 5, 5]]


@pytest.mark.parametrize(
    ("spec", "tiling"),
    [
        (TensorSpec((3, 32, 32), image=True), Tiling((1, 2), (8, 8))),
        (TensorSpec((16, 32, 32)), Tiling((1, 2), (4, 4))),
        (TensorSpec((600, 8, 8)), Tiling((1, 2), (1, 1))),
        (TensorSpec((2, 3, 5, 8)), Tiling((2, 3), (5, 8))),
        (TensorSpec((4, 100)), Tiling((1,), (16,))),
        (TensorSpec((101,)), Tiling((), ())),
        (TensorSpec((MAX_CHANNELS + 1,)), Tiling((0,), (16,))),
        (TensorSpec((None,), max_length=300), Tiling((0,), (16,))),
        (TensorSpec((None, 5), max_length=60), Tiling((0,), (16,))),
        (TensorSpec((None, 2, 9), max_length=40), Tiling((0, 2), (8, 8))),
        (TensorSpec((2, 9, None), max_length=40), Tiling((1, 2), (8, 8))),
    ],
    ids=str,
)
def test_blocks_of_a_spec(spec: TensorSpec, tiling: Tiling) -> None:
    assert Tiling.of(spec) == tiling


@given(st.lists(st.integers(1, 40), min_size=2, max_size=4))
def test_blocks_of_a_spec_are_small(shape: list[int]) -> None:
    tiling = Tiling.of(TensorSpec(tuple(shape)))
    assert tiling.values(shape) <= max(MAX_VALUES, tiling.channels(shape))


def test_a_whole_sample_is_one_block() -> None:
    assert Tiling.one_block((2, 3)).split(np.arange(6).reshape(1, 2, 3)).tolist() == [list(range(6))]
