"""The choices of a page: their headlines are those of the planner, and the page holds all of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from support.factories import LINK, make_layers, make_profile, make_record
from support.reports import Page, build, check, some_records

from codecbench.analysis import planner
from codecbench.analysis.latency import Scenario
from codecbench.analysis.planner import Limits
from codecbench.headlines.headline import Headline
from codecbench.links.model import FixedRateLink
from codecbench.report.choices import Choices, Choosable, undominated
from codecbench.report.page import Ids
from codecbench.report.subject import Subject

SLOW = FixedRateLink("slow", 1e5, description="a slow one")
PI = make_profile("pi", layer_s=0.01, general=4.0)
GPU = make_profile("gpu", layer_s=0.0001, general=1.0)
CHOOSABLE = Choosable((PI, GPU), (LINK, SLOW), {"toy": make_layers()})


def subject(**fields: Any) -> Subject:
    values: dict[str, Any] = {
        "workload": "toy", "records": tuple(some_records()), "left_out": (), "scenarios": (Scenario(LINK),),
        "budgets": 1.0, "docstrings": {}, "ids": Ids(), "level": 2, **fields,
    }  # fmt: skip
    return Subject(**values)


def embedded(text: str) -> Any:
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def names(machines: Any) -> list[str]:
    return [machine.name if machine else "host" for machine in machines]


def test_machines_links_and_losses_can_be_chosen() -> None:
    choices = Choices.of(subject(), CHOOSABLE)
    assert names(choices.devices) == ["host", "pi", "gpu"]
    assert names(choices.edges) == ["host", "gpu"]
    assert [link.name for link in choices.links] == ["test-link", "slow"]
    assert choices.budgets == [0, 0.5, 1, 2, 4]
    assert choices.default == (0, 0, 0, 2)


def test_the_machines_of_the_report_are_the_default() -> None:
    own = Scenario(LINK, make_profile("own", layer_s=0.1, general=9.0), PI, CHOOSABLE.layers)
    choices = Choices.of(subject(scenarios=(own,)), CHOOSABLE)
    assert names(choices.devices) == ["host", "own", "pi", "gpu"]
    assert names(choices.edges) == ["host", "pi", "gpu"]
    assert choices.default == (1, 1, 0, 2)


@pytest.mark.parametrize(
    "layers",
    [{}, {"toy": replace(make_layers(), weights_sha256="f" * 64)}],
    ids=["none", "of other weights"],
)
def test_without_the_layers_of_the_model_no_machine_is_offered(layers: Any) -> None:
    choices = Choices.of(subject(), replace(CHOOSABLE, layers=layers))
    assert names(choices.devices) == names(choices.edges) == ["host"]


def test_a_page_has_a_limited_number_of_choices() -> None:
    own = Scenario(LINK, PI, GPU, CHOOSABLE.layers)
    many = [make_profile(f"p{i}", layer_s=0.01, general=1.0) for i in range(40)]
    choices = Choices.of(subject(scenarios=(own,)), replace(CHOOSABLE, devices=many), at_most=100)
    assert 50 < len(choices.devices) * len(choices.edges) * len(choices.links) * len(choices.budgets) <= 100
    device, edge, link, budget = choices.default
    assert (choices.devices[device], choices.edges[edge]) == (PI, GPU)
    assert (choices.links[link].name, choices.budgets[budget]) == ("test-link", 1.0)


def test_no_headline_needs_the_dominated_candidates() -> None:
    scenario = Scenario(LINK)
    numbers = np.random.default_rng(0)
    records = [
        make_record(split, codec, {"q": q}, payload_bytes=float(numbers.integers(10, 5000)),
                    change=-float(numbers.choice([0.1, 0.4, 1.0, 3.0])), encode_s=float(numbers.uniform(0, 0.01)))
        for split in ("input", "stem", "stage1") for codec in ("alpha", "beta", "jpeg-huffman") for q in range(15)
    ]  # fmt: skip
    found = planner.candidates(records, scenario)
    kept = undominated(found)
    assert len(kept) < len(found) / 2
    for budget in (0.0, 0.01, 0.3, 1.0, 3.0, 50.0):
        limits = Limits(budget)
        of_all = Headline(found, limits, scenario, "top-1 %")
        of_kept = Headline(kept, limits, scenario, "top-1 %")
        assert of_kept.plan.best is of_all.plan.best
        assert of_kept.plan.front == of_all.plan.front
        assert of_kept.rows == of_all.rows
        assert of_kept.sentence == of_all.sentence


def test_the_page_holds_the_planner_s_headline_for_every_choice() -> None:
    text = build(some_records(), choosable=CHOOSABLE)
    check(text)
    data = embedded(text)
    values = [[value for value, _ in options] for _, options in data["lists"]]
    assert values == [["host", "pi", "gpu"], ["host", "gpu"], ["test-link", "slow"], ["0", "0.5", "1", "2", "4"]]
    machines, links = {"pi": PI, "gpu": GPU}, {"test-link": LINK, "slow": SLOW}
    headlines = iter(data["headlines"])
    for device, edge, link, budget in product(*values):
        scenario = Scenario(links[link], machines.get(device), machines.get(edge), CHOOSABLE.layers)
        found, limits = planner.candidates(some_records(), scenario), Limits(float(budget))
        expected = Headline(found, limits, scenario, "top-1 %")
        sentence, rows, _ = next(headlines)
        assert sentence == expected.sentence
        assert [data["texts"][point] for _, point, _, _ in rows] == [row.point for row in expected.rows]
        (block,) = expected.document(points=False).blocks
        assert [data["texts"][name] for name, *_ in rows] == [name for name, _ in block.rows]
        assert [cells for _, _, cells, _ in rows] == [
            [[cell.text, cell.marks] if cell.strong else plain(cell.text, cell.marks) for cell in cells]
            for _, cells in block.rows
        ]
        assert max(sum(lengths) for *_, lengths in rows) == pytest.approx(100, abs=0.2)
    assert next(headlines, None) is None


def plain(text: str, marks: str) -> str:
    spaced = f"{text} {marks}" if marks and " " in text else text + marks
    return spaced.replace(", ", ",\N{NO-BREAK SPACE}")


def test_without_script_the_default_choice_is_shown() -> None:
    text = build(some_records(), choosable=CHOOSABLE)
    data = embedded(text)
    device, edge, link, budget = data["chosen"]
    sentence, rows, _ = data["headlines"][((device * 2 + edge) * 2 + link) * 5 + budget]
    shown = Page(text[text.index('<section class="headline"') : text.index("<dl")])
    assert sentence in shown.said("p")
    assert [attributes["width"] for attributes in shown.all("rect")] == [f"{each}%" for *_, own in rows for each in own]
    assert shown.said("strong")[0] == rows[0][2][0][0]
    assert len(shown.all("tr")) == len(rows) + 1


def test_where_nothing_was_measured_there_is_no_headline() -> None:
    page = check(build([make_record(status="failed")], choosable=CHOOSABLE))
    assert not any(attributes.get("class") == "headline" for attributes in page.all("section"))


def test_each_workload_has_its_headlines() -> None:
    records = some_records(workload="one") + some_records(workload="two")
    page = check(build(records, budgets={"one": 1.0, "two": 2.0}))
    assert sum(attributes.get("class") == "headline" for attributes in page.all("section")) == 2
