"""Marks and remarks for less isolation than the kernel's, and for codecs that share a file with the workload."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import LINK, make_record
from support.rates import LEVELS, curve_of, rising
from support.tables import build_one, latex_rows, rendered

from codecbench.analysis import bd_rate as bd_rates
from codecbench.analysis import curves as curves_of
from codecbench.analysis import planner
from codecbench.analysis.latency import Scenario
from codecbench.analysis.planner import Limits
from codecbench.analysis.selection import Origin
from codecbench.results.record import Record
from codecbench.tables import bd_rate, budget, curves, latency, plan, training
from codecbench.tables.formats import FORMATS
from codecbench.tables.reservations import csv_values, of_origins, of_records

UNKNOWN = "Isolation unknown: made before schema 3."


def records(isolation: str = "kernel", other: str = "kernel", *, mixed_plugin: bool = False) -> list[Record]:
    """Two rows at two splits; the second row of the first split may differ from the others."""
    return [
        make_record("input", "jpeg", {"q": 5}, fit_s=1.0, isolation=isolation),
        make_record("stem", "jpeg", {"q": 5}, fit_s=1.0, isolation=isolation),
        make_record("input", "raw", fit_s=1.0, isolation=other, mixed_plugin=mixed_plugin),
        make_record("stem", "raw", fit_s=1.0, isolation=isolation),
        make_record("input", "odd", status="failed", isolation="audit"),
    ]


def plan_of(found: list[Record]) -> str:
    scenario, asked = Scenario(LINK), Limits(1.0)
    return plan.as_text(planner.plan(planner.candidates(found, scenario), asked), [], asked, scenario, "top-1 %", 100)


RENDERED: dict[str, Callable[[list[Record]], str]] = {
    "budget": lambda found: build_one(found).render("text", None),
    "latency": lambda found: latency.render([build_one(found)], "text", None),
    "curves": lambda found: curves.render(curves_of.build(found), "text"),
    "training": lambda found: training.render(training.build(found, {}), "text"),
    "bd-rate": lambda found: bd_rate.render(bd_rates.build(found, "jpeg"), "text"),
    "plan": plan_of,
}
shown = pytest.mark.parametrize("render", RENDERED.values(), ids=RENDERED)


@shown
def test_the_isolation_of_the_kernel_needs_no_word(render: Callable[[list[Record]], str]) -> None:
    text = render(records())
    assert "solation" not in text
    assert "registers" not in text


@shown
def test_one_remark_stands_where_all_cells_have_it(render: Callable[[list[Record]], str]) -> None:
    text = render(records("unknown", "unknown"))
    documents = 2 if render is RENDERED["curves"] else 1  # one for each split
    assert text.count(UNKNOWN) == documents
    assert "°" not in text
    assert "Isolation: the audit hook alone." in render(records("audit", "audit"))


@pytest.mark.parametrize("kind", ["budget", "latency", "curves", "training"])
def test_a_cell_is_marked_where_others_are_not(kind: str) -> None:
    text = RENDERED[kind](records(other="audit", mixed_plugin=True))
    (row,) = [line for line in text.split("\n") if line.startswith("raw") and "°§" in line]
    assert row.count("°") == 1
    assert not [line for line in text.split("\n") if line.startswith("jpeg") and "°" in line]
    words = " ".join(text.split())
    assert "° isolation below the kernel's in 1 of 4 cells: the audit hook alone: 1 (raw)" in words
    mixed = "the codec's file also registers the workload, so it is loaded in the model's processes too: 1 of 4 cells"
    assert f"§ {mixed} (raw)" in words


def test_a_bd_rate_is_marked_for_its_own_row_and_for_its_anchor() -> None:
    def rates(**isolation: str) -> dict[str, str]:
        found = [
            record.model_copy(
                update={"provenance": record.provenance.model_copy(update={"isolation": isolation.get(name, "kernel")})}
            )
            for name in ("alpha", "beta", "gamma")
            for record in curve_of(name, rising(), [*LEVELS])
        ]
        (block,) = bd_rate.document(bd_rates.build(found, "alpha")[0]).blocks
        return {row: cells[0].marks for row, cells in block.rows}

    assert rates(beta="partial") == {"beta": "°", "gamma": ""}
    assert rates(alpha="partial") == {"beta": "°", "gamma": "°"}


def test_a_plan_marks_its_choice_and_its_front() -> None:
    found = [
        make_record("input", "quick", payload_bytes=10, change=0.5, encode_s=1e-5, isolation="audit"),
        make_record("stem", "small", payload_bytes=10, change=1.0, encode_s=1e-5),
    ]
    marked = [line.split() for line in plan_of(found).split("\n") if line.endswith("°")]
    assert [words[:2] for words in marked] == [["runner-up", "input"], ["input", "quick"]]
    scenario, asked = Scenario(LINK), Limits(1.0)
    values = plan.as_json(planner.plan(planner.candidates(found, scenario), asked), [], asked, scenario)
    assert [(each["row"], each["isolation"]) for each in values["front"]] == [
        ("local", None), ("quick", "audit"), ("small", "kernel"),
    ]  # fmt: skip


def test_levels_that_differ_are_counted_and_named_in_one_remark() -> None:
    (remark,) = of_records(records("unknown", "partial")).remarks
    assert remark == (
        "Isolation below the kernel's in all 4 cells: a part of the kernel's: 1 (raw); "
        "unknown, made before schema 3: 3 (jpeg, raw)."
    )


def test_a_table_of_mixed_plugins_only_has_a_remark() -> None:
    found = of_records([make_record(mixed_plugin=True)])
    assert found.marks == ()
    assert found.remarks == (
        "The codec's file also registers the workload, so it is loaded in the model's processes too.",
    )


def test_a_table_without_a_measured_cell_has_none() -> None:
    found = of_records([make_record(status="failed", isolation="audit")])
    assert (found.remarks, found.marks, found.sentences) == ((), (), ())


origins = st.lists(
    st.builds(
        Origin, st.sampled_from("abc"), st.sampled_from(["kernel", "partial", "audit", "unknown"]), st.booleans()
    ),
    max_size=6,
)


@given(origins)
def test_each_cell_with_a_reservation_has_a_mark_or_the_table_a_remark(cells: list[Origin]) -> None:
    found = of_origins([*cells, None])
    for is_reserved, mark in (
        (lambda cell: cell.isolation != "kernel", "°"), (lambda cell: cell.mixed_plugin, "§"),
    ):  # fmt: skip
        reserved = [cell for cell in cells if is_reserved(cell)]
        marked = [cell for cell in cells if mark in found.marks_of(cell)]
        assert marked == (reserved if len(reserved) < len(cells) else [])
        assert (mark in dict(found.marks)) == bool(marked)
    assert bool(found.sentences) == any(cell.isolation != "kernel" or cell.mixed_plugin for cell in cells)
    assert found.marks_of(None) == ""


@pytest.mark.parametrize("format_", [*FORMATS, "latex"])
def test_all_formats_take_the_marks(format_: str) -> None:
    text = rendered(build_one(records(other="audit", mixed_plugin=True)), format_)
    if format_ == "latex":
        latex_rows(text)
        assert r"{\circ}{\S}$" in text
    elif format_ == "csv":
        lines = {(line["row"], line["split"]): line for line in csv.DictReader(io.StringIO(text))}
        kept = ("isolation", "mixed_plugin")
        assert [lines["raw", "input"][name] for name in kept] == ["audit", "True"]
        assert [lines["jpeg", "input"][name] for name in kept] == ["kernel", "False"]
        assert [lines["local", "input"][name] for name in kept] == ["", "False"]
    else:
        assert "°§" in text


def test_csv_has_the_weakest_isolation_of_a_number() -> None:
    strong, weak = Origin("a", "kernel", False), Origin("b", "audit", True)
    assert csv_values([strong, weak]) == {"isolation": "audit", "mixed_plugin": True}
    assert csv_values([strong]) == {"isolation": "kernel", "mixed_plugin": False}
    assert csv_values([]) == {"isolation": None, "mixed_plugin": False}
    found = records(other="audit", mixed_plugin=True)
    for text in (
        curves.render(curves_of.build(found), "csv"),
        training.render(training.build(found, {}), "csv"),
        bd_rate.render(bd_rates.build(found, "jpeg"), "csv"),
    ):
        lines = [line for line in csv.DictReader(io.StringIO(text)) if line["row"] == "raw"]
        assert [(line["isolation"], line["mixed_plugin"]) for line in lines] == [("audit", "True"), ("kernel", "False")]


def test_the_tables_of_the_paper_are_not_ours_to_isolate() -> None:
    _, published = budget.build(records("audit", "audit"), budgets=1.0, scenario=Scenario(LINK), paper=True)
    assert published.reservations.sentences == ()
