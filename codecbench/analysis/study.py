"""What figures are drawn from: the records of one workload, a budget, and the networks and machines to look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from codecbench.analysis import latency, planner
from codecbench.analysis.latency import Latency, Scenario
from codecbench.analysis.paper import OUR_ROWS
from codecbench.analysis.planner import Candidate, Limits, Plan
from codecbench.analysis.selection import choose, groups, one_set, payload_bytes, rows_in_order, splits_in_order
from codecbench.devices.profile import HOST
from codecbench.errors import UsageError
from codecbench.results.record import Record, Task

RAW = "raw"
"""The codec that sends the tensor as it is."""

BEST_SHOWN = 3
"""How many rows are shown beside raw ones and the paper's systems: those of the smallest payloads."""


@dataclass(frozen=True)
class Chosen:
    """The operating point of a row at a split for the budget; `over` says that no point is within it."""

    record: Record
    over: bool


@dataclass(frozen=True, eq=False)
class FigureData:
    """Records of one workload, sample set and seed; the links and machines; the accepted loss.

    `scenarios` differ in their links only. `all_rows` shows every row of the records instead of a readable set. Made by
    `of`, which checks all that.
    """

    records: Sequence[Record]
    scenarios: tuple[Scenario, ...]
    budget: float
    all_rows: bool = False
    _latencies: dict[tuple[str, str], Latency] = field(default_factory=dict, repr=False)
    _candidates: dict[str, list[Candidate]] = field(default_factory=dict, repr=False)

    @property
    def scenario(self) -> Scenario:
        """The first one."""
        return self.scenarios[0]

    def over(self, scenario: Scenario) -> FigureData:
        """The same with one scenario only; what was derived so far is shared."""
        return replace(self, scenarios=(scenario,))

    @cached_property
    def measured(self) -> tuple[Record, ...]:
        """The records that hold measurements."""
        return tuple(record for record in self.records if record.status == "ok")

    @property
    def workload(self) -> str:
        """Its name."""
        return self.records[0].key.workload

    @cached_property
    def task(self) -> Task:
        """The metric; its values are of one record."""
        return groups(self.measured[0])[2]

    @property
    def metric_label(self) -> str:
        """The metric with its unit, for an axis: `top-1, %`."""
        label = f"{self.task.metric}, {self.task.unit}" if self.task.unit else self.task.metric
        return label if self.task.higher_is_better else f"{label} (less is better)"

    @property
    def sign(self) -> int:
        """1 where more of the metric is better, -1 where less is."""
        return 1 if self.task.higher_is_better else -1

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """Of measured records, shallowest first."""
        return splits_in_order(self.measured)

    @cached_property
    def rows(self) -> tuple[str, ...]:
        """Every measured row, in the order of the tables."""
        return rows_in_order(self.measured)

    @cached_property
    def raw_rows(self) -> tuple[str, ...]:
        """The rows that send the tensor as it is."""
        raw = {record.row for record in self.measured if record.key.codec == RAW}
        return tuple(row for row in self.rows if row in raw)

    @cached_property
    def chosen(self) -> Mapping[tuple[str, str], Chosen]:
        """By row and split: the smallest payload within the budget, as in the tables."""
        by_place: dict[tuple[str, str], list[Record]] = {}
        for record in self.measured:
            by_place.setdefault((record.row, record.key.split), []).append(record)
        found = {place: choose(records, self.budget) for place, records in by_place.items()}
        return {place: Chosen(record, over) for place, (record, over, _) in found.items()}

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The rows that figures show: raw ones, then the paper's systems and the best others, smallest payloads last.

        Where several rows do what a system of the paper does, the best of them stands for it.
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
        """The mean over splits of the logarithm of the chosen payload's share of raw; raw where there is no choice."""
        shares = []
        for split in self.splits:
            found = self.chosen.get((row, split))
            if found is None or found.over:
                shares.append(0.0)
            else:
                tensor, size, _ = groups(found.record)
                shares.append(math.log(max(size.payload_bytes.mean, 1.0) / max(tensor.raw_bytes, 1.0)))
        return sum(shares) / len(shares)

    @property
    def budget_text(self) -> str:
        """The accepted loss in words: `a loss of at most 1 point of top-1`."""
        unit = f"point{'' if self.budget == 1 else 's'}" if self.task.unit == "%" else self.task.unit
        return f"a loss of at most {f'{self.budget:g} {unit}'.strip()} of {self.task.metric}"

    @property
    def setting_text(self) -> str:
        """Who computes, and the networks between, as sentences."""
        links = [scenario.link for scenario in self.scenarios]
        networks = "; ".join(f"{link.name} ({link.description})" if link.description else link.name for link in links)
        return f"Network, modelled: {networks}. Device: {self.device_text}. Edge: {self.edge_text}."

    @property
    def device_text(self) -> str:
        """Whose times the device's are."""
        return self._machine(self.scenario.device_name)

    @property
    def edge_text(self) -> str:
        """Whose times the edge's are."""
        return self._machine(self.scenario.edge_name)

    def _machine(self, name: str) -> str:
        return "the machine of the records, measured" if name == HOST else f"{name}, predicted"

    @property
    def machines_text(self) -> str:
        """What a title adds where times are predicted: `, device phone predicted`; else nothing."""
        sides = (("device", self.scenario.device_name), ("edge", self.scenario.edge_name))
        predicted = " and ".join(f"{side} {name}" for side, name in sides if name != HOST)
        return f", {predicted} predicted" if predicted else ""

    @property
    def small_print(self) -> str:
        """What a figure has to say in itself: that times are of a model."""
        sides = (("Device", self.scenario.device_name), ("Edge", self.scenario.edge_name))
        predicted = [f"{side} times predicted ({name})." for side, name in sides if name != HOST]
        return " ".join(["Network modelled.", *predicted])

    def missing(self, split: str, row: str) -> str:
        """Why a row has no measured cell at a split: `failed`, `skipped`, `no such point` or `not run`."""
        states = {record.status for record in self.records if record.row == row and record.key.split == split}
        if states:
            return "failed" if "failed" in states else "skipped"
        codec = {record.key.codec for record in self.records if record.row == row}
        there = {record.key.codec for record in self.records if record.key.split == split}
        return "no such point" if codec & there else "not run"

    def best_at(self, split: str) -> Chosen | None:
        """The smallest payload within the budget at a split, of all rows."""
        within = [found for (_, at), found in self.chosen.items() if at == split and not found.over]
        return min(within, key=lambda found: (payload_bytes(found.record), found.record.row), default=None)

    def latency_of(self, record: Record, scenario: Scenario) -> Latency:
        """The latency of a measured cell, kept for the next figure."""
        place = (record.cell, scenario.link.name)
        if place not in self._latencies:
            self._latencies[place] = latency.of(record, scenario)
        return self._latencies[place]

    def local(self, scenario: Scenario) -> Latency:
        """The whole network on the device."""
        return latency.local(self.measured, scenario)

    def candidates(self, scenario: Scenario) -> list[Candidate]:
        """Every measured cell and `local`, for the planner; kept for the next figure."""
        name = scenario.link.name
        if name not in self._candidates:
            self._candidates[name] = planner.candidates(self.measured, scenario)
        return self._candidates[name]

    def plan(self, scenario: Scenario) -> Plan:
        """The planner's choice for the budget."""
        return planner.plan(self.candidates(scenario), Limits(self.budget))


def of(
    records: Sequence[Record],
    scenarios: Sequence[Scenario],
    budget: float,
    *,
    sample_set: str | None = None,
    all_rows: bool = False,
) -> FigureData:
    """The data of one workload's figures. The sample set is chosen as in a table; see `table.build`.

    Raises UsageError where the records are of several workloads, none was measured, a link is given twice or none is,
    or no budget makes sense.
    """
    workloads = sorted({record.key.workload for record in records})
    if len(workloads) > 1:
        raise UsageError(f"a figure shows one workload; these records are of {', '.join(workloads)}: give --workload")
    links = [scenario.link.name for scenario in scenarios]
    if not links or len(set(links)) < len(links):
        raise UsageError(f"figures need one or more links of different names, not {', '.join(links) or 'none'}")
    if not budget >= 0:
        raise UsageError(f"a budget is an accepted loss of at least 0, not {budget:g}")
    shown = one_set(records, workloads[0], sample_set)[0] if records else []
    if not any(record.status == "ok" for record in shown):
        raise UsageError("there are no measured records to draw; `codecbench run` makes some")
    return FigureData(tuple(shown), tuple(scenarios), budget, all_rows)
