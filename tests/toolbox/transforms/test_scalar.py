"""Scalar quantisers: thresholds that are worth their bits, and the search for cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench.toolbox.transforms.scalar import BINS, RATE_WEIGHT, ScalarQuantiser, find_cells


def trained(values: np.ndarray) -> ScalarQuantiser:
    quantiser = ScalarQuantiser.trained(values)
    assert quantiser is not None
    return quantiser


def cost_of_rounding(values: np.ndarray) -> float:
    shares = np.unique(np.rint(values), return_counts=True)[1] / len(values)
    return float(np.square(values - np.rint(values)).mean()) - RATE_WEIGHT * float(shares @ np.log2(shares))


@pytest.mark.parametrize("deviation", [0.4, 1.0, 4.0])
def test_it_costs_less_than_rounding(deviation: float) -> None:
    values = np.random.default_rng(0).laplace(scale=deviation / math.sqrt(2), size=20_000)
    quantiser = trained(values)
    assert quantiser.cost < cost_of_rounding(values)
    assert quantiser.counts.sum() == pytest.approx(len(values), rel=0.01)


def test_the_dead_zone_is_wide() -> None:
    quantiser = trained(np.random.default_rng(0).laplace(scale=0.5, size=20_000))
    zero = -quantiser.lowest
    below, above = quantiser.thresholds[zero - 1 : zero + 1] / BINS
    assert below < -0.55
    assert above > 0.55


def test_centroids_and_error_are_those_of_the_cells() -> None:
    values = np.random.default_rng(1).standard_normal(5000) * 3 + 7
    quantiser = trained(values)
    cells = find_cells([quantiser.thresholds], np.floor(values * BINS)[None])[0]
    for cell in np.flatnonzero(quantiser.counts > 100):
        assert quantiser.centroids[cell] == pytest.approx(values[cells == cell].mean(), abs=0.01)
    assert quantiser.error == pytest.approx(np.square(values - quantiser.centroids[cells]).mean())


def test_many_symbols_are_rounded() -> None:
    values = np.random.default_rng(2).uniform(-300, 300, 2000)
    quantiser = trained(values)
    cells = find_cells([quantiser.thresholds], np.floor(values * BINS)[None])[0]
    assert np.abs(quantiser.lowest + cells - values).max() <= 0.5


@pytest.mark.parametrize("values", [np.zeros(10), np.full(10, 3.2), np.full(1000, 0.3)])
def test_one_symbol_needs_no_quantiser(values: np.ndarray) -> None:
    assert ScalarQuantiser.trained(values) is None


@given(
    st.lists(st.lists(st.integers(-100, 100), unique=True, max_size=6).map(sorted), max_size=5),
    st.lists(st.sampled_from([-math.inf, -1e9, -100.0, -3.0, 0.0, 1.0, 57.0, 1e9, math.inf]), max_size=5),
)
def test_cells_are_counted_from_their_own_thresholds(thresholds: list[list[int]], bins: list[float]) -> None:
    rows = np.tile(np.array(bins), (len(thresholds), 1))
    cells = find_cells([np.array(row, np.int64) for row in thresholds], rows)
    assert cells.tolist() == [[sum(start <= bin_ for start in row) for bin_ in bins] for row in thresholds]
