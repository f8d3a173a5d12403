"""The report's plans: for each link the best split, codec and point, the runner-up, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codecbench.analysis import planner
from codecbench.analysis.latency import LOCAL, PREDICTED, PREDICTED_MEANS, STEPS, Scenario
from codecbench.analysis.planner import Candidate
from codecbench.errors import UsageError
from codecbench.report import views
from codecbench.report.page import Section
from codecbench.report.subject import Subject
from codecbench.tables.document import Cell, Document, Group, TableBlock, with_interval
from codecbench.tables.formats import short
from codecbench.tables.plan import marks_of, over_on_test_marks, reservations_of
from codecbench.tables.reservations import Reservations

_MARKS = ((PREDICTED, PREDICTED_MEANS),)


@dataclass(frozen=True)
class CandidateView:
    """One candidate as texts: its label, and a description of its latency, payload and loss."""

    label: str
    description: str


def plans(subject: Subject) -> Section | None:
    """Returns the section, or None where no cell was measured."""
    if not subject.measured:
        return None
    values = {
        "local": LOCAL,
        "budget": f"{subject.budget:g}",
        "metric": subject.metric,
        "links": [_over_link(subject, scenario) for scenario in subject.scenarios],
    }
    return Section("plan.html", subject.level, subject.place("plan"), "Which codec, and where to cut", values)


def _over_link(subject: Subject, scenario: Scenario) -> Section:
    found = subject.study.plan(scenario)
    name = scenario.link.name
    reserved = reservations_of(found, found.front)
    marks = over_on_test_marks((*found.front, found.best, found.runner_up), subject.budget)
    values = {
        "best": _candidate(subject, found.best, reserved) if found.best else None,
        "runner_up": _candidate(subject, found.runner_up, reserved) if found.runner_up else None,
        "why": found.why,
        "front": views.document(subject.ids, _front(subject, found.front, reserved, marks, f"over {name}")),
        **_by_bandwidth(subject, scenario),
    }
    return Section("plan_link.html", subject.level + 1, subject.place("plan", name), f"Over {name}", values)


def _candidate(subject: Subject, found: Candidate, reserved: Reservations) -> CandidateView:
    """Returns a candidate as texts, with the marks whose meanings are shown below it."""
    latency = found.latency
    p95 = f", 95th percentile {short(1000 * latency.p95_s)}" if latency.p95_s is not None else ""
    steps = ", ".join(
        f"{step} {short(1000 * latency.step_median_s(step))}{PREDICTED if step in latency.predicted else ''}"
        for step in STEPS
    )
    parts = [f"{short(1000 * latency.median_s)} ms end to end{p95} ({steps})"]
    if found.row != LOCAL:
        parts.append(f"{found.payload_bytes:,.0f} bytes; change of {subject.metric} {_change(subject, found)}")
    if latency.predicted:
        parts.append(f"{PREDICTED} predicted")
    marks = marks_of(found, subject.budget, reserved)
    return CandidateView(found.label, "; ".join(parts) + (f" {marks}" if marks else ""))


def _change(subject: Subject, found: Candidate) -> str:
    assert subject.task is not None
    spec = f"+.{subject.task.decimals}f"
    return with_interval(found.change, found.change_low, found.change_high, spec)


def _front(
    subject: Subject,
    front: Sequence[Candidate],
    reserved: Reservations,
    marks: tuple[tuple[str, str], ...],
    scope: str,
) -> Document:
    lines = []
    for found in front:
        latency = found.latency
        device = PREDICTED if latency.predicted & {"head", "encode"} else ""
        edge = PREDICTED if latency.predicted & {"decode", "tail"} else ""
        cells = (
            Cell(found.split),
            Cell(found.point),
            Cell(short(1000 * latency.median_s), PREDICTED if latency.predicted else ""),
            Cell("-" if latency.p95_s is None else short(1000 * latency.p95_s)),
            Cell(short(1000 * latency.device_s), device),
            Cell(short(1000 * latency.step_median_s("network"))),
            Cell(short(1000 * latency.edge_s), edge),
            Cell(f"{found.payload_bytes:,.1f}"),
            Cell(with_interval(found.loss, None, None, "+.3g")),
            Cell("0" if found.row == LOCAL else _change(subject, found), marks_of(found, subject.budget, reserved)),
        )
        lines.append((found.row, cells))
    headings = (
        "split", "point", "latency ms", "p95 ms", "device ms", "network ms", "edge ms", "bytes", "loss",
        f"change, {subject.metric}",
    )  # fmt: skip
    group = Group("", headings, ("left", "left", *("right",) * 7, "left"))
    return Document(
        title=f"Pareto front of latency and loss {scope}, fastest first",
        blocks=(TableBlock("codec", (group,), tuple(lines)),),
        remarks=(
            "loss: on the samples of the choice. change: on the test samples, with its paired 95 % interval.",
            *planner.left_out(subject.measured),
            *reserved.remarks,
        ),
        marks=(
            *(_MARKS if any(found.latency.predicted for found in front) else ()),
            *marks,
            *reserved.marks,
        ),
    )


def _by_bandwidth(subject: Subject, scenario: Scenario) -> dict[str, object]:
    """Returns the table of the best choice by bandwidth, or the reason that there is none, as template values."""
    try:
        ranges = planner.sweep(subject.study.candidates(scenario), subject.study.limits, scenario.link)
    except UsageError as error:
        return {"by_bandwidth": None, "not_known": str(error)}
    lines = [
        (
            f"{part.from_bit_per_s / 1e6:g}",
            (
                part.best.label if part.best else "nothing is feasible",
                short(1000 * part.best.latency.median_s) if part.best else "-",
            ),
        )
        for part in ranges
    ]
    block = views.rows("from, Mbit/s", ("best", "latency ms there"), "lr", lines)
    caption = f"How the best choice changes with the bandwidth of {scenario.link.name}"
    return {"by_bandwidth": views.table(subject.ids, block, caption)}
