"""Selections: which records are shown, in which order, and which point is chosen for a budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import make_record, undefined
from support.tables import build_one, jpeg, raw

from codecbench.analysis.selection import choose, groups, is_defined, sign_of
from codecbench.errors import UsageError
from codecbench.tables.budget import choice_marks


def test_smallest_payload_within_the_budget_is_chosen() -> None:
    records = [jpeg("input", q, q * 10, change) for q, change in ((10, -3.0), (40, -0.7), (90, -0.1))]
    entry = build_one(records).entries["jpeg", "input"]
    assert (entry.point, entry.payload_bytes, choice_marks(entry)) == ("quality=40", 400, "")


def test_the_choice_is_made_on_choice_samples_and_scored_on_test() -> None:
    records = [
        jpeg("input", 10, 100, change=-0.2, choice_change=-2.0),
        jpeg("input", 50, 500, change=-1.8, choice_change=-0.5),
    ]
    entry = build_one(records).entries["jpeg", "input"]
    assert (entry.point, entry.change) == ("quality=50", -1.8)
    assert not entry.over_budget


def test_a_loss_of_just_the_budget_is_within_it() -> None:
    records = [jpeg("input", 10, 100, change=90.1 - 91.2, choice_half_width=0.0), jpeg("input", 50, 500, -0.5)]
    assert build_one(records, budget=1.1).entries["jpeg", "input"].point == "quality=10"


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(-5, 1), st.floats(-5, 1)), min_size=1, max_size=8),
    st.floats(0, 4),
)
def test_no_other_point_within_the_budget_is_smaller(points: list[tuple[int, float, float]], budget: float) -> None:
    records = [
        make_record(point={"q": i}, payload_bytes=size, change=test, choice_change=choice)
        for i, (size, test, choice) in enumerate(points)
    ]
    found = choose(records, budget)
    assert found is not None
    chosen = found.record
    losses = {record.key.point["q"]: -record.choice.change for record in records if record.choice}
    within = [record for record in records if losses[record.key.point["q"]] <= budget + 1e-9]
    assert found.over_budget == (not within)
    if within:
        assert chosen in within
        assert chosen.size
        assert chosen.size.payload_bytes.mean == min(r.size.payload_bytes.mean for r in within if r.size)
    else:
        assert losses[chosen.key.point["q"]] == min(losses.values())


def test_rows_are_codecs_by_name_then_single_points_then_local() -> None:
    records = [raw("input"), make_record(codec="zlib"), make_record(codec="alpha")]
    assert build_one(records).rows == ("alpha", "zlib", "raw (float32)", "local")


def test_splits_stand_in_the_order_of_their_depth() -> None:
    records = [raw(split) for split in ("stage2", "input", "stem", "stage1")]
    records += [make_record("aaa", status="skipped")]
    assert build_one(records).splits == ("input", "stem", "stage1", "stage2", "aaa")


def test_the_largest_sample_set_is_shown_and_the_others_are_named() -> None:
    records = [make_record(n=500, change=-0.5), make_record(n=50, change=-0.1), make_record(n=500, change=-0.2, seed=1)]
    built = build_one(records)
    assert built.entries["alpha", "input"].change == -0.5
    text = " ".join(built.render("text").split())
    assert "500 test samples (test-500-00c0ffee), seed 0" in text
    assert "Left out: 1 record of the sample set test-50-00c0ffee, seed 0." in text
    assert "Left out: 1 record of the sample set test-500-00c0ffee, seed 1." in text


def test_a_sample_set_can_be_asked_for() -> None:
    records = [make_record(n=500, change=-0.5), make_record(n=50, change=-0.1)]
    assert build_one(records, sample_set="test-50-00c0ffee").entries["alpha", "input"].change == -0.1
    with pytest.raises(
        UsageError, match="no records of the sample set 'test-7'; there are: test-50-00c0ffee, test-500"
    ):
        build_one(records, sample_set="test-7")


def test_older_codec_versions_are_left_out_by_name() -> None:
    built = build_one([make_record(version=1, change=-0.9), make_record(version=2, change=-0.2)])
    assert built.entries["alpha", "input"].change == -0.2
    assert "Left out: 1 record of older codec versions." in built.render("text")


def test_a_point_without_a_metric_is_not_chosen() -> None:
    small, large = jpeg("input", 10, 100, -0.1), jpeg("input", 50, 500, -0.5)
    for without in (undefined(small), undefined(small, test=False)):
        found = choose([without, large], 1.0)
        assert found is not None
        assert found.record is large
    assert choose([undefined(small), undefined(large)], 1.0) is None


def test_choice_samples_without_a_metric_leave_the_choice_to_the_test_samples() -> None:
    records = [undefined(jpeg("input", q, q, change), test=False) for q, change in ((10, -3.0), (50, -0.5))]
    found = choose(records, 1.0)
    assert found is not None
    assert (found.record, found.on_test) == (records[1], True)


@given(st.lists(st.tuples(st.floats(-5, 1), st.sampled_from(["defined", "choice", "both"])), max_size=6))
def test_what_is_chosen_has_a_metric(points: list[tuple[float, str]]) -> None:
    records = [make_record(point={"q": i}, payload_bytes=i, change=change) for i, (change, _) in enumerate(points)]
    kinds = [kind for _, kind in points]
    records = [
        record if kind == "defined" else undefined(record, test=kind == "both")
        for record, kind in zip(records, kinds, strict=True)
    ]
    found = choose(records, 1.0)
    assert (found is None) == (not {"defined", "choice"} & set(kinds))
    if found is not None:
        assert is_defined(found.record, by_choice="defined" in kinds)


def test_a_point_is_over_on_test_where_the_whole_interval_there_lies_above_the_budget() -> None:
    def over(change: float, choice_change: float, **options: bool) -> bool:
        record = make_record(change=change, choice_change=choice_change, half_width=0.3, **options)  # type: ignore[arg-type]
        found = choose([record], 1.0)
        assert found is not None
        return found.over_on_test

    assert over(-1.4, -0.9)
    assert not over(-1.2, -0.9)  # the interval reaches the budget
    assert not over(-1.4, -1.3)  # over the budget on both: marked as such
    assert over(1.4, 0.9, higher_is_better=False)
    assert not over(-1.4, -0.9, higher_is_better=False)


def test_a_sign_makes_a_change_a_gain() -> None:
    assert [sign_of(groups(make_record(higher_is_better=better)).task) for better in (True, False)] == [1, -1]
