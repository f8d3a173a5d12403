"""Where to cut, with which codec, and what that gains: a sentence, and the best choices beside the usual ones."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from codecbench.analysis import planner
from codecbench.analysis.latency import LOCAL, PREDICTED, PREDICTED_MEANS, Scenario
from codecbench.analysis.paper import OUR_ROWS
from codecbench.analysis.planner import Candidate, Limits, Plan, Recommendation
from codecbench.tables import document, formats
from codecbench.tables import plan as plan_text
from codecbench.tables.document import Cell, Document, Group, TableBlock, with_interval
from codecbench.tables.formats import short
from codecbench.tables.reservations import Reservations

MAX_ROWS = 8
"""The most rows of a headline's table."""

PARETO, PARETO_MEANS = "◇", "on the Pareto front of latency and loss, of all measured points"
"""The mark of a row that no other point beats in both, and its meaning."""

DEEPCOD_ROWS = tuple(row for row in OUR_ROWS["DeepCOD"] if row.startswith("deepcod ("))
"""The rows of DeepCOD as published."""


@dataclass(frozen=True, eq=False)
class Headline:
    """The headline for the candidates of one scenario within limits; `metric` is the metric's name with its unit."""

    candidates: Sequence[Candidate]
    limits: Limits
    scenario: Scenario
    metric: str

    @cached_property
    def plan(self) -> Plan:
        """The choice, the runner-up and the Pareto front."""
        return planner.plan(self.candidates, self.limits)

    @cached_property
    def recommended(self) -> Recommendation:
        """The fastest codec within the limits, the whole network on the device, and JPEG at the input."""
        return planner.recommend(self.plan, self.candidates, self.limits)

    @property
    def sentence(self) -> str:
        """Where to cut, with which codec, how many bytes and milliseconds, and how much faster that is."""
        return plan_text.recommendation(self.recommended, self.limits, self.scenario, self.metric)

    @cached_property
    def rows(self) -> tuple[Candidate, ...]:
        """At most MAX_ROWS choices, the fastest first.

        These are the recommended one, the whole network on the device, JPEG at the input, DeepCOD as published, and the
        best of each split point, as far as they are within the limits.
        """
        usual = [self.recommended.best, self.recommended.local, self.recommended.jpeg, self._best_of(DEEPCOD_ROWS)]
        splits = dict.fromkeys(found.split for found in self.candidates if found.row != LOCAL)
        best = [self._fastest([found for found in self.candidates if found.split == split]) for split in splits]
        of_splits = sorted((found for found in best if found is not None), key=_median_s)
        shown = dict.fromkeys(found for found in (*usual, *of_splits) if found is not None)
        return tuple(sorted(list(shown)[:MAX_ROWS], key=_median_s))

    def text(self, width: int) -> str:
        """Return the table for a terminal, without operating points where it is too wide; then the sentence."""
        table = formats.first_that_fits((self.document(points=points) for points in (True, False)), width)
        columns = min(width, formats.PROSE_WIDTH)
        sentence = textwrap.fill(self.sentence, columns, break_on_hyphens=False)
        return f"{document.text(table, columns)}\n{sentence}\n"

    def document(self, *, points: bool = True) -> Document:
        """Return the table of `rows`: latency, gain, payload and the metric's change; the best numbers are strong.

        Without `points`, rows do not name their operating points.
        """
        reserved = plan_text.reservations_of(self.plan, self.rows)
        rows = tuple((found.label if points else found.place, self._cells(found, reserved)) for found in self.rows)
        headings = ("ms", "speed-up", "bytes", f"change of {self.metric}")
        machines = f"Device {self.scenario.device_name}, edge {self.scenario.edge_name}"
        return Document(
            title=f"{machines}, link {self.scenario.link.name}: choices within a loss of {self.limits.budget:g} of "
            f"{self.metric}, the fastest first",
            blocks=(TableBlock("cut and codec", (Group("", headings, ("right",) * 3 + ("left",)),), rows),),
            remarks=(
                f"{LOCAL}: the whole network on the device. ms: median latency; speed-up: how many times as fast as "
                f"{LOCAL}. change: on the test samples; points are chosen on others.",
                *reserved.remarks,
            ),
            marks=(
                *(((PREDICTED, PREDICTED_MEANS),) if any(found.latency.predicted for found in self.rows) else ()),
                *(((PARETO, PARETO_MEANS),) if any(PARETO in cells[-1].marks for _, cells in rows) else ()),
                *plan_text.over_on_test_marks(self.rows, self.limits.budget),
                *reserved.marks,
            ),
        )

    def _cells(self, found: Candidate, reserved: Reservations) -> tuple[Cell, ...]:
        latency_s, local_s = _median_s(found), _median_s(self.recommended.local)
        times = (
            Cell(
                short(1000 * latency_s), PREDICTED if found.latency.predicted else "",
                strong=latency_s == _median_s(self.rows[0]),
            ),
            Cell(short(local_s / latency_s) if latency_s else "-"),
        )  # fmt: skip
        if found.row == LOCAL:
            return (*times, Cell("-"), Cell("-"))
        fewest_bytes = min(each.payload_bytes for each in self.rows if each.row != LOCAL)
        change = with_interval(found.change, found.change_low, found.change_high, "+.2g")
        pareto = PARETO if found in self.plan.front else ""
        return (
            *times,
            Cell(f"{found.payload_bytes:,.0f}", strong=found.payload_bytes == fewest_bytes),
            Cell(change, pareto + plan_text.marks_of(found, self.limits.budget, reserved)),
        )

    def _best_of(self, rows: Sequence[str]) -> Candidate | None:
        return self._fastest([found for found in self.candidates if found.row in rows])

    def _fastest(self, found: Sequence[Candidate]) -> Candidate | None:
        return planner.plan(found, self.limits).best


def _median_s(found: Candidate) -> float:
    return found.latency.median_s
