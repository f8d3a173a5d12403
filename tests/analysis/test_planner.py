"""The planner against brute force, on random tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import LINK, make_record, undefined
from support.plans import make_candidates

from codecbench.analysis import planner
from codecbench.analysis.latency import STEPS, Latency, Scenario
from codecbench.analysis.planner import Candidate, Limits
from codecbench.errors import UsageError
from codecbench.links.model import FixedRateLink
from codecbench.tables import plan as plan_text

seconds = st.integers(0, 30).map(lambda tenths: tenths / 10_000)


@st.composite
def a_candidate(draw: st.DrawFn) -> Candidate:
    count = draw(st.sampled_from([1, 3, 4]))
    row = draw(st.sampled_from(["a", "b", "local"]))
    steps = {step: np.array(draw(st.lists(seconds, min_size=count, max_size=count))) for step in STEPS}
    if row == "local":
        steps["network"] = np.zeros(count)
    return Candidate(
        split=draw(st.sampled_from(["input", "stem"])), row=row,
        point=f"q={draw(st.integers(0, 3))}", loss=draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, float("nan")])),
        change=0.0, change_low=0.0, change_high=0.0, payload_bytes=float(draw(st.integers(0, 5))),
        latency=Latency(steps, draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))),
    )  # fmt: skip


limits = st.builds(
    Limits, st.sampled_from([0.0, 0.7, 1.0]), st.none() | st.integers(1, 100).map(lambda n: n / 10_000),
    st.none() | st.integers(1, 60).map(lambda n: n / 10_000),
)  # fmt: skip


@given(st.lists(a_candidate(), min_size=1, max_size=12), limits)
def test_a_plan_agrees_with_brute_force(found: list[Candidate], asked: Limits) -> None:
    def rank(candidate: Candidate) -> tuple[float, float, float]:
        return (candidate.latency.median_s, candidate.loss, candidate.payload_bytes)

    def feasible(candidate: Candidate) -> bool:
        return (
            candidate.loss <= asked.budget + 1e-9
            and (asked.max_latency_s is None or candidate.latency.median_s <= asked.max_latency_s)
            and (asked.max_device_s is None or candidate.latency.device_s <= asked.max_device_s)
        )

    plan = planner.plan(found, asked)
    possible = [candidate for candidate in found if feasible(candidate)]
    assert (plan.best is None) == (not possible)
    if plan.best is not None:
        assert rank(plan.best) == min(map(rank, possible))
        others = [c for c in possible if (c.split, c.row) != (plan.best.split, plan.best.row)]
        assert (plan.runner_up is None) == (not others)
        if plan.runner_up is not None:
            assert rank(plan.runner_up) == min(map(rank, others))
            assert plan.runner_up in others
    undominated = {
        (c.latency.median_s, c.loss)
        for c in found
        if c.loss == c.loss and not any(
            o.latency.median_s <= c.latency.median_s and o.loss <= c.loss
            and (o.latency.median_s, o.loss) != (c.latency.median_s, c.loss)
            for o in found
        )
    }  # fmt: skip
    assert [(c.latency.median_s, c.loss) for c in plan.front] == sorted(undominated)


@given(st.lists(a_candidate(), min_size=1, max_size=8), limits)
def test_each_turn_of_a_sweep_is_the_best_there(found: list[Candidate], asked: Limits) -> None:
    link, bandwidths = FixedRateLink("x", bandwidth_bit_per_s=1e6), (1e4, 1e5, 1e6, 1e7)
    turns = planner.sweep(found, asked, link, bandwidths)
    for bandwidth in bandwidths:
        here = planner.plan(planner.over_link(found, link.with_bandwidth(bandwidth)), asked).best
        turn = [turn for turn in turns if turn.from_bit_per_s <= bandwidth][-1]
        assert (here and here.label) == (turn.best and turn.best.label)
    assert len({turn.from_bit_per_s for turn in turns}) == len(turns)


@given(st.lists(a_candidate().filter(lambda c: c.row != "local"), max_size=12), limits)
def test_a_recommendation_is_the_fastest_codec_and_the_fastest_jpeg_at_the_input(
    found: list[Candidate], asked: Limits
) -> None:
    (local,) = make_candidates()[-1:]
    named = [replace(c, row="jpeg-huffman (own)" if c.row == "b" else c.row) for c in found]
    recommended = planner.recommend(planner.plan([*named, local], asked), [*named, local], asked)
    jpegs = [c for c in named if c.split == "input" and c.row == "jpeg-huffman (own)"]
    assert recommended.local is local
    assert recommended.best is planner.plan(named, asked).best
    assert recommended.jpeg is planner.plan(jpegs, asked).best


def test_candidates_are_the_measured_cells_and_the_whole_network() -> None:
    assert [c.label for c in make_candidates()] == ["input small", "input quick", "stem small", "stem lossy", "local"]


def test_what_is_chosen_changes_with_the_limits() -> None:
    found = make_candidates()
    on_device = planner.plan(found, Limits(1.0))
    assert on_device.best is not None
    assert on_device.best.label == "local"  # its 3.3 ms are less than any network of this link
    busy = planner.plan(found, Limits.from_milliseconds(1.0, None, 2.0))
    assert busy.best is not None
    assert busy.best.label == "input quick"
    assert busy.rejected == {"loss": 1, "latency": 0, "device": 3}
    nothing = planner.plan(found, Limits.from_milliseconds(0.0, 1.0, None))
    assert (nothing.best, nothing.runner_up, nothing.why) == (None, None, "")
    assert "nothing is feasible (ruled out: 4 by loss, 5 by latency)" in plan_text.as_text(
        nothing, [], Limits.from_milliseconds(0.0, 1.0, None), Scenario(LINK), "top-1 %", 100
    )


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="--max-latency is a number of milliseconds over 0, not 0"):
        Limits.from_milliseconds(1.0, 0.0, None)
    with pytest.raises(UsageError, match="at least 0, not -1"):
        Limits.from_milliseconds(-1.0, None, None)


def test_cells_without_a_metric_are_no_candidates_and_the_plan_says_so() -> None:
    records = [make_record(codec="whole"), undefined(make_record(codec="broken")),
               undefined(make_record("stem", codec="half"), test=False)]  # fmt: skip
    found = planner.candidates(records, Scenario(LINK))
    assert [c.row for c in found] == ["whole", "local"]
    (sentence,) = planner.left_out(records)
    assert sentence.startswith(
        "Left out: 2 cells (broken, half), because top-1 is undefined: its denominators sum to 0"
    )
    assert planner.left_out(records[:1]) == []
    asked = Limits(1.0)
    plan = planner.plan(found, asked)
    text = plan_text.as_text(plan, [], asked, Scenario(LINK), "top-1 %", 100, [sentence])
    assert "Left out: 2 cells (broken, half), because top-1 is undefined" in text
    assert plan_text.as_json(plan, [], asked, Scenario(LINK), [sentence])["left_out"] == [sentence]
