"""The plan of `codecbench plan` and of `Results.plan`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codecbench.analysis import planner
from codecbench.analysis.budget import budget_of
from codecbench.analysis.latency import Scenario
from codecbench.analysis.planner import BandwidthRange, Candidate, Limits, Plan
from codecbench.analysis.selection import one_set
from codecbench.errors import DataError, UsageError
from codecbench.headlines.headline import Headline
from codecbench.tables import plan as plan_text
from codecbench.tables.document import html_section
from codecbench.tables.formats import metric_label

if TYPE_CHECKING:
    from codecbench.results.record import Record


@dataclass(frozen=True, eq=False)
class ResultPlan:
    """Where to cut, with which codec and point; `print` shows it as text.

    `remarks` say what it leaves out.
    """

    headline: Headline
    ranges: Sequence[BandwidthRange]
    remarks: Sequence[str]

    @property
    def plan(self) -> Plan:
        """The choice, the runner-up and the Pareto front."""
        return self.headline.plan

    @property
    def recommendation(self) -> str:
        """Where to cut, with which codec, and what that gains, as one sentence."""
        return self.headline.sentence

    @property
    def best(self) -> Candidate | None:
        """The choice, which may be the whole network on the device; None where nothing is within the limits."""
        return self.plan.best

    def text(self, width: int = 100) -> str:
        """Return the choice and why, the Pareto front, the choice at other bandwidths, and at the end the headline."""
        limits, chosen, metric = self.headline.limits, self.headline.scenario, self.headline.metric
        details = plan_text.as_text(self.plan, self.ranges, limits, chosen, metric, width, self.remarks)
        return f"{details}\n{self.headline.text(width)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        values = plan_text.as_json(self.plan, self.ranges, self.headline.limits, self.headline.scenario, self.remarks)
        return {"recommendation": self.recommendation, **values}

    def __str__(self) -> str:
        """Return `text`."""
        return self.text()

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.recommendation)}</p>\n{html_section(self.headline.document())}"


def plan_of(
    records: Sequence[Record],
    budgets: dict[str, float] | float,
    chosen: Scenario,
    *,
    max_latency_ms: float | None = None,
    max_device_ms: float | None = None,
    sample_set: str | None = None,
    mix_machines: bool = False,
) -> ResultPlan:
    """Return the plan for the records of one workload."""
    name = records[0].key.workload
    shown, left_out = one_set(records, name, sample_set, mix_machines=mix_machines)
    limits = Limits.from_milliseconds(budget_of(name, budgets, shown), max_latency_ms, max_device_ms)
    candidates = planner.candidates(shown, chosen)
    remarks, metric = [*left_out, *planner.left_out(shown)], metric_of(shown)
    try:
        ranges = planner.sweep(candidates, limits, chosen.link)
    except UsageError as error:  # a link of a plugin may have no bandwidth
        ranges = []
        remarks.append(f"the choice at other bandwidths is left out: {error}")
    return ResultPlan(Headline(candidates, limits, chosen, metric), ranges, remarks)


def metric_of(records: Sequence[Record]) -> str:
    """Return the metric with its unit: `top-1 %`. Raises DataError where nothing was measured."""
    task = next((record.task for record in records if record.task), None)
    if task is None:
        raise DataError("no cell of this workload was measured; 'codecbench table' shows why")
    return metric_label(task)
