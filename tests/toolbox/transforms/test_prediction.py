"""Prediction from neighbours: it is undone exactly."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codecbench.toolbox.transforms.prediction import neighbours_mean, restore_from_differences


@given(st.integers(0, 4), st.integers(0, 9), st.integers(0, 9), st.integers(0, 2**32))
def test_differences_give_the_levels_back(planes: int, height: int, width: int, seed: int) -> None:
    levels = np.random.default_rng(seed).integers(-300, 300, (planes, height, width)).astype(np.int32)
    assert (restore_from_differences(levels - neighbours_mean(levels)) == levels).all()
    octets = levels & 255
    assert (restore_from_differences((octets - neighbours_mean(octets)) & 255, 255) == octets).all()


def test_the_neighbours_mean_is_that_of_left_and_above() -> None:
    levels = np.array([[[5, 7, 1], [4, -2, 0]]], np.int32)
    assert neighbours_mean(levels).tolist() == [[[0, 5, 7], [5, 5, -1]]]
