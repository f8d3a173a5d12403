"""The headlines of records: one for each workload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from codecbench.analysis.budget import budget_of
from codecbench.analysis.latency import Scenario
from codecbench.analysis.planner import Limits, candidates
from codecbench.analysis.selection import by_workload, is_defined, one_set
from codecbench.headlines.headline import Headline
from codecbench.tables.formats import metric_label

if TYPE_CHECKING:
    from codecbench.results.record import Record


def headlines_of(
    records: Sequence[Record],
    budgets: Mapping[str, float] | float,
    chosen: Scenario,
    sample_set: str | None = None,
    *,
    mix_machines: bool = False,
) -> Iterator[Headline]:
    """Yield the headline for each workload of which a cell was measured and its metric is defined."""
    for name, of_workload in by_workload(records).items():
        shown, _ = one_set(of_workload, name, sample_set, mix_machines=mix_machines)
        task = next((record.task for record in shown if record.task and is_defined(record)), None)
        if task is None:
            continue
        limits = Limits(budget_of(name, budgets, shown))
        yield Headline(candidates(shown, chosen), limits, chosen, metric_label(task))
