"""Records to rate-accuracy curves: every operating point of every codec, split by split, beside its Shannon bound.

Where the budget's table shows one point a codec, chosen for a budget, these are all of them, smallest payload first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codecbench.analysis.selection import (
    by_workload,
    groups,
    measured_records,
    one_set,
    payload_bytes,
    rows_in_order,
    splits_in_order,
)
from codecbench.results.record import Record


@dataclass(frozen=True)
class CurvePoint:
    """One operating point of a row at a split, and whether the curve `falls` to it."""

    record: Record
    falls: bool

    @property
    def payload_bytes(self) -> float:
        """Mean bytes of a payload."""
        return payload_bytes(self.record)


@dataclass(frozen=True)
class Curves:
    """The curves of one workload: by split, then by row, smallest payload first.

    They are measured on `n` test samples of one sample set and seed; `left_out` says which records are of others.
    """

    workload: str
    points: Mapping[str, Mapping[str, tuple[CurvePoint, ...]]]
    n: int
    sample_set: str
    seed: int
    left_out: tuple[str, ...]


def build(records: Sequence[Record], *, sample_set: str | None = None) -> list[Curves]:
    """The curves of each workload, by name. Sample sets are chosen as in a table; see `tables.budget.build`.

    Raises UsageError where no record was measured.
    """
    return [_curves(name, found, sample_set) for name, found in by_workload(measured_records(records)).items()]


def curve(records: Sequence[Record]) -> tuple[CurvePoint, ...]:
    """The points of one row at one split, smallest payload first.

    The curve falls to a point where the upper end of its change's interval is below the lower end of the same for some
    smaller payload (signs turned where less is better).
    """
    points: list[CurvePoint] = []
    best_low = float("-inf")
    for record in sorted(records, key=payload_bytes):
        task = groups(record).task
        low, high = task.change_low, task.change_high
        if not task.higher_is_better:
            low, high = -high, -low
        points.append(CurvePoint(record, falls=high < best_low))
        best_low = max(best_low, low)
    return tuple(points)


def _curves(workload: str, records: Sequence[Record], sample_set: str | None) -> Curves:
    shown, left_out = one_set(records, workload, sample_set)
    points: dict[str, dict[str, tuple[CurvePoint, ...]]] = {}
    for split in splits_in_order(shown):
        at_split = [record for record in shown if record.key.split == split]
        rows = {row: [record for record in at_split if record.row == row] for row in rows_in_order(at_split)}
        points[split] = {row: curve(found) for row, found in rows.items()}
    key = shown[0].key
    return Curves(workload, points, groups(shown[0]).task.n, key.sample_set, key.seed, tuple(left_out))
