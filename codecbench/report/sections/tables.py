"""The report's tables for the budget: payload, network time, metric and change, then latency, for each link."""

from __future__ import annotations

from dataclasses import replace

from codecbench.report import page as report_page
from codecbench.report.subject import Subject
from codecbench.tables import latency as latency_table

SPLITS_PER_BLOCK = 2
"""What fits into a window of the usual width."""


def tables(subject: Subject) -> str:
    """The section: both tables, link by link."""
    place = subject.place("tables")
    parts = [_over_link(subject, i) for i in range(len(subject.scenarios))]
    lead = report_page.paragraph(
        "For each codec and split point, the operating point of the smallest payload within the accepted loss. A row's "
        "name leads to all points of its codec.",
        "lead",
    )
    return report_page.section(subject.level, place, "Tables", lead, *parts)


def _over_link(subject: Subject, number: int) -> str:
    scenario = subject.scenarios[number]
    name = scenario.link.name
    built = subject.tables[number]
    whole = replace(built, remarks=(*built.remarks, *subject.left_out)) if number == 0 else built
    documents = [whole.document(SPLITS_PER_BLOCK)]
    if subject.task:
        documents.append(latency_table.document(built, SPLITS_PER_BLOCK))
    parts = [
        report_page.document(subject.ids, shown, subject.row_label, scope=f"over {name}", groups_are_splits=True)
        for shown in documents
    ]
    place = subject.place("tables", name)
    return report_page.section(subject.level + 1, place, f"Over {name}: {scenario.link.description}", *parts)
