"""The report's plans: for each link the best split, codec and point, the runner-up, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

from codecbench.analysis import planner
from codecbench.analysis.latency import LOCAL, PREDICTED, PREDICTED_MEANS, STEPS, Scenario
from codecbench.analysis.planner import Candidate, Limits, Plan
from codecbench.errors import UsageError
from codecbench.report import page as report_page
from codecbench.report.subject import Subject
from codecbench.tables import document as layout
from codecbench.tables.formats import short

_MARKS = ((PREDICTED, PREDICTED_MEANS),)


def plans(subject: Subject) -> str:
    """The section, or nothing where no cell was measured."""
    if not subject.measured:
        return ""
    lead = report_page.paragraph(
        f"Every measured cell is a candidate, and so is running the whole network on the device ({LOCAL}). The best "
        f"has the least median latency of those that lose at most {subject.budget:g} of "
        f"{report_page.text(subject.metric)} on the samples of the choice.",
        "lead",
    )
    parts = [_over_link(subject, scenario) for scenario in subject.scenarios]
    return report_page.section(subject.level, subject.place("plan"), "Which codec, and where to cut", lead, *parts)


def best(subject: Subject, scenario: Scenario) -> str:
    """The best choice over a link, as HTML; where that is to send nothing, the best codec beside it."""
    found = planner.plan(planner.candidates(subject.records, scenario), Limits(subject.budget))
    if found.best is None:
        return "nothing is feasible"
    told = _sentence(subject, found.best)
    if found.best.row == LOCAL and found.runner_up:
        told += f".<br>With a codec: {_sentence(subject, found.runner_up)}"
    return told


def _over_link(subject: Subject, scenario: Scenario) -> str:
    candidates = planner.candidates(subject.records, scenario)
    limits = Limits(subject.budget)
    found = planner.plan(candidates, limits)
    name = scenario.link.name
    parts = [_choice(subject, found)]
    parts.append(report_page.document(subject.ids, _front(subject, found.front, f"over {name}")))
    parts.append(_by_bandwidth(subject, candidates, limits, scenario))
    return report_page.section(subject.level + 1, subject.place("plan", name), f"Over {name}", *parts)


def _choice(subject: Subject, found: Plan) -> str:
    if found.best is None:
        return report_page.paragraph("Nothing is feasible: no measured point is within the accepted loss.", "best")
    pairs = [("best", _sentence(subject, found.best))]
    if found.runner_up:
        pairs += [
            ("runner-up, of another codec or split point", _sentence(subject, found.runner_up)),
            ("why", report_page.text(found.why)),
        ]
    return report_page.facts(pairs)


def _sentence(subject: Subject, found: Candidate) -> str:
    latency = found.latency
    p95 = f", 95th percentile {short(1000 * latency.p95_s)}" if latency.p95_s is not None else ""
    steps = ", ".join(
        f"{step} {short(1000 * latency.step_median_s(step))}{PREDICTED if step in latency.predicted else ''}"
        for step in STEPS
    )
    name = f"<strong>{report_page.text(found.label)}</strong>"
    parts = [f"{name}: {short(1000 * latency.median_s)} ms end to end{p95} ({steps})"]
    if found.row != LOCAL:
        parts.append(
            f"{found.payload_bytes:,.0f} bytes; change of {report_page.text(subject.metric)} {_change(subject, found)}"
        )
    if latency.predicted:
        parts.append(f"{PREDICTED} predicted")
    return "; ".join(parts)


def _change(subject: Subject, found: Candidate) -> str:
    assert subject.task is not None
    spec = f"+.{subject.task.decimals}f"
    return layout.with_interval(found.change, found.change_low, found.change_high, spec)


def _front(subject: Subject, front: Sequence[Candidate], scope: str) -> layout.Document:
    lines = []
    for found in front:
        latency = found.latency
        device = PREDICTED if latency.predicted & {"head", "encode"} else ""
        edge = PREDICTED if latency.predicted & {"decode", "tail"} else ""
        cells = (
            layout.Cell(found.split),
            layout.Cell(found.point),
            layout.Cell(short(1000 * latency.median_s), PREDICTED if latency.predicted else ""),
            layout.Cell("-" if latency.p95_s is None else short(1000 * latency.p95_s)),
            layout.Cell(short(1000 * latency.device_s), device),
            layout.Cell(short(1000 * latency.step_median_s("network"))),
            layout.Cell(short(1000 * latency.edge_s), edge),
            layout.Cell(f"{found.payload_bytes:,.1f}"),
            layout.Cell(layout.with_interval(found.loss, None, None, "+.3g")),
            layout.Cell("0" if found.row == LOCAL else _change(subject, found)),
        )
        lines.append((found.row, cells))
    headings = (
        "split", "point", "latency ms", "p95 ms", "device ms", "network ms", "edge ms", "bytes", "loss",
        f"change, {subject.metric}",
    )  # fmt: skip
    group = layout.Group("", headings, ("left", "left", *("right",) * 7, "left"))
    return layout.Document(
        title=f"Pareto front of latency and loss {scope}, fastest first",
        blocks=(layout.Block("codec", (group,), tuple(lines)),),
        remarks=("loss: on the samples of the choice. change: on the test samples, with its paired 95 % interval.",),
        marks=_MARKS if any(found.latency.predicted for found in front) else (),
    )


def _by_bandwidth(subject: Subject, candidates: Sequence[Candidate], limits: Limits, scenario: Scenario) -> str:
    try:
        turns = planner.sweep(candidates, limits, scenario.link)
    except UsageError as error:
        return report_page.paragraph(f"How the choice changes with bandwidth is not known: {report_page.text(error)}.")
    lines = [
        (
            f"{turn.from_bit_per_s / 1e6:g}",
            (
                turn.best.label if turn.best else "nothing is feasible",
                short(1000 * turn.best.latency.median_s) if turn.best else "-",
            ),
        )
        for turn in turns
    ]
    block = report_page.rows("from, Mbit/s", ("best", "latency ms there"), "lr", lines)
    return report_page.table(
        subject.ids, block, f"How the best choice changes with the bandwidth of {scenario.link.name}"
    )
