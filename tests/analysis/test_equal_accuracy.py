"""Payload bytes at one loss: interpolated between a row's points, with intervals of resampled samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import FakeStore, make_record, make_samples
from support.rates import LEVELS, curve_of

from codecbench.analysis.equal_accuracy import EqualAccuracy, RateAtLoss, _bytes_at, build
from codecbench.errors import UsageError

N = 1000


def put_curve(store: FakeStore, codec: str, points: Sequence[tuple[int, int]], first: int = 0, **key: Any) -> None:
    """Points of (payload bytes, samples that go wrong); the uncompressed model is right at all."""
    for number, (size, wrong) in enumerate(points):
        record = make_record(codec=codec, point={"q": number}, payload_bytes=size, change=-100 * wrong / N, n=N, **key)
        right = np.ones(N)
        right[(first + np.arange(wrong)) % N] = 0
        store.add(record, make_samples(right, payload_bytes=size))


def built(store: FakeStore, budget: float = 2.0, anchors: Sequence[str] = ()) -> EqualAccuracy:
    (found,) = build(store.records(), lambda record, _names: store.samples(record), budgets=budget, anchors=anchors)
    return found


def rates(store: FakeStore, **options: Any) -> Mapping[str, RateAtLoss]:
    return built(store, **options).rates["input"]


def value_of(rate: RateAtLoss) -> float:
    assert rate.payload_bytes is not None
    return rate.payload_bytes.value


def test_bytes_are_interpolated_in_the_logarithm_between_the_points_around_the_budget() -> None:
    store = FakeStore()
    put_curve(store, "alpha", [(50, 90), (100, 30), (400, 10), (900, 5)])
    rate = rates(store)["alpha"]
    assert value_of(rate) == pytest.approx(200)
    assert (rate.reason, rate.is_upper_bound) == ("", False)
    assert rate.finer is not None
    assert rate.finer.key.point == {"q": 2}
    assert rate.payload_bytes is not None
    assert 100 < rate.payload_bytes.low < 200 < rate.payload_bytes.high < 500


def test_a_point_that_a_smaller_payload_beats_does_not_count() -> None:
    store = FakeStore()
    put_curve(store, "alpha", [(100, 30), (200, 60), (400, 10)])
    assert value_of(rates(store)["alpha"]) == pytest.approx(200)


def test_a_row_whose_coarsest_point_is_within_the_budget_has_its_bytes() -> None:
    store = FakeStore()
    put_curve(store, "alpha", [(100, 5), (200, 1)])
    rate = rates(store)["alpha"]
    assert (value_of(rate), rate.is_upper_bound) == (pytest.approx(100), True)


def test_a_row_without_a_point_within_the_budget_has_the_reason() -> None:
    store = FakeStore()
    put_curve(store, "alpha", [(100, 90), (200, 21)])
    put_curve(store, "beta", [(100, 90), (200, 5)])
    found = rates(store, anchors=["alpha", "beta"])
    assert (found["alpha"].payload_bytes, found["alpha"].reason) == (None, "no point of it is within the budget")
    assert set(found["beta"].ratios) == {"beta"}


def test_a_ratio_is_of_the_same_resamples() -> None:
    """Rows that err on the same samples rise and fall together, so their ratio is certain; other rows' is not."""
    store = FakeStore()
    put_curve(store, "alpha", [(100, 40), (400, 5)])
    put_curve(store, "double", [(200, 40), (800, 5)])
    put_curve(store, "other", [(200, 40), (800, 5)], first=500)
    found = rates(store, anchors=["alpha"])
    same, other = found["double"].ratios["alpha"], found["other"].ratios["alpha"]
    assert (same.value, same.low, same.high) == pytest.approx((2, 2, 2))
    assert other.value == pytest.approx(2)
    assert other.low < 1.8 < 2.2 < other.high


def test_an_interval_is_open_where_resamples_do_not_reach_the_budget() -> None:
    store = FakeStore()
    put_curve(store, "alpha", [(100, 40), (400, 19)])
    put_curve(store, "beta", [(100, 40), (400, 5)])
    found = rates(store, anchors=["alpha"])
    assert found["alpha"].payload_bytes is not None
    assert math.isinf(found["alpha"].payload_bytes.high)
    assert found["beta"].ratios["alpha"].low == 0


def test_samples_are_aligned_by_their_identifiers() -> None:
    store = FakeStore()
    put_curve(store, "alpha", [(100, 40), (400, 5)])
    put_curve(store, "double", [(200, 40), (800, 5)])
    for record in store.records()[2:]:
        columns = store.columns[record.cell]
        store.columns[record.cell] = {name: column[::-1] for name, column in columns.items()}
    ratio = rates(store, anchors=["alpha"])["double"].ratios["alpha"]
    assert (ratio.low, ratio.high) == pytest.approx((2, 2))


def test_what_has_no_place_is_said() -> None:
    store = FakeStore()
    put_curve(store, "alpha", [(100, 40), (400, 5)])
    put_curve(store, "none", [(0, 40)])
    assert built(store).left_out == ("Left out: 1 point of 0 bytes or without a metric.",)
    assert built(store).rows == ("alpha",)


def test_an_unknown_anchor_and_an_unknown_budget_are_refused() -> None:
    records = curve_of("alpha", [100.0] * 5, [*LEVELS])
    with pytest.raises(UsageError, match="no row in these records: 'beta'"):
        build(records, lambda *_: {}, budgets=1.0, anchors=["beta"])
    with pytest.raises(UsageError, match="no budget is known for workload 'toy'"):
        build(records, lambda *_: {}, budgets={})


@given(
    st.lists(st.tuples(st.floats(1, 1e6), st.floats(-5, 50)), min_size=1, max_size=8),
    st.floats(0, 20),
)
def test_bytes_lie_between_those_of_points_and_rise_as_the_budget_falls(
    points: list[tuple[float, float]], budget: float
) -> None:
    points.sort()
    sizes, losses = (np.array([column]) for column in zip(*points, strict=True))
    found = float(_bytes_at(sizes, losses, budget)[0])
    if losses.min() > budget:
        assert math.isinf(found)
        return
    first = int(np.flatnonzero(losses[0] <= budget)[0])
    assert found <= sizes[0, first] * (1 + 1e-9)
    assert found >= sizes[0, max(0, first - 1)] * (1 - 1e-9) or losses[0, max(0, first - 1)] > losses[0, :first].min()
    assert found >= sizes[0, 0] * (1 - 1e-9)
    assert float(_bytes_at(sizes, losses, budget + 1)[0]) <= found * (1 + 1e-9)
