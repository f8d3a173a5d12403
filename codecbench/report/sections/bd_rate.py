"""The report's BD-rates: how many bytes more or fewer each row needs than an anchor for the same metric."""

from __future__ import annotations

from codecbench.analysis import bd_rate
from codecbench.errors import UsageError
from codecbench.report import views
from codecbench.report.page import Section
from codecbench.report.subject import Subject


def bd_rates(subject: Subject, anchor: str | None) -> Section | None:
    """Returns the section, or None where no row has a curve to compare with.

    Where an anchor is asked for and this workload lacks it, the section says so.
    """
    if not subject.measured:
        return None
    against = anchor or bd_rate.default_anchor(subject.records)
    if against is None:
        return None
    values: dict[str, object] = {"anchor": against, "rates": None}
    try:
        (found,) = bd_rate.build(subject.measured, against)
        values["rates"] = views.document(subject.ids, found.document(), subject.row_label, groups_are_splits=True)
    except UsageError as error:
        values["not_computed"] = str(error)
    return Section("bd_rate.html", subject.level, subject.place("bd-rate"), "BD-rate", values)
