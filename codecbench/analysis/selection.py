"""Which records make up a table: sets, splits, rows and choices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from codecbench.errors import DataError, UsageError
from codecbench.results.cell import point_label
from codecbench.results.record import Record, Size, Task, TensorGroup


def groups(record: Record) -> tuple[TensorGroup, Size, Task]:
    """What every measured record holds. Raises DataError where it does not."""
    if not (record.tensor and record.size and record.task):
        raise DataError(f"record {record.cell} is 'ok' but lacks measurements; delete it and run again")
    return record.tensor, record.size, record.task


def payload_bytes(record: Record) -> float:
    """Mean bytes of a measured record's payload."""
    return groups(record)[1].payload_bytes.mean


_EPSILON = 1e-9


def one_set(records: Sequence[Record], workload: str, sample_set: str | None) -> tuple[list[Record], list[str]]:
    """The records of one sample set and seed, each codec in its newest version, and remarks on what was left out."""
    groups: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.key.sample_set, record.key.seed].append(record)
    candidates = [key for key in groups if sample_set in (None, key[0])]
    if not candidates:
        known = ", ".join(sorted({name for name, _ in groups}))
        raise UsageError(f"workload {workload!r} has no records of the sample set {sample_set!r}; there are: {known}")

    def rank(key: tuple[str, int]) -> tuple[int, int, int, str]:
        tasks = [record.task for record in groups[key] if record.task]
        return (-max((task.n for task in tasks), default=0), -len(tasks), key[1], key[0])

    chosen = min(candidates, key=rank)
    remarks = [
        f"Left out: {_count(len(found), 'record')} of the sample set {name}, seed {seed}."
        for (name, seed), found in sorted(groups.items())
        if (name, seed) != chosen
    ]
    newest: dict[str, int] = {}
    for record in groups[chosen]:
        newest[record.key.codec] = max(record.key.codec_version, newest.get(record.key.codec, 0))
    shown = [record for record in groups[chosen] if record.key.codec_version == newest[record.key.codec]]
    older = len(groups[chosen]) - len(shown)
    if older:
        remarks.append(f"Left out: {_count(older, 'record')} of older codec versions.")
    return shown, remarks


def splits_in_order(records: Iterable[Record]) -> tuple[str, ...]:
    """Splits by depth: by the head's FLOPs, then by its time; splits without either come last, by name."""
    depth: dict[str, tuple[float, float]] = {}
    unknown = (float("inf"), float("inf"))
    for record in records:
        flop = record.cost.head_flop if record.cost and record.cost.head_flop is not None else float("inf")
        head_s = record.time.head_s.median if record.time else float("inf")
        depth[record.key.split] = min(depth.get(record.key.split, unknown), (flop, head_s))
    return tuple(sorted(depth, key=lambda split: (depth[split], split)))


def rows_in_order(records: Iterable[Record]) -> tuple[str, ...]:
    """Codecs by name, then the rows that are single points of a codec, as the paper puts the plain tensor last."""
    points: dict[str, set[str]] = defaultdict(set)
    single: dict[str, bool] = {}
    for record in records:
        points[record.row].add(point_label(record.key.point))
        single[record.row] = record.row != record.key.codec and len(points[record.row]) == 1
    return tuple(sorted(points, key=lambda row: (single[row], row)))


def choose(measured: Sequence[Record], budget: float) -> tuple[Record, bool, bool]:
    """The point for a budget, from the measured points of one row at one split: (record, over budget, uncertain).

    It is the smallest mean payload whose loss is within the budget, or else the smallest loss. Both are taken on the
    choice samples where every record has them. `uncertain` says that the loss's paired interval crosses the budget.
    """
    outcomes = [_outcome(record, _has_choices(measured)) for record in measured]
    within = [outcome for outcome in outcomes if outcome.loss <= budget + _EPSILON]
    if within:
        best = min(within, key=lambda outcome: (outcome.payload_bytes, outcome.loss))
    else:
        best = min(outcomes, key=lambda outcome: (outcome.loss, outcome.payload_bytes))
    uncertain = best.loss_low < budget - _EPSILON and budget + _EPSILON < best.loss_high
    return best.record, not within, uncertain


@dataclass(frozen=True)
class _Outcome:
    """What the choice looks at: positive `loss` is worse, in either direction of the metric."""

    record: Record
    payload_bytes: float
    loss: float
    loss_low: float
    loss_high: float


def _has_choices(records: Iterable[Record]) -> bool:
    return all(record.choice for record in records)


def _outcome(record: Record, by_choice: bool) -> _Outcome:
    _, size, task = _measured_groups(record)
    group = record.choice if by_choice and record.choice else task
    payload_bytes = record.choice.payload_mean_bytes if by_choice and record.choice else size.payload_bytes.mean
    low, high = group.change_low, group.change_high
    if task.higher_is_better:
        return _Outcome(record, payload_bytes, -group.change, -high, -low)
    return _Outcome(record, payload_bytes, group.change, low, high)


def _measured_groups(record: Record) -> tuple[TensorGroup, Size, Task]:
    if not (record.tensor and record.size and record.task):
        raise DataError(f"record {record.cell} is 'ok' but lacks measurements; delete it and run again")
    return record.tensor, record.size, record.task


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
