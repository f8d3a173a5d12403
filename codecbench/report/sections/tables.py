"""The report's tables for the budget: payload, network time, metric and change, then latency, for each link."""

from __future__ import annotations

from dataclasses import replace

from codecbench.report import views
from codecbench.report.page import Section
from codecbench.report.subject import Subject
from codecbench.tables import latency

SPLITS_PER_BLOCK = 2
"""The number of splits that fit into a window of common width."""


def tables(subject: Subject) -> Section:
    """Returns the section: for each link, the budget table and the latency table."""
    place = subject.place("tables")
    links = [_over_link(subject, i) for i in range(len(subject.scenarios))]
    return Section("tables.html", subject.level, place, "Tables", {"links": links})


def _over_link(subject: Subject, number: int) -> Section:
    scenario = subject.scenarios[number]
    name = scenario.link.name
    built = subject.tables[number]
    complete = replace(built, left_out=subject.left_out) if number == 0 else built
    documents = [complete.document(SPLITS_PER_BLOCK)]
    if subject.task:
        documents.append(latency.document(built, SPLITS_PER_BLOCK))
    shown = [
        views.document(subject.ids, each, subject.row_label, scope=f"over {name}", groups_are_splits=True)
        for each in documents
    ]
    place = subject.place("tables", name)
    title = f"Over {name}: {scenario.link.description}"
    return Section("tables_link.html", subject.level + 1, place, title, {"documents": shown})
