"""Builds the report: one HTML page of all results in a folder. It loads nothing, and works without its script.

The page depends only on the records, the links, the machines and the budget. No clock is read, so the same inputs give
the same bytes. Each section has a module in `sections` and a template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from codecbench.analysis.latency import Scenario
from codecbench.analysis.selection import one_set
from codecbench.errors import UsageError
from codecbench.report import page
from codecbench.report.choices import MAX_CHOICES, Choices, Choosable
from codecbench.report.page import Ids, Section
from codecbench.report.sections.bd_rate import bd_rates
from codecbench.report.sections.codecs import codecs
from codecbench.report.sections.figures import figures
from codecbench.report.sections.headline import headline
from codecbench.report.sections.overview import overview
from codecbench.report.sections.paper import paper_comparison
from codecbench.report.sections.plan import plans
from codecbench.report.sections.provenance import provenance
from codecbench.report.sections.tables import tables
from codecbench.report.subject import Subject, listed
from codecbench.results.record import Record


@dataclass(frozen=True)
class Request:
    """The contents of a report.

    `scenarios` differ in their links only. `budgets` is the accepted loss in the metric's own unit, see
    `analysis.budget.budget_of`. `docstrings` are those of the installed codecs by name, for records that do not
    describe their codec. `anchor` is the anchor row of BD-rates; None chooses one. `command` is the command line shown
    on the page. `choosable` are the machines and links that readers can choose beside those of the scenarios.
    """

    records: Sequence[Record]
    scenarios: Sequence[Scenario]
    budgets: float | Mapping[str, float]
    docstrings: Mapping[str, str] = field(default_factory=dict)
    sample_set: str | None = None
    anchor: str | None = None
    paper: bool = True
    figures: bool = True
    mix_machines: bool = False
    command: str = "codecbench report"
    choosable: Choosable = field(default_factory=Choosable)


def build(request: Request) -> str:
    """Returns the page as text ending in a newline.

    Raises UsageError without records, without a link or with a link given twice, and without a budget for a workload.
    """
    if not request.records:
        raise UsageError("there are no records to report; `codecbench run` makes some")
    names = [scenario.link.name for scenario in request.scenarios]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"a report needs one or more links, each once, not {', '.join(names) or 'none'}")
    ids = Ids()
    workloads = sorted({record.key.workload for record in request.records})
    several = len(workloads) > 1
    subjects = [_subject(request, name, ids, 3 if several else 2) for name in workloads]
    contents: list[tuple[str, str]] = []
    parts = []
    for subject in subjects:
        sections = _sections(subject, request)
        part = {
            "workload": subject.workload,
            "headline": _headline(subject, request.choosable, MAX_CHOICES // len(workloads)),
            "overview": overview(subject),
            "sections": sections,
        }
        if several:
            part["place"] = subject.place()
            contents.append((subject.place(), subject.workload))
        else:
            contents += [(section.place, section.title) for section in sections]
        parts.append(part)
    shown = [record for subject in subjects for record in subject.records]
    last = provenance(ids, shown, request.scenarios, request.command)
    how_to_read = ids.of("how to read")
    contents += [(how_to_read, "How to read this page"), (last.place, last.title)]
    return page.render(
        title=f"codecbench: {listed(workloads)}",
        how_to_read=how_to_read,
        codecs=subjects[0].place("codecs"),
        contents=contents,
        parts=parts,
        provenance=last,
    )


def _headline(subject: Subject, choosable: Choosable, at_most: int) -> Mapping[str, object] | None:
    """Returns the values of the headlines of at most this many choices; None where nothing can be chosen."""
    return headline(Choices.of(subject, choosable, at_most)) if subject.has_metric else None


def _subject(request: Request, workload: str, ids: Ids, level: int) -> Subject:
    found = [record for record in request.records if record.key.workload == workload]
    shown, left_out = one_set(found, workload, request.sample_set, mix_machines=request.mix_machines)
    return Subject(
        workload=workload, records=tuple(shown), left_out=tuple(left_out), scenarios=tuple(request.scenarios),
        budgets=request.budgets, docstrings=request.docstrings, ids=ids, level=level,
    )  # fmt: skip


def _sections(subject: Subject, request: Request) -> list[Section]:
    """Returns the workload's sections that are not empty, in the order of the page."""
    made = (
        tables(subject),
        plans(subject),
        figures(subject) if request.figures else None,
        bd_rates(subject, request.anchor),
        paper_comparison(subject) if request.paper else None,
        codecs(subject),
    )
    return [section for section in made if section]
