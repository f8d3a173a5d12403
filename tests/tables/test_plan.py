"""A plan as text and as JSON: what to do, and why."""

from __future__ import annotations

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
