"""Curves: every point by payload, and where a larger payload does worse."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import make_record, undefined
from support.rates import point

from codecbench.analysis import curves
from codecbench.errors import UsageError


def test_points_stand_in_the_order_of_their_payloads() -> None:
    curve = curves.curve([point(9, 300, -0.5), point(1, 100, -4.0), point(5, 200, -2.0)])
    assert [found.payload_bytes for found in curve] == [100, 200, 300]
    assert not any(found.falls for found in curve)


def test_a_curve_falls_where_intervals_are_apart() -> None:
    curve = curves.curve([point(1, 100, -1.0), point(2, 200, -1.4), point(3, 300, -1.6), point(4, 400, -1.1)])
    assert [found.falls for found in curve] == [False, False, True, False]


def test_where_less_is_better_signs_turn() -> None:
    options: dict[str, Any] = {"higher_is_better": False, "half_width": 0.01}
    curve = curves.curve([point(1, 100, 0.02, **options), point(2, 200, 0.1, **options)])
    assert [found.falls for found in curve] == [False, True]


@given(st.lists(st.floats(-20, 0), min_size=1, max_size=8, unique=True))
def test_a_rising_curve_never_falls(changes: list[float]) -> None:
    records = [point(i, 100 + i, change) for i, change in enumerate(sorted(changes))]
    assert not any(found.falls for found in curves.curve(records))


def test_a_point_without_a_metric_falls_nowhere_and_makes_none_fall() -> None:
    points = [point(1, 100, -1.0), undefined(point(2, 200, -9.0)), point(3, 300, -9.0)]
    assert [found.falls for found in curves.curve(points)] == [False, False, True]
    assert [found.falls for found in curves.curve([undefined(points[0]), *points[1:]])] == [False, False, False]


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(UsageError, match="there are no measured records; `codecbench run` makes some"):
        curves.build([make_record(status="failed")])
