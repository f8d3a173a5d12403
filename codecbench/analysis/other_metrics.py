"""The metrics of a workload beside the one that decides: which there are, and their values."""

from __future__ import annotations

from collections.abc import Iterable

from codecbench.results.record import Record, Task


def others_of(records: Iterable[Record]) -> tuple[Task, ...]:
    """Returns the first group of each metric of these records that does not decide, in the order of the workload."""
    found: dict[str, Task] = {}
    for record in records:
        for other in record.others:
            found.setdefault(other.metric, other)
    return tuple(found.values())


def other_values(record: Record) -> dict[str, float | None]:
    """Returns the values of a record's other metrics on the test samples, by name."""
    return {other.metric: other.value for other in record.others}


def uncompressed_values(records: Iterable[Record]) -> dict[str, float | None]:
    """Returns the values of other metrics for the full model, by name, each from the first record that has one."""
    found: dict[str, float | None] = {}
    for record in records:
        for other in record.others:
            if found.get(other.metric) is None:
                found[other.metric] = other.uncompressed
    return found
