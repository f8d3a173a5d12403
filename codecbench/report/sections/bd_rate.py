"""The report's BD-rates: the percentage of bytes that each row needs more or fewer than an anchor at equal metric."""

from __future__ import annotations

from codecbench.analysis import bd_rate
from codecbench.errors import UsageError
from codecbench.report import views
from codecbench.report.page import Section
from codecbench.report.subject import Subject
from codecbench.tables import bd_rate as bd_rate_table


def bd_rates(subject: Subject, anchor: str | None) -> Section | None:
    """Returns the section, or None where nothing was measured or no row can be the anchor.

    Where this workload has no records of the `anchor`, the section says so.
    """
    if not subject.measured:
        return None
    against = anchor or bd_rate.default_anchor(subject.records)
    if against is None:
        return None
    values: dict[str, object] = {"anchor": against, "rates": None}
    try:
        (found,) = bd_rate.build(subject.measured, against)
        values["rates"] = views.document(
            subject.ids, bd_rate_table.document(found), subject.row_label, groups_are_splits=True
        )
    except UsageError as error:
        values["not_computed"] = str(error)
    return Section("bd_rate.html", subject.level, subject.place("bd-rate"), "BD-rate", values)
