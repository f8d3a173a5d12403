"""Selections: which records are shown, in which order, and which point is chosen for a budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import make_record
from support.tables import build_one, jpeg, raw

from codecbench.analysis.selection import choose
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
    chosen, over, _ = choose(records, budget)
    losses = {record.key.point["q"]: -record.choice.change for record in records if record.choice}
    within = [record for record in records if losses[record.key.point["q"]] <= budget + 1e-9]
    assert over == (not within)
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
