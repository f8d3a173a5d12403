"""Selects the records of a table: its sample set, the order of splits and rows, and the point for a budget."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from codecbench.analysis.agreement import one_machine, one_model, one_source_each
from codecbench.errors import DataError, UsageError
from codecbench.names import counted
from codecbench.results.cell import point_label
from codecbench.results.record import Choice, IsolationLevel, Record, Size, Task, TensorGroup, Time
from codecbench.workload import Metric

RAW = "raw"
"""The codec that sends the tensor unchanged."""

LOSS_TOLERANCE = 1e-9
"""Losses that differ by less count as equal: they differ by rounding only."""


OVER_ON_TEST = "¶"
OVER_ON_TEST_MEANS = (
    "over the budget on the test samples, by the whole paired interval, though within it on the samples of the choice"
)
"""The mark of a point that is `over_on_test`, and its meaning."""


class MeasuredGroups(NamedTuple):
    """The groups of values that every measured record holds."""

    tensor: TensorGroup
    size: Size
    task: Task
    time: Time


class Origin(NamedTuple):
    """The origin of a measured number: its row, and what `provenance` says on the isolation of the codec's code."""

    row: str
    isolation: IsolationLevel
    mixed_plugin: bool


class Chosen(NamedTuple):
    """The operating point chosen for a row at a split and a budget.

    `over_budget` is True where no point is within the budget, `uncertain` where the paired interval of the loss crosses
    the budget. `over_on_test` is True where the point is within the budget on the choice samples, but the paired
    interval of the loss on the test samples lies above it. `on_test` is True where the test samples chose.
    """

    record: Record
    over_budget: bool
    uncertain: bool
    over_on_test: bool
    on_test: bool


class Change(NamedTuple):
    """A change of the metric with its interval, each a finite number."""

    change: float
    low: float
    high: float


class Value(NamedTuple):
    """The metric with its interval, each a finite number."""

    value: float
    low: float
    high: float


class Loss(NamedTuple):
    """A loss with its interval; a positive loss is worse, whichever direction the metric has."""

    loss: float
    low: float
    high: float


def groups(record: Record) -> MeasuredGroups:
    """Returns the groups of a measured record. Raises DataError where it lacks one."""
    if not (record.tensor and record.size and record.task and record.time):
        raise DataError(f"record {record.cell} is 'ok' but lacks measurements; delete it and run again")
    return MeasuredGroups(record.tensor, record.size, record.task, record.time)


def origin_of(record: Record) -> Origin:
    """Returns the origin of a record's numbers."""
    return Origin(record.row, record.provenance.isolation, record.provenance.mixed_plugin)


def payload_bytes(record: Record) -> float:
    """Returns the mean payload of a measured record, in bytes."""
    return groups(record).size.payload_bytes.mean


def measured_records(records: Iterable[Record]) -> list[Record]:
    """Returns the records with status `ok`. Raises UsageError where there are none."""
    found = [record for record in records if record.status == "ok"]
    if not found:
        raise UsageError("there are no measured records; `codecbench run` makes some")
    return found


def by_workload(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Returns the records of each workload, sorted by workload name."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[record.key.workload].append(record)
    return dict(sorted(found.items()))


def by_row_and_split(records: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    """Returns the records of each (row, split), in the order of the records."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        found.setdefault((record.row, record.key.split), []).append(record)
    return found


def valid_budget(budget: float) -> float:
    """Returns the budget unchanged. Raises UsageError where it is below 0 or not a number."""
    if not budget >= 0:
        raise UsageError(f"a budget is an accepted loss of at least 0, not {budget:g}")
    return budget


def one_set(
    records: Sequence[Record], workload: str, sample_set: str | None, *, mix_machines: bool = True
) -> tuple[list[Record], list[str]]:
    """Returns the records of one sample set, seed, model and data, and a sentence on each group that was left out.

    Without a `sample_set`, the set and seed with the most test samples are chosen; ties go to the most records, then to
    the lowest seed. Of these, the largest group with the same weights, workload and data is kept, and of each codec
    only the newest version, and the largest group of one source; see `codecbench.analysis.agreement`. Unless times may
    `mix_machines`, only the records of one machine are kept. Raises UsageError for a set without records.
    """
    by_set: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in records:
        by_set[record.key.sample_set, record.key.seed].append(record)
    candidates = [key for key in by_set if sample_set in (None, key[0])]
    if not candidates:
        known = ", ".join(sorted({name for name, _ in by_set}))
        raise UsageError(f"workload {workload!r} has no records of the sample set {sample_set!r}; there are: {known}")

    def rank(key: tuple[str, int]) -> tuple[int, int, int, str]:
        tasks = [record.task for record in by_set[key] if record.task]
        return (-max((task.n for task in tasks), default=0), -len(tasks), key[1], key[0])

    chosen = min(candidates, key=rank)
    remarks = [
        f"Left out: {counted(len(found), 'record')} of the sample set {name}, seed {seed}."
        for (name, seed), found in sorted(by_set.items())
        if (name, seed) != chosen
    ]
    of_model, other_models = one_model(by_set[chosen])
    newest: dict[str, int] = {}
    for record in of_model:
        newest[record.key.codec] = max(record.key.codec_version, newest.get(record.key.codec, 0))
    current = [record for record in of_model if record.key.codec_version == newest[record.key.codec]]
    older = len(of_model) - len(current)
    shown, other_sources = one_source_each(current)
    if older:
        remarks.append(f"Left out: {counted(older, 'record')} of older codec versions.")
    timed, other_machines = (shown, []) if mix_machines else one_machine(shown)
    return timed, [*remarks, *other_models, *other_sources, *other_machines]


def splits_in_order(records: Iterable[Record]) -> tuple[str, ...]:
    """Returns the splits by depth: by the head's FLOPs, then by its time. Splits without either come last, by name."""
    depth: dict[str, tuple[float, float]] = {}
    unknown = (float("inf"), float("inf"))
    for record in records:
        flop = record.cost.head_flop if record.cost and record.cost.head_flop is not None else float("inf")
        head_s = record.time.head_s.median if record.time else float("inf")
        depth[record.key.split] = min(depth.get(record.key.split, unknown), (flop, head_s))
    return tuple(sorted(depth, key=lambda split: (depth[split], split)))


def rows_in_order(records: Iterable[Record]) -> tuple[str, ...]:
    """Returns rows by name; rows with a single point of a codec come last, as the raw tensor does in the paper."""
    points: dict[str, set[str]] = defaultdict(set)
    single: dict[str, bool] = {}
    for record in records:
        points[record.row].add(point_label(record.key.point))
        single[record.row] = record.row != record.key.codec and len(points[record.row]) == 1
    return tuple(sorted(points, key=lambda row: (single[row], row)))


def sign_of(task: Task) -> int:
    """Returns 1 where a higher metric is better, -1 where a lower one is: the sign that makes a change a gain."""
    return 1 if task.higher_is_better else -1


def change_of(group: Task | Choice | None) -> Change | None:
    """Returns the change of the metric in a group, None where it is undefined."""
    if group is None or group.change is None or group.change_low is None or group.change_high is None:
        return None
    return Change(group.change, group.change_low, group.change_high)


def value_of(record: Record) -> Value:
    """Returns the metric of a measured record on the test samples. Raises DataError where it is undefined."""
    task = groups(record).task
    if task.value is None or task.low is None or task.high is None:
        raise DataError(f"cell {record.cell} has no value: {undefined_reason(record)}")
    return Value(task.value, task.low, task.high)


def loss_of(change: Change, metric: Task | Metric) -> Loss:
    """Returns a change of a metric as a loss."""
    return Loss(-change.change, -change.high, -change.low) if metric.higher_is_better else Loss(*change)


def is_defined(record: Record, by_choice: bool = False) -> bool:
    """Returns True if a record holds a change of the metric on the test samples, and on the choice samples if asked.

    Nothing can be chosen or said of another.
    """
    return change_of(record.task) is not None and not (by_choice and change_of(record.choice) is None)


def undefined_reason(record: Record) -> str:
    """Returns the reason that a measured record has no value or no change of its metric."""
    task = groups(record).task
    if task.scale is None:
        return f"{task.metric} is undefined: it gives no finite value for these samples"
    return f"{task.metric} is undefined: its denominators sum to 0, or an outcome is not a finite number"


def choose(candidates: Sequence[Record], budget: float) -> Chosen | None:
    """Returns the point for a budget, from the measured points of one row at one split.

    It is the point with the smallest mean payload whose loss is within the budget, or without one the point with the
    smallest loss. Payload and loss are of the choice samples where every record has them, else of the test samples.
    Points whose metric is undefined are left out; None where no point remains.
    """
    by_choice = has_choices(candidates)
    outcomes = [found for record in candidates if (found := _outcome(record, by_choice))]
    if not outcomes:
        return None
    within = [outcome for outcome in outcomes if outcome.loss.loss <= budget + LOSS_TOLERANCE]
    if within:
        best = min(within, key=lambda outcome: (outcome.payload_bytes, outcome.loss.loss))
    else:
        best = min(outcomes, key=lambda outcome: (outcome.loss.loss, outcome.payload_bytes))
    return Chosen(
        best.record,
        over_budget=not within,
        uncertain=best.loss.low < budget - LOSS_TOLERANCE and budget + LOSS_TOLERANCE < best.loss.high,
        over_on_test=bool(within) and best.test_loss.low > budget + LOSS_TOLERANCE,
        on_test=not by_choice,
    )


def has_choices(records: Sequence[Record]) -> bool:
    """Returns True if every record was also measured on choice samples, and the metric of one is defined there."""
    return all(record.choice for record in records) and any(change_of(record.choice) for record in records)


@dataclass(frozen=True)
class _Outcome:
    """The values that decide the choice, and the loss on the test samples."""

    record: Record
    payload_bytes: float
    loss: Loss
    test_loss: Loss


def _outcome(record: Record, by_choice: bool) -> _Outcome | None:
    """Returns the values of a record, None where its metric is undefined."""
    _, size, task, _ = groups(record)
    test = change_of(task)
    deciding = change_of(record.choice) if by_choice else test
    if test is None or deciding is None:
        return None
    mean_bytes = record.choice.payload_mean_bytes if by_choice and record.choice else size.payload_bytes.mean
    return _Outcome(record, mean_bytes, loss_of(deciding, task), loss_of(test, task))


def percent_of(part: float, total: float) -> float | None:
    """Returns the part in percent of the total, None of 0."""
    return 100 * part / total if total else None
