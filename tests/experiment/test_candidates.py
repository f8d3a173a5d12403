"""Candidates of a search: the points of one row, where to begin, and the rate knob's values."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench import RateKnob
from codecbench.operating_points import MAX_CANDIDATES

ENDS = st.floats(1e-6, 1e6).map(lambda value: float(f"{value:.3g}"))


@given(ENDS, ENDS)
def test_real_values_go_evenly_from_end_to_end(coarsest: float, finest: float) -> None:
    if coarsest == finest:
        with pytest.raises(ValueError, match="has no range"):
            RateKnob("step", coarsest, finest)
        return
    values = RateKnob("step", coarsest, finest).values()
    assert (values[0], values[-1]) == (coarsest, finest)
    assert 2 <= len(values) <= MAX_CANDIDATES
    assert sorted(values, reverse=coarsest > finest) == values
    if abs(math.log(finest / coarsest)) < math.log(1.06) * (MAX_CANDIDATES - 1):
        assert all(max(a, b) / min(a, b) < 1.075 for a, b in pairwise(values))


@given(st.integers(-500, 500), st.integers(-500, 500).filter(bool))
def test_whole_numbers_are_all_taken_where_they_are_few(coarsest: int, difference: int) -> None:
    values = RateKnob("quality", coarsest, coarsest + difference, integer=True).values()
    assert (values[0], values[-1]) == (coarsest, coarsest + difference)
    assert all(isinstance(value, int) for value in values)
    assert len(values) == len(set(values)) == min(abs(difference) + 1, MAX_CANDIDATES)


@pytest.mark.parametrize(
    ("coarsest", "finest", "integer"), [(0.0, 1.0, False), (-1.0, 2.0, False), (1.0, math.inf, False), (1.5, 3, True)]
)
def test_a_range_that_cannot_be_searched_is_refused(coarsest: float, finest: float, integer: bool) -> None:
    with pytest.raises(ValueError, match="rate knob"):
        RateKnob("step", coarsest, finest, integer=integer)
