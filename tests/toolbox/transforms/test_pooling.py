"""Pooled positions: found in gradients, exact on integers, undone along their direction."""

from __future__ import annotations

import numpy as np
import pytest
from support.training import noise

from codecbench.toolbox.transforms.pooling import UNIT, Pooling


def gradients(weights: list[float], seed: int = 0) -> np.ndarray:
    return noise(200, 1, seed=seed).double().numpy() * np.array(weights)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([0.02, 0.02, 0.02], [UNIT] * 3),  # the mean
        ([0.0, 0.0, 3.0], [0, 0, UNIT]),  # one token of a sequence
        ([1.0, -0.5, 0.25], [UNIT, -UNIT // 2, UNIT // 4]),
    ],
)
def test_the_direction_that_all_gradients_share_is_found(weights: list[float], expected: list[int]) -> None:
    found = Pooling.seen_by(gradients(weights))
    assert found is not None
    assert found.weights.tolist() == expected


def test_gradients_of_several_directions_are_not_pooled() -> None:
    assert Pooling.seen_by(gradients([1.0, 1.0, 1.0]) + gradients([1.0, 0.9, 0.0], seed=1)) is None
    assert Pooling.seen_by(np.zeros((20, 3))) is None
    assert Pooling.seen_by(np.ones((20, 1))) is None


def test_equal_weights_give_the_mean_and_every_position_gets_it_back() -> None:
    blocks = np.arange(24.0).reshape(6, 4)  # two samples of three positions, four channels
    pooling = Pooling(np.full(3, UNIT))
    pooled = pooling.pool(blocks)
    assert np.array_equal(pooled, blocks.reshape(2, 3, 4).mean(1))
    assert np.array_equal(pooling.spread(pooled), np.repeat(pooled, 3, axis=0))


def test_pooling_what_was_spread_gives_it_back() -> None:
    pooling = Pooling(np.array([UNIT, -77, 0, 31]))
    pooled = noise(5, 3).double().numpy()
    assert np.allclose(pooling.pool(pooling.spread(pooled)), pooled)


def test_sums_of_integers_do_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(0)
    blocks = rng.integers(-(2**23), 2**23, (6 * 2048, 3)).astype(float)
    pooling = Pooling(rng.integers(-UNIT, UNIT + 1, 2048))
    single = [pooling.pool(blocks[at : at + 2048]) for at in range(0, len(blocks), 2048)]
    assert np.array_equal(pooling.pool(blocks), np.concatenate(single))
