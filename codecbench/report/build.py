"""The report: one HTML page of everything that a results folder says. It loads nothing, and works without its script.

The page is a function of the records, the links, the machines and the budget alone: no clock is read, so that the same
inputs give the same bytes. Each section is made in a `report_*` module of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from codecbench.analysis.latency import Scenario
from codecbench.analysis.selection import one_set
from codecbench.codec import Codec
from codecbench.errors import UsageError
from codecbench.report import page as report_page
from codecbench.report.page import Ids, Styles
from codecbench.report.sections.bd_rate import bd_rates
from codecbench.report.sections.codecs import codecs
from codecbench.report.sections.figures import figures
from codecbench.report.sections.paper import beside_paper
from codecbench.report.sections.plan import best, plans
from codecbench.report.sections.provenance import provenance
from codecbench.report.sections.tables import tables
from codecbench.report.subject import Subject, listed
from codecbench.results.record import Record


@dataclass(frozen=True)
class Request:
    """What a report is to show.

    `scenarios` differ in their links only. `budgets` is the accepted loss in the metric's own unit: one for all
    workloads, or one for each. `codecs` are the installed classes, for what they say of themselves. `anchor` is the row
    that BD-rates are taken against; None chooses one. `command` is told on the page.
    """

    records: Sequence[Record]
    scenarios: Sequence[Scenario]
    budgets: float | Mapping[str, float]
    codecs: Mapping[str, type[Codec]] = field(default_factory=dict)
    sample_set: str | None = None
    anchor: str | None = None
    paper: bool = True
    figures: bool = True
    command: str = "codecbench report"


def build(request: Request) -> str:
    """The page as text ending in a newline.

    Raises UsageError where there are no records, no link or one twice, or no budget for a workload.
    """
    if not request.records:
        raise UsageError("there are no records to report; `codecbench run` makes some")
    names = [scenario.link.name for scenario in request.scenarios]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"a report needs one or more links, each once, not {', '.join(names) or 'none'}")
    ids, styles = Ids(), Styles()
    workloads = sorted({record.key.workload for record in request.records})
    several = len(workloads) > 1
    subjects = [_subject(request, name, ids, 3 if several else 2) for name in workloads]
    contents: list[tuple[str, str]] = []
    parts = []
    for subject in subjects:
        sections = _sections(subject, request, styles)
        inner = "\n".join(part for _, _, part in sections)
        if several:
            place = subject.place()
            contents.append((place, subject.workload))
            parts.append(report_page.section(2, place, subject.workload, _facts(subject), inner))
        else:
            contents += [(place, title) for place, title, _ in sections]
            parts.append(inner)
    shown = [record for subject in subjects for record in subject.records]
    parts.append(provenance(ids, shown, request.scenarios, request.command))
    contents.append((ids.of("provenance"), "Provenance"))
    title = f"codecbench: {listed(workloads)}"
    return report_page.page(title, _header(title, subjects, several), contents, "\n".join(parts), styles)


def _subject(request: Request, workload: str, ids: Ids, level: int) -> Subject:
    found = [record for record in request.records if record.key.workload == workload]
    shown, left_out = one_set(found, workload, request.sample_set)
    return Subject(
        workload=workload, records=tuple(shown), left_out=tuple(left_out), scenarios=tuple(request.scenarios),
        budgets=request.budgets, codecs=request.codecs, ids=ids, level=level,
    )  # fmt: skip


def _sections(subject: Subject, request: Request, styles: Styles) -> list[tuple[str, str, str]]:
    """The place, the title and the HTML of each section that there is."""
    made = [
        ("tables", "Tables", tables(subject)),
        ("plan", "Which codec, and where to cut", plans(subject)),
        ("figures", "Figures", figures(subject, styles) if request.figures else ""),
        ("bd-rate", "BD-rate", bd_rates(subject, request.anchor)),
        ("paper", "Beside the paper", beside_paper(subject) if request.paper else ""),
        ("codecs", "Codec by codec", codecs(subject)),
    ]
    return [(subject.place(name), title, part) for name, title, part in made if part]


def _header(title: str, subjects: Sequence[Subject], several: bool) -> str:
    lead = report_page.paragraph(
        "Which codec should carry the tensor when a network is split between a device and an edge server? What was "
        "measured, what follows from it for each network, and what is needed to measure it again.",
        "lead",
    )
    parts = [f"<h1>{report_page.text(title)}</h1>", lead]
    if not several:
        parts.append(_facts(subjects[0]))
    return "\n".join([*parts, _how_to_read(subjects[0])])


def _facts(subject: Subject) -> str:
    """What was measured, where, and what is best for each link."""
    records = subject.records
    counts = Counter(record.status for record in records)
    outcomes = ", ".join(f"{counts[status]} {status}" for status in ("ok", "skipped", "failed") if counts[status])
    where = [record.provenance for record in records]
    machines = sorted({f"{p.cpu}, {p.cores} cores, {p.threads} used by each step" for p in where})
    packages = sorted({f"{n} {p.packages[n]}" for p in where for n in ("torch", "numpy") if n in p.packages})
    versions = sorted({f"codecbench {p.codecbench}, Python {p.python}" for p in where})
    days = sorted(p.started_utc[:10] for p in where)
    commits = sorted({p.git[:12] for p in where if p.git})
    grid = f"{len(subject.codec_names)} codecs at {len(subject.splits)} split points"
    versions += [", ".join(packages)] if packages else []
    pairs = [
        ("workload", subject.workload),
        ("cells", f"{len(records):,} ({outcomes}): {grid}"),
        ("samples", _samples(subject)),
        ("machine", listed(machines)),
        ("versions", "; ".join([*versions, *(f"commit {commit}" for commit in commits)])),
        ("measured", days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"),
    ]  # fmt: skip
    if subject.task:
        pairs.insert(3, ("uncompressed model", _uncompressed(subject)))
    found = [(term, report_page.text(said)) for term, said in pairs]
    parts = [report_page.facts(found)]
    if subject.task:
        choices = report_page.facts((_fastest(s), best(subject, s)) for s in subject.scenarios)
        parts.append(f'<div class="best">{choices}</div>')
    parts += [report_page.items((report_page.text(remark) for remark in subject.left_out), "remarks")]
    return "\n".join(part for part in parts if part)


def _fastest(scenario: Scenario) -> str:
    """What the choice is for: the link, and the machines where they are not those of the records."""
    sides = (("device", scenario.device), ("edge", scenario.edge))
    machines = "".join(f", {side} {profile.name}" for side, profile in sides if profile)
    return f"fastest over {scenario.link.name}{machines}"


def _samples(subject: Subject) -> str:
    tested = sorted({record.task.n for record in subject.measured if record.task})
    chosen = sorted({record.choice.n for record in subject.measured if record.choice})
    key = subject.records[0].key
    told = f"{listed(tested)} test samples ({key.sample_set}), seed {key.seed}"
    return f"{told}; points chosen on {listed(chosen)} others" if chosen else f"{told}; points chosen on the same"


def _uncompressed(subject: Subject) -> str:
    assert subject.task is not None
    task = subject.task
    better = "higher is better" if task.higher_is_better else "lower is better"
    value = f"{task.uncompressed:.{task.decimals}f} {task.unit}".strip()
    return f"{task.metric} {value} ({better}); accepted loss {subject.budget:g}"


def _how_to_read(subject: Subject) -> str:
    """Five lines."""
    every = report_page.link(subject.place("codecs"), "Codec by codec")
    lines = (
        "A <em>cell</em> is a codec with one setting at one split point; its payload is every byte that crossed.",
        f"For the accepted loss, a table shows each codec's smallest payload; {every} shows all settings.",
        "[low, high] is a 95 % interval. A change is from the uncompressed model on the same samples, paired: where "
        "its interval holds 0, no cost was shown.",
        "Times of device and edge were measured, unless marked as predicted; network times are modelled.",
        "A cell that was skipped or failed says why; nothing is left out because of its result.",
    )
    heading = f'<h2 id="{subject.ids.of("how to read")}">How to read this page</h2>'
    return f"{heading}\n{report_page.items(lines, 'read', 'ol')}"
