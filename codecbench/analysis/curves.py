"""Rate-accuracy curves from records: every operating point of every codec at each split, smallest payload first.

The budget table shows one chosen point for each codec; these curves hold all points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codecbench.analysis.selection import (
    by_workload,
    change_of,
    groups,
    loss_of,
    measured_records,
    one_set,
    payload_bytes,
    rows_in_order,
    splits_in_order,
)
from codecbench.results.cell import point_label
from codecbench.results.record import Record


@dataclass(frozen=True)
class CurvePoint:
    """One operating point of a row at a split; `falls` is True where a smaller payload is better, see `curve`."""

    record: Record
    falls: bool

    @property
    def payload_bytes(self) -> float:
        """The mean payload, in bytes."""
        return payload_bytes(self.record)


@dataclass(frozen=True)
class Curves:
    """The curves of one workload, by split and then by row, smallest payload first.

    They are measured on `n` test samples of one sample set and seed; the sentences in `left_out` say which records were
    left out.
    """

    workload: str
    points: Mapping[str, Mapping[str, tuple[CurvePoint, ...]]]
    n: int
    sample_set: str
    seed: int
    left_out: tuple[str, ...]


def build(records: Sequence[Record], *, sample_set: str | None = None) -> list[Curves]:
    """Returns the curves of each workload, sorted by name.

    The sample set is chosen as in `tables.budget.build`. Raises UsageError where no record was measured.
    """
    return [_curves(name, found, sample_set) for name, found in by_workload(measured_records(records)).items()]


def curve(records: Sequence[Record]) -> tuple[CurvePoint, ...]:
    """Returns the points of one row at one split, smallest payload first.

    A point falls where its interval of the loss lies above that of some smaller payload. A point whose metric is
    undefined falls nowhere.
    """
    points: list[CurvePoint] = []
    lowest = float("inf")
    for record in sorted(records, key=payload_bytes):
        task = groups(record).task
        change = change_of(task)
        loss = loss_of(change, task) if change else None
        points.append(CurvePoint(record, falls=loss is not None and loss.low > lowest))
        if loss is not None:
            lowest = min(lowest, loss.high)
    return tuple(points)


def row_and_point(record: Record) -> str:
    """Returns the row, then the arguments of the operating point that its name does not hold already."""
    point = {name: value for name, value in record.key.point.items() if f"({value})" not in record.row}
    return " ".join(filter(None, (record.row, point_label(point))))


def _curves(workload: str, records: Sequence[Record], sample_set: str | None) -> Curves:
    shown, left_out = one_set(records, workload, sample_set)
    points: dict[str, dict[str, tuple[CurvePoint, ...]]] = {}
    for split in splits_in_order(shown):
        at_split = [record for record in shown if record.key.split == split]
        rows = {row: [record for record in at_split if record.row == row] for row in rows_in_order(at_split)}
        points[split] = {row: curve(found) for row, found in rows.items()}
    key = shown[0].key
    return Curves(workload, points, groups(shown[0]).task.n, key.sample_set, key.seed, tuple(left_out))
