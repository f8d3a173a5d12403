"""Blocks that are measured: put together again, and taken as whole numbers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codecbench import TensorSpec
from codecbench.toolbox.sensing.blocks import VALUE_BITS, Blocks, to_integers


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30))
def test_integers_are_the_nearest_and_clipped(values):
    found = to_integers(np.array(values), 4.0) * (4 / (1 << VALUE_BITS))
    assert np.abs(found - np.clip(values, -4, 4)).max() <= 2 / (1 << VALUE_BITS)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 70), min_size=1, max_size=4).filter(lambda shape: math.prod(shape) < 30_000),
    st.integers(-1, 3),
    st.integers(0, 3),
)
def test_blocks_come_together_again(shape, varying, halvings):
    """Whatever the shape, and whichever axis varies."""
    known: tuple[int | None, ...] = tuple(None if axis == varying else n for axis, n in enumerate(shape))
    spec = TensorSpec(known, max_length=70 if None in known else None)
    blocks = Blocks(spec, halvings)
    x = np.random.default_rng(0).normal(size=shape)
    units = blocks.cut(x)
    shares = blocks.shares(shape)
    assert units.shape == (len(shares), blocks.groups, blocks.length)
    assert np.array_equal(blocks.join(torch.from_numpy(units), shape).numpy(), x)
    assert sum(shares) * blocks.groups * blocks.length == pytest.approx(x.size)
    # Not by more than an eighth and a value along each axis that does not vary.
    if None not in known:
        padded = math.prod(n + n // 8 + -(-n // 16) for n in shape[-2:]) * math.prod(shape[:-2])
        assert units.size <= padded
