"""Values that figures and reports derive from the records of one workload, each computed once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property

from codecbench.analysis import planner
from codecbench.analysis.budget import budget_of
from codecbench.analysis.latency import LOCAL, Latency, Scenario, latency_of, local_latency
from codecbench.analysis.paper import OUR_ROWS
from codecbench.analysis.planner import Candidate, Limits, Plan
from codecbench.analysis.selection import (
    RAW,
    Chosen,
    by_row_and_split,
    choose,
    groups,
    is_defined,
    one_set,
    payload_bytes,
    rows_in_order,
    sign_of,
    splits_in_order,
    undefined_reason,
)
from codecbench.errors import DataError, UsageError
from codecbench.results.record import Record, Task

BEST_SHOWN = 3
"""The number of rows that figures show in addition to raw rows and the paper's systems: the smallest payloads."""


@dataclass(frozen=True, eq=False)
class Study:
    """The records of one workload, sample set and seed, with scenarios and a budget.

    `scenarios` differ in their links only. `budget` is the accepted loss in the metric's own unit. With `all_rows`,
    figures show every row of the records instead of a readable selection. The sentences in `left_out` say which records
    were left out.
    """

    records: Sequence[Record]
    scenarios: tuple[Scenario, ...]
    budget: float
    all_rows: bool = False
    left_out: tuple[str, ...] = ()
    _latencies: dict[tuple[str, str], Latency] = field(default_factory=dict, repr=False)
    _candidates: dict[str, list[Candidate]] = field(default_factory=dict, repr=False)
    _plans: dict[str, Plan] = field(default_factory=dict, repr=False)

    @property
    def scenario(self) -> Scenario:
        """The first scenario."""
        return self.scenarios[0]

    def with_scenario(self, scenario: Scenario) -> Study:
        """Returns a study with only this scenario; values that were derived already are shared."""
        # No cached value depends on the list of scenarios, so a shallow copy stays valid.
        other = copy(self)
        object.__setattr__(other, "scenarios", (scenario,))
        return other

    @cached_property
    def measured(self) -> tuple[Record, ...]:
        """The records that hold measurements."""
        return tuple(record for record in self.records if record.status == "ok")

    @cached_property
    def scored(self) -> tuple[Record, ...]:
        """The measured records whose metric is defined."""
        return tuple(record for record in self.measured if is_defined(record))

    @property
    def workload(self) -> str:
        """The workload's name."""
        return self.records[0].key.workload

    @cached_property
    def task(self) -> Task:
        """The task group of the first measured record, one with a defined metric where there is one.

        Raises DataError where nothing was measured.
        """
        if not self.measured:
            raise DataError(f"no cell of workload {self.workload!r} was measured, so its metric is not known")
        return groups((self.scored or self.measured)[0]).task

    @property
    def uncompressed(self) -> float:
        """The metric of the full model. Raises DataError like `check_scored`."""
        self.check_scored()
        assert self.task.uncompressed is not None
        return self.task.uncompressed

    def check_scored(self) -> None:
        """Raises DataError where the metric is undefined in all measured records."""
        if not self.scored:
            why = undefined_reason(self.measured[0]) if self.measured else "no cell was measured"
            raise DataError(f"there is nothing to draw of workload {self.workload!r}: {why}")

    @property
    def sign(self) -> int:
        """1 where a higher metric is better, -1 where a lower one is."""
        return sign_of(self.task)

    @cached_property
    def all_splits(self) -> tuple[str, ...]:
        """All splits of the records, measured or not, shallowest first."""
        return splits_in_order(self.records)

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The splits with measured records, shallowest first."""
        return splits_in_order(self.measured)

    @cached_property
    def rows(self) -> tuple[str, ...]:
        """All measured rows, in the order of the tables."""
        return rows_in_order(self.measured)

    @cached_property
    def raw_rows(self) -> tuple[str, ...]:
        """The rows of the codec RAW."""
        raw = {record.row for record in self.measured if record.key.codec == RAW}
        return tuple(row for row in self.rows if row in raw)

    @cached_property
    def chosen(self) -> Mapping[tuple[str, str], Chosen]:
        """The point chosen for the budget, by (row, split), as in the tables; none where the metric is undefined."""
        found = by_row_and_split(self.measured)
        chosen = {at: choose(candidates, self.budget) for at, candidates in found.items()}
        return {at: choice for at, choice in chosen.items() if choice is not None}

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The rows that figures show: raw rows, then the paper's systems and the best others, smallest payloads last.

        Of several rows that implement one system of the paper, the one with the smallest payloads is shown.
        """
        if self.all_rows:
            return self.rows
        sizes = {row: (self._size(row), row) for row in self.rows}
        same = [[row for row in ours if row in sizes and row not in self.raw_rows] for ours in OUR_ROWS.values()]
        paper = [min(ours, key=sizes.__getitem__) for ours in same if ours]
        taken = {*self.raw_rows, *(row for ours in same for row in ours)}
        others = sorted((row for row in self.rows if row not in taken), key=sizes.__getitem__)[:BEST_SHOWN]
        return (*self.raw_rows, *sorted((*paper, *others), key=sizes.__getitem__, reverse=True))

    def _size(self, row: str) -> float:
        """Returns the mean over splits of log(chosen payload / raw tensor).

        A split without a point within the budget counts as raw, 0.
        """
        shares = []
        for split in self.splits:
            found = self.chosen.get((row, split))
            if found is None or found.over_budget:
                shares.append(0.0)
            else:
                tensor, size, _, _ = groups(found.record)
                shares.append(math.log(max(size.payload_bytes.mean, 1.0) / max(tensor.raw_bytes, 1.0)))
        return sum(shares) / len(shares)

    def missing(self, split: str, row: str) -> str:
        """Returns why no cell of a row is shown at a split.

        One of `metric undefined`, `failed`, `skipped`, `no such point` and `not run`.
        """
        states = {record.status for record in self.records if record.row == row and record.key.split == split}
        if "ok" in states:
            return "metric undefined"
        if states:
            return "failed" if "failed" in states else "skipped"
        codec = {record.key.codec for record in self.records if record.row == row}
        there = {record.key.codec for record in self.records if record.key.split == split}
        return "no such point" if codec & there else "not run"

    def best_at(self, split: str) -> Chosen | None:
        """Returns the smallest payload of all rows within the budget at a split, None where there is none."""
        within = [found for (_, at), found in self.chosen.items() if at == split and not found.over_budget]
        return min(within, key=lambda found: (payload_bytes(found.record), found.record.row), default=None)

    def latency_of(self, record: Record, scenario: Scenario) -> Latency:
        """Returns the latency of a measured cell."""
        at = (record.cell, scenario.link.name)
        if at not in self._latencies:
            self._latencies[at] = latency_of(record, scenario)
        return self._latencies[at]

    def local(self, scenario: Scenario) -> Latency:
        """Returns the latency of the whole network on the device."""
        at = (LOCAL, scenario.link.name)
        if at not in self._latencies:
            self._latencies[at] = local_latency(self.measured, scenario)
        return self._latencies[at]

    def candidates(self, scenario: Scenario) -> list[Candidate]:
        """Returns the planner's candidates: every measured cell, then `local`."""
        name = scenario.link.name
        if name not in self._candidates:
            self._candidates[name] = planner.candidates(self.measured, scenario)
        return self._candidates[name]

    @property
    def limits(self) -> Limits:
        """The limits of a plan: the budget, and none on time."""
        return Limits(self.budget)

    def plan(self, scenario: Scenario) -> Plan:
        """Returns the planner's choice for the budget."""
        name = scenario.link.name
        if name not in self._plans:
            self._plans[name] = planner.plan(self.candidates(scenario), self.limits)
        return self._plans[name]


def build(
    records: Sequence[Record],
    scenarios: Sequence[Scenario],
    budget: float | Mapping[str, float],
    *,
    sample_set: str | None = None,
    all_rows: bool = False,
    mix_machines: bool = False,
) -> Study:
    """Returns the study of one workload's records. Records are selected as in `tables.budget.build`.

    `budget` is the accepted loss in the metric's own unit, see `analysis.budget.budget_of`. Unless times may
    `mix_machines`, only the records of the machine that timed most are kept. Raises UsageError where the
    records are of several workloads or none was measured, where no link or the same link twice is given, and for a
    budget below 0.
    """
    workloads = sorted({record.key.workload for record in records})
    if len(workloads) > 1:
        raise UsageError(f"a figure shows one workload; these records are of {', '.join(workloads)}: give --workload")
    links = [scenario.link.name for scenario in scenarios]
    if not links or len(set(links)) < len(links):
        raise UsageError(f"figures need one or more links of different names, not {', '.join(links) or 'none'}")
    shown, left_out = one_set(records, workloads[0], sample_set, mix_machines=mix_machines) if records else ([], [])
    if not any(record.status == "ok" for record in shown):
        raise UsageError("there are no measured records to draw; `codecbench run` makes some")
    accepted = budget_of(workloads[0], budget, shown)
    return Study(tuple(shown), tuple(scenarios), accepted, all_rows, tuple(left_out))
