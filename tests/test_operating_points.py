"""Statistics of a tensor's values, by which codecs choose their points."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench import TensorSpec, TensorStatistics
from codecbench.operating_points import COMPARED_VALUES


def normal(samples: int, *shape: int) -> list[np.ndarray]:
    return list(np.random.default_rng(3).normal(size=(samples, *shape)))


def measured(samples: list[np.ndarray]) -> TensorStatistics:
    found = TensorStatistics.of(samples)
    assert found is not None
    return found


def test_the_numbers_of_two_samples() -> None:
    found = measured([np.array([[0, 1], [2, 3]], np.float32), np.array([[0, 0], [0, 6]], np.float32)])
    assert (found.samples, found.values, found.low, found.high, found.mean) == (2, 4.0, 0.0, 6.0, 1.5)
    assert (found.zeros, found.sample_range) == (0.5, 4.5)
    assert found.deviation == pytest.approx(math.sqrt(4.0), abs=1e-3)


def test_effective_values_are_independent_ones() -> None:
    few = np.random.default_rng(1).normal(size=(32, 5))
    assert 3 <= measured(list(few @ np.random.default_rng(2).normal(size=(5, 400)))).effective_values <= 8
    assert measured(normal(32, 4, 10)).effective_values == pytest.approx(40, rel=0.3)
    assert measured(normal(32, 1, 2 * COMPARED_VALUES)).effective_values > 1000
    assert measured([np.ones(3)] * 8).effective_values == 1.0
    assert measured(normal(1, 9)).effective_values == 1.0


def test_samples_may_differ_in_length() -> None:
    found = measured([sample[: 5 + at] for at, sample in enumerate(normal(8, 20, 3))])
    assert found.values == 3 * 8.5
    assert 1.0 <= found.effective_values <= 15.0


def test_there_are_none_without_values_or_with_one_that_is_not_finite() -> None:
    assert TensorStatistics.of([]) is None
    assert TensorStatistics.of([np.zeros((0, 4))]) is None
    assert TensorStatistics.of([np.ones(3), np.array([1.0, np.inf, 0.0])]) is None
    assert measured([np.array([True, False]), np.array([3, 4])]).high == 4.0


@given(st.lists(st.lists(st.floats(-1e30, 1e30), min_size=3, max_size=3), min_size=1, max_size=9))
def test_they_have_four_digits_and_cross_as_json(samples: list[list[float]]) -> None:
    found = measured([np.array(sample) for sample in samples])
    assert all(float(f"{value:.4g}") == value for value in vars(found).values())
    assert TensorStatistics.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_spec_with_statistics_is_the_same_spec() -> None:
    plain = TensorSpec((4, 10))
    spec = TensorSpec((4, 10), statistics=TensorStatistics.of(normal(4, 4, 10)))
    assert (spec, hash(spec), repr(spec)) == (plain, hash(plain), repr(plain))
    assert TensorSpec.from_json(spec.to_json()).statistics is None
