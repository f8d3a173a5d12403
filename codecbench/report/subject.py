"""One workload's part of a report: its study, its tables, and its ids in the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from codecbench.analysis.budget import budget_of
from codecbench.analysis.latency import Latency, Scenario
from codecbench.analysis.selection import Chosen, is_defined
from codecbench.analysis.study import Study
from codecbench.report import page as report_page
from codecbench.report.page import Ids
from codecbench.results.record import Record, Task
from codecbench.tables import budget
from codecbench.tables.budget import Table
from codecbench.tables.formats import metric_label


@dataclass(frozen=True, eq=False)
class Subject:
    """One workload of the report, on one sample set and seed.

    `records` are the records that are shown; the sentences in `left_out` say which are not. `scenarios` differ in their
    links only. `docstrings` are those of the installed codecs by name, for records that do not describe their codec.
    `level` is the level of the headings.
    """

    workload: str
    records: tuple[Record, ...]
    left_out: tuple[str, ...]
    scenarios: tuple[Scenario, ...]
    budgets: float | Mapping[str, float]
    docstrings: Mapping[str, str]
    ids: Ids
    level: int

    @cached_property
    def study(self) -> Study:
        """The values derived from the records."""
        return Study(self.records, self.scenarios, budget_of(self.workload, self.budgets, self.records))

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The budget tables, one for each scenario."""
        made = (budget.build(self.records, budgets=self.budgets, scenario=scenario) for scenario in self.scenarios)
        return tuple(table for (table,) in made)

    @property
    def budget(self) -> float:
        """The accepted loss, in the metric's own unit."""
        return self.study.budget

    @property
    def measured(self) -> tuple[Record, ...]:
        """The records that hold measurements."""
        return self.study.measured

    @property
    def has_metric(self) -> bool:
        """True if a cell was measured and its metric is defined."""
        return any(is_defined(record) for record in self.measured)

    @property
    def task(self) -> Task | None:
        """The task group of the first measured record, for the metric. None where nothing was measured."""
        return self.study.task if self.study.measured else None

    @property
    def metric(self) -> str:
        """The metric with its unit: `top-1 %`."""
        return metric_label(self.task) if self.task else "metric"

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits of the records, shallowest first."""
        return self.study.all_splits

    @cached_property
    def codec_names(self) -> tuple[str, ...]:
        """The names of the codecs, sorted."""
        return tuple(sorted({record.key.codec for record in self.records}))

    @cached_property
    def chosen(self) -> Mapping[str, Chosen]:
        """The points that the tables show, by cell: for each row and split, the one chosen for the budget."""
        return {found.record.cell: found for found in self.study.chosen.values()}

    @cached_property
    def latencies(self) -> Mapping[str, tuple[Latency, ...]]:
        """The latencies of each measured cell, one for each scenario, by cell."""
        study = self.study
        return {r.cell: tuple(study.latency_of(r, scenario) for scenario in self.scenarios) for r in self.measured}

    def place(self, *words: str) -> str:
        """Returns the id of a place in this workload's part."""
        return self.ids.of(self.workload, *words)

    def codec_place(self, codec: str) -> str:
        """Returns the id of a codec's section."""
        return self.place("codec", codec)

    def row_label(self, row: str) -> str:
        """Returns a row's label as HTML, linked to the section of its codec where there is one."""
        codec = self._codec_of.get(row)
        return report_page.link(self.codec_place(codec), row) if codec else report_page.text(row)

    @cached_property
    def _codec_of(self) -> Mapping[str, str]:
        return {record.row: record.key.codec for record in self.records}


def listed(values: Sequence[object]) -> str:
    """Returns the values in words: `a, b and c`."""
    words = [str(value) for value in values]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "none"
