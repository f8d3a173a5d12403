"""Records that disagree in model, workload, data or source never stand in one table; what is left out is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import LINK, make_group, make_record
from support.reports import build as build_report

from codecbench.analysis import bd_rate, curves, study
from codecbench.analysis.agreement import made_with
from codecbench.analysis.latency import Scenario
from codecbench.analysis.selection import one_set
from codecbench.api.plans import plan_of
from codecbench.results.record import Record, WorkloadGroup
from codecbench.tables import bd_rate as bd_rate_table
from codecbench.tables import budget as budget_table
from codecbench.tables import curves as curves_table
from codecbench.tables import latency as latency_table
from codecbench.tables import training as training_table

GROUP = make_group()


def points(
    count: int, first: int = 0, *, codec: str = "alpha", made_by: WorkloadGroup | None = GROUP, **provenance: str
) -> list[Record]:
    return [
        make_record(
            codec=codec, point={"q": q}, payload_bytes=10.0 * (q + 1), change=-5.0 / (q + 1), fit_s=1.0,
            made_by=made_by, provenance=provenance,
        )
        for q in range(first, first + count)
    ]  # fmt: skip


def shown(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    return one_set(records, "toy", None)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"weights_hash": "e" * 64}, "Left out: 2 records of another model (weights eeeeeeee, not 11111111)."),
    "data": (
        {"made_by": make_group(data_hash="e" * 64)},
        "Left out: 2 records of other data (hash eeeeeeee, not 33333333).",
    ),
    "workload": (
        {"made_by": make_group(source_hash="e" * 64), "started_utc": "2025-01-01T00:00:00Z"},
        "Left out: 2 records of an earlier source of the workload.",
    ),
    "workload and data": (
        {"made_by": make_group(source_hash="e" * 64, data_hash="e" * 64), "started_utc": "2027-01-01T00:00:00Z"},
        "Left out: 2 records of a later source of the workload and of other data (hash eeeeeeee, not 33333333).",
    ),
    "schema": (
        {"made_by": None},
        "Left out: 2 records of an unknown source of the workload, and of unknown data (written before schema 4).",
    ),
    "codec": (
        {"source_hash": "e" * 64, "started_utc": "2025-01-01T00:00:00Z"},
        "Left out: 2 records of an earlier source of codec alpha.",
    ),
    "codec, later": (
        {"source_hash": "e" * 64, "started_utc": "2027-01-01T00:00:00Z"},
        "Left out: 2 records of a later source of codec alpha.",
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_largest_group_is_shown_and_the_others_are_named(other: str) -> None:
    fields, remark = OTHERS[other]
    kept, left = points(4), points(2, 4, **fields)
    for records in ([*kept, *left], [*left, *kept]):
        assert shown(records) == (kept, [remark])


def test_measured_records_decide_and_of_equal_groups_the_latest_is_shown() -> None:
    failed = [
        make_record(point={"q": q}, status="failed", made_by=make_group(data_hash="e" * 64)) for q in range(9)
    ]  # fmt: skip
    assert shown([*failed, *points(1)])[0] == points(1)
    newer = points(2, 2, weights_hash="e" * 64, started_utc="2027-01-01T00:00:00Z")
    assert shown([*points(2), *newer])[0] == newer


def test_sources_of_different_codecs_may_differ_and_records_of_before_schema_4_agree_with_each_other() -> None:
    records = points(2, made_by=None) + points(1, codec="beta", made_by=None, source_hash="e" * 64)
    assert shown(records) == (records, [])


hashes = st.sampled_from(["a" * 64, "b" * 64])
groups = st.none() | st.builds(make_group, source_hash=hashes, data_hash=hashes)


@given(st.lists(st.tuples(groups, hashes, hashes, st.sampled_from(["alpha", "beta"])), min_size=1, max_size=12))
def test_whatever_a_folder_holds_what_is_shown_agrees(made: list[tuple[WorkloadGroup | None, str, str, str]]) -> None:
    records = [
        make_record(
            codec=codec, point={"q": number}, made_by=group,
            provenance={"weights_hash": weights, "source_hash": source},
        )
        for number, (group, weights, source, codec) in enumerate(made)
    ]  # fmt: skip
    kept, remarks = shown(records)
    assert len({made_with(record) for record in kept}) == 1
    assert len({(record.key.codec, record.provenance.source_hash) for record in kept}) == len(
        {record.key.codec for record in kept}
    )
    said = sum(int(remark.split()[2]) for remark in remarks)
    assert len(kept) + said == len(records)


def budget(records: Sequence[Record]) -> str:
    return budget_table.render(budget_table.build(records, budgets={}, scenario=Scenario(LINK)), "text")


def latency(records: Sequence[Record]) -> str:
    return latency_table.render(budget_table.build(records, budgets={}, scenario=Scenario(LINK)), "text")


def bd_rates(records: Sequence[Record]) -> str:
    anchor = bd_rate.default_anchor(records)
    assert anchor == "alpha"
    return bd_rate_table.render(bd_rate.build(records, anchor), "text")


def figures(records: Sequence[Record]) -> str:
    return " ".join(study.build(records, [Scenario(LINK)], {}).left_out)


TABLES: dict[str, Callable[[Sequence[Record]], str]] = {
    "budget": budget,
    "latency": latency,
    "points": lambda records: curves_table.render(curves.build(records), "text"),
    "bd-rate": bd_rates,
    "training": lambda records: training_table.render(training_table.build(records, {}), "text"),
    "figures": figures,
    "report": lambda records: build_report(records, budgets={}),
}


@pytest.mark.parametrize("table", TABLES)
def test_every_table_says_what_it_leaves_out(table: str) -> None:
    other = points(2, 4, codec="beta", weights_hash="e" * 64)
    text = " ".join(TABLES[table]([*points(4), *points(4, codec="gamma"), *other]).split())
    assert OTHERS["model"][1] in text
    assert "beta" not in text


def test_latencies_keep_to_the_machine_that_timed_most_unless_asked() -> None:
    here, there = points(3), points(1, 7, cpu="Other CPU")
    failed = make_record(codec="beta", status="failed", made_by=GROUP, provenance={"cpu": "Other CPU"})
    records = [*here, *there, failed]
    found, left_out = one_set(records, "toy", None, mix_machines=False)
    assert found == [*here, failed]
    assert len(left_out) == 1
    assert left_out[0].startswith("Left out: 1 record timed on Other CPU")
    assert left_out[0].endswith("--mix-machines takes both.")
    assert one_set(records, "toy", None)[0] == records
    drawn = study.build(records, [Scenario(LINK)], 9.0)
    assert (len(drawn.measured), drawn.left_out) == (3, tuple(left_out))
    assert len(study.build(records, [Scenario(LINK)], 9.0, mix_machines=True).measured) == 4
    (one,) = budget_table.build(records, budgets=9.0, scenario=Scenario(LINK), mix_machines=False)
    assert left_out[0] in " ".join(latency_table.render([one], "text").split())
    plan = plan_of(records, 9.0, Scenario(LINK))
    assert (plan.plan.candidates, left_out[0] in plan.remarks) == (4, True)
    assert plan_of(records, 9.0, Scenario(LINK), mix_machines=True).plan.candidates == 5
