"""The report's BD-rates: how many bytes more or fewer each row needs than an anchor for the same metric."""

from __future__ import annotations

from codecbench.analysis import bd_rate
from codecbench.errors import UsageError
from codecbench.report import page as report_page
from codecbench.report.subject import Subject


def bd_rates(subject: Subject, anchor: str | None) -> str:
    """The section, or nothing where no row has a curve to compare with.

    Where an anchor is asked for and this workload lacks it, the section says so.
    """
    if not subject.measured:
        return ""
    against = anchor or bd_rate.default_anchor(subject.records)
    if against is None:
        return ""
    try:
        (found,) = bd_rate.build(subject.measured, against)
        shown = report_page.document(subject.ids, found.document(), subject.row_label, groups_are_splits=True)
    except UsageError as error:
        shown = report_page.paragraph(f"Not computed: {report_page.text(error)}.")
    lead = report_page.paragraph(
        f"How many percent more bytes (or, negative, fewer) a row takes than {report_page.text(against)} at equal "
        "metric, over all its operating points rather than at one. Where no number stands, a note says why.",
        "lead",
    )
    return report_page.section(subject.level, subject.place("bd-rate"), "BD-rate", lead, shown)
