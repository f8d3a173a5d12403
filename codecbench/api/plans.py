"""The plan of `codecbench plan` and of `Results.plan`."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codecbench.analysis import planner
from codecbench.analysis.budget import budget_of
from codecbench.analysis.latency import Scenario
from codecbench.analysis.planner import BandwidthRange, Candidate, Limits, Plan
from codecbench.analysis.selection import one_set
from codecbench.errors import DataError, UsageError
from codecbench.tables import plan as plan_text
from codecbench.tables.formats import metric_label

if TYPE_CHECKING:
    from codecbench.results.record import Record


@dataclass(frozen=True, eq=False)
class ResultPlan:
    """Where to cut, with which codec and point; `print` shows it as text.

    `recommendation` is its one sentence. `remarks` say what it leaves out.
    """

    plan: Plan
    recommendation: str
    limits: Limits
    scenario: Scenario
    metric: str
    ranges: Sequence[BandwidthRange]
    remarks: Sequence[str]

    @property
    def best(self) -> Candidate | None:
        """The choice, which may be the whole network on the device; None where nothing is within the limits."""
        return self.plan.best

    def text(self, width: int = 100) -> str:
        """Return the recommendation, the choice and why, the Pareto front, and the choice at other bandwidths."""
        rest = plan_text.as_text(self.plan, self.ranges, self.limits, self.scenario, self.metric, width, self.remarks)
        return f"{textwrap.fill(self.recommendation, min(width, 100))}\n\n{rest}"

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        values = plan_text.as_json(self.plan, self.ranges, self.limits, self.scenario, self.remarks)
        return {"recommendation": self.recommendation, **values}

    def __str__(self) -> str:
        """Return `text`."""
        return self.text()

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.recommendation)}</p>"


def plan_of(
    records: Sequence[Record],
    budgets: dict[str, float] | float,
    chosen: Scenario,
    *,
    max_latency_ms: float | None = None,
    max_device_ms: float | None = None,
    sample_set: str | None = None,
) -> ResultPlan:
    """Return the plan for the records of one workload."""
    name = records[0].key.workload
    shown, left_out = one_set(records, name, sample_set)
    limits = Limits.from_milliseconds(budget_of(name, budgets, shown), max_latency_ms, max_device_ms)
    candidates = planner.candidates(shown, chosen)
    found = planner.plan(candidates, limits)
    remarks, metric = [*left_out, *planner.left_out(shown)], metric_of(shown)
    try:
        ranges = planner.sweep(candidates, limits, chosen.link)
    except UsageError as error:  # a link of a plugin may have no bandwidth
        ranges = []
        remarks.append(f"the choice at other bandwidths is left out: {error}")
    sentence = plan_text.recommendation(planner.recommend(found, candidates, limits), limits, chosen, metric)
    return ResultPlan(found, sentence, limits, chosen, metric, ranges, remarks)


def metric_of(records: Sequence[Record]) -> str:
    """Return the metric with its unit: `top-1 %`. Raises DataError where nothing was measured."""
    task = next((record.task for record in records if record.task), None)
    if task is None:
        raise DataError("no cell of this workload was measured; 'codecbench table' shows why")
    return metric_label(task)
