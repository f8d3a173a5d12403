"""A plan as text and as JSON: what to do, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.factories import LINK, make_record
from support.plans import make_candidates

from codecbench.analysis import planner
from codecbench.analysis.latency import Scenario
from codecbench.analysis.planner import Limits
from codecbench.tables import plan as plan_text


def test_the_text_says_what_to_do_and_why() -> None:
    found, asked = make_candidates(), Limits(1.0)
    plan = planner.plan(found, asked)
    turns = planner.sweep(found, asked, LINK)
    text = plan_text.as_text(plan, turns, asked, Scenario(LINK), "top-1 %", 100)
    assert "best       local: 3.30 ms = head 3.30" in text
    assert plan.runner_up is not None
    assert f"runner-up  {plan.runner_up.label}" in text
    assert f"why        {plan.runner_up.label} takes" in text
    values = plan_text.as_json(plan, turns, asked, Scenario(LINK))
    assert values["best"]["latency_s"] == pytest.approx(0.0033)
    assert values["best"]["row"] == "local"


def test_the_recommendation_says_where_to_cut_and_what_that_gains() -> None:
    jpeg = make_record("input", "jpeg-huffman", row="jpeg-huffman (own)", payload_bytes=2_000, encode_s=0.006)
    quick = make_record("stem", "quick", {"step": 2}, payload_bytes=1_500, change=-0.25, encode_s=0.0001)
    records = [jpeg, quick, make_record("stem", "lossy", payload_bytes=1, change=-5.0)]
    found = planner.candidates(records, Scenario(LINK))

    def sentence(asked: Limits) -> str:
        recommended = planner.recommend(planner.plan(found, asked), found, asked)
        return plan_text.recommendation(recommended, asked, Scenario(LINK), "top-1 %")

    best, local = found[1], found[-1]
    slower = best.latency.median_s / local.latency.median_s
    assert slower > 1
    assert sentence(Limits(1.0)) == (
        f"Device host, edge host, link {LINK.name}, loss at most 1 of top-1 %: keep the whole network on the device, "
        f"{1000 * local.latency.median_s:.1f} ms; the fastest cut is at stem with quick step=2: 1,500 bytes, "
        f"{1000 * best.latency.median_s:.1f} ms, change of top-1 % -0.25 [-0.5, 0]."
    )
    assert sentence(Limits(0.1)).endswith(
        f"no codec is within the limits; the whole network on the device takes {1000 * local.latency.median_s:.1f} ms."
    )
    steps = {**local.latency.steps_s, "head": 3 * best.latency.steps_s["network"] + 1}
    found[-1] = replace(local, latency=replace(local.latency, steps_s=steps, predicted=frozenset({"head"})))
    text = sentence(Limits(1.0))
    assert f"top-1 %: cut at stem with quick step=2: 1,500 bytes, {1000 * best.latency.median_s:.1f} ms, change" in text
    assert f" times as fast as the whole network on the device ({1000 * found[-1].latency.median_s:,.0f} ms*)" in text
    assert " times as fast as jpeg-huffman (own) at the input (" in " ".join(text.split())
    assert text.endswith("(* predicted by a device profile, not measured).")


def test_a_candidate_that_is_over_the_budget_on_the_test_samples_is_marked() -> None:
    records = [make_record(codec="lucky", change=-1.4, choice_change=-0.9), make_record("stem", change=-0.9)]
    found, asked = planner.candidates(records, Scenario(LINK))[:-1], Limits(1.0)
    plan = planner.plan(found, asked)
    text = plan_text.as_text(plan, [], asked, Scenario(LINK), "top-1 %", 100)
    assert [line.endswith("¶") for line in text.split("\n") if line.startswith(("input lucky", "stem alpha"))] == [True]
    assert "top-1 % -1.4 [-1.65, -1.15] ¶" in text
    assert "¶ over the budget on the test samples" in " ".join(text.split())
    values = plan_text.as_json(plan, [], asked, Scenario(LINK))
    assert (values["best"]["over_on_test"], values["runner_up"]["over_on_test"]) == (True, False)
    clear = planner.plan(found[1:], asked)
    assert "¶" not in plan_text.as_text(clear, [], asked, Scenario(LINK), "top-1 %", 100)
