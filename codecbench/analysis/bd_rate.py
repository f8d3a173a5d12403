"""BD-rate: the percentage of bytes that a row takes more or fewer than an anchor row, on average at equal metric.

G. Bjøntegaard, Calculation of average PSNR differences between RD-curves, ITU-T VCEG-M33, 2001: the mean difference in
log bytes over the range of the metric that both curves cover. The package `bjontegaard` computes it. Curves are
interpolated by PCHIP, which keeps them monotone (Herglotz et al., Beyond Bjøntegaard, 2022, compare interpolations).

Accuracy is noisy, so only the upper envelope of a curve counts: the points that no smaller payload equals or beats. The
BD-rate is computed where both envelopes have at least four points and cover enough of the same range, and where that
range is wider than the uncertainty of the metric. Otherwise the result holds the reason instead of a number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median

from codecbench.analysis.selection import (
    Origin,
    by_row_and_split,
    by_workload,
    change_of,
    groups,
    is_defined,
    measured_records,
    one_set,
    origin_of,
    payload_bytes,
    rows_in_order,
    sign_of,
    splits_in_order,
    undefined_reason,
)
from codecbench.errors import UsageError
from codecbench.names import counted, pick
from codecbench.results.record import Record

MIN_POINTS = 4
MIN_OVERLAP = 0.5
"""The common range must be at least this share of the narrower curve's range."""

PSNR = "PSNR"


@dataclass(frozen=True)
class Envelope:
    """The upper envelope of a row's curve: payload bytes and metric, both increasing.

    The metric is negated where lower is better. `dropped` counts the points that a smaller payload equals or beats.
    `noise` is the median half-width of the confidence intervals of all points, 0 without points.
    """

    payload_bytes: tuple[float, ...] = ()
    metric: tuple[float, ...] = ()
    dropped: int = 0
    noise: float = 0.0

    @property
    def points(self) -> int:
        """The number of points on the envelope."""
        return len(self.metric)


@dataclass(frozen=True)
class BdRate:
    """The BD-rate of one row against the anchor at one split; `percent` is None where `reason` explains why.

    A negative `percent` is better: fewer bytes than the anchor at equal metric. The average is over the metric from
    `low` to `high`, in the metric's own unit and direction. `overlap` is that range as a share of the narrower curve's
    range.
    """

    percent: float | None
    reason: str
    low: float | None
    high: float | None
    overlap: float | None
    curve: Envelope
    anchor: Envelope


@dataclass(frozen=True)
class BdRates:
    """The BD-rates of one workload against one anchor.

    `values` holds them by metric, split and row. The metrics are the task's own, named `metric`, and PSNR where the
    split is an image input. `units` and `decimals` are by metric, and `origins` holds those of all points, by row and
    split. The records are of `n` test samples, one sample set and one seed; the sentences in `left_out` say which
    records were left out.
    """

    workload: str
    anchor: str
    metric: str
    units: Mapping[str, str]
    decimals: Mapping[str, int]
    values: Mapping[str, Mapping[str, Mapping[str, BdRate]]]
    origins: Mapping[tuple[str, str], tuple[Origin, ...]]
    n: int
    sample_set: str
    seed: int
    left_out: tuple[str, ...]

    def origins_of(self, row: str, split: str) -> tuple[Origin, ...]:
        """Returns the origins of a BD-rate: of the row's points and of the anchor's."""
        return self.origins.get((row, split), ()) + self.origins.get((self.anchor, split), ())

    @property
    def rows(self) -> tuple[str, ...]:
        """All rows except the anchor, in the order of the tables."""
        return tuple(dict.fromkeys(row for splits in self.values.values() for rows in splits.values() for row in rows))


def build(records: Sequence[Record], anchor: str, sample_set: str | None = None) -> list[BdRates]:
    """Returns the BD-rates of each workload's rows against the row `anchor`, workloads sorted by name.

    Payload bytes are means, and metrics are of the test samples. The sample set is chosen as in `tables.budget.build`.
    Workloads without the anchor are left out. Raises UsageError where no record was measured or no workload has the
    anchor.
    """
    measured = measured_records(records)
    pick({record.row: None for record in measured}, anchor, "row in these records:")
    shown = {name: one_set(found, name, sample_set) for name, found in by_workload(measured).items()}
    found = [
        _bd_rates(name, of_one, anchor, left_out)
        for name, (of_one, left_out) in shown.items()
        if any(record.row == anchor for record in of_one)
    ]
    if not found:
        raise UsageError(f"the row {anchor!r} has no measured records in the sample set that is shown; choose another")
    return found


def default_anchor(records: Sequence[Record], sample_set: str | None = None) -> str | None:
    """Returns the row with BD-rate curves at the most splits, ties broken by the number of points.

    A curve counts with at least four points on its envelope. Returns None where no row has one. The records are
    selected as in `build`.
    """
    measured = [record for record in records if record.status == "ok"]
    usable: dict[str, list[int]] = defaultdict(list)
    for name, of_one in by_workload(measured).items():
        shown, _ = one_set(of_one, name, sample_set)
        for (row, _), found in by_row_and_split(shown).items():
            points = envelope(_points(found)).points
            if points >= MIN_POINTS:
                usable[row].append(points)
    return max(sorted(usable), key=lambda row: (len(usable[row]), sum(usable[row])), default=None)


def envelope(points: Iterable[tuple[float, float, float]]) -> Envelope:
    """Returns the upper envelope of (payload bytes, metric where higher is better, half-width of its interval)."""
    best = float("-inf")
    kept: list[tuple[float, float]] = []
    widths: list[float] = []
    dropped = 0
    for size, metric, half_width in sorted(points, key=lambda point: (point[0], -point[1])):
        widths.append(half_width)
        if metric > best:
            kept.append((size, metric))
            best = metric
        else:
            dropped += 1
    return Envelope(
        tuple(size for size, _ in kept), tuple(metric for _, metric in kept), dropped, median(widths) if widths else 0.0
    )


def compare(curve: Envelope, anchor: Envelope, sign: int = 1) -> BdRate:
    """Returns the BD-rate of a row's envelope against the anchor's.

    `sign` is -1 where the metric of the envelopes is negated; the range in the result is not negated.
    """

    def no_rate(reason: str, overlap: float | None = None) -> BdRate:
        return BdRate(None, reason, None, None, overlap, curve, anchor)

    if anchor.points < MIN_POINTS:
        return no_rate(f"the anchor's curve has {_count_of_points(anchor)}, and a BD-rate takes {MIN_POINTS}")
    if curve.points < MIN_POINTS:
        return no_rate(f"its curve has {_count_of_points(curve)}, and a BD-rate takes {MIN_POINTS}")
    low, high = max(curve.metric[0], anchor.metric[0]), min(curve.metric[-1], anchor.metric[-1])
    if low >= high:
        return no_rate("the two curves have no metric in common", 0.0)
    overlap = (high - low) / min(curve.metric[-1] - curve.metric[0], anchor.metric[-1] - anchor.metric[0])
    if overlap < MIN_OVERLAP:
        return no_rate(f"the two curves have less than {100 * MIN_OVERLAP:.0f} % of a range in common", overlap)
    if high - low < max(curve.noise, anchor.noise):
        return no_rate("the common range is narrower than the uncertainty of a change of the metric", overlap)
    percent = _bd_rate_percent(curve, anchor)
    if not isfinite(percent):
        return no_rate("the curves are too far apart for a finite percentage", overlap)
    ends = sorted((sign * low, sign * high))
    return BdRate(percent, "", ends[0], ends[1], overlap, curve, anchor)


def _bd_rate_percent(curve: Envelope, anchor: Envelope) -> float:
    try:
        import bjontegaard
    except ModuleNotFoundError as error:
        raise UsageError("BD-rates need bjontegaard; run: pip install 'codecbench[figures]'") from error
    return float(
        bjontegaard.bd_rate(
            anchor.payload_bytes, anchor.metric, curve.payload_bytes, curve.metric, method="pchip",
            require_matching_points=False, min_overlap=0,
        )
    )  # fmt: skip


def _bd_rates(workload: str, records: Sequence[Record], anchor: str, left_out: Sequence[str]) -> BdRates:
    found = by_row_and_split(records)
    task, key = groups(records[0]).task, records[0].key
    sign = sign_of(task)
    rows = [row for row in rows_in_order(records) if row != anchor]
    values: dict[str, dict[str, dict[str, BdRate]]] = {task.metric: {}}
    for split in splits_in_order(records):
        base = envelope(_points(found.get((anchor, split), ())))
        values[task.metric][split] = {
            row: compare(envelope(_points(found[row, split])), base, sign) for row in rows if (row, split) in found
        }
        base = envelope(_psnr_points(found.get((anchor, split), ())))
        if base.points:
            curves = {row: envelope(_psnr_points(found.get((row, split), ()))) for row in rows}
            values.setdefault(PSNR, {})[split] = {
                row: compare(curve, base) for row, curve in curves.items() if curve.points
            }
    return BdRates(
        workload=workload,
        anchor=anchor,
        metric=task.metric,
        units={PSNR: "dB", task.metric: task.unit},
        decimals={PSNR: 1, task.metric: task.decimals},
        values={
            metric: {split: rates for split, rates in splits.items() if rates} for metric, splits in values.items()
        },
        origins={at: tuple(map(origin_of, points)) for at, points in found.items()},
        n=task.n,
        sample_set=key.sample_set,
        seed=key.seed,
        left_out=(*left_out, *_without_place(records)),
    )


def _points(records: Iterable[Record]) -> list[tuple[float, float, float]]:
    """Returns (payload bytes, metric where higher is better, half-width of the change's interval) of each record.

    Records that `_without_place` finds are left out.
    """
    points = []
    for record in records:
        task = groups(record).task
        change = change_of(task)
        size = payload_bytes(record)
        if size > 0 and task.value is not None and change is not None:
            points.append((size, sign_of(task) * task.value, (change.high - change.low) / 2))
    return points


def _psnr_points(records: Iterable[Record]) -> list[tuple[float, float, float]]:
    return [
        (payload_bytes(record), record.quality.psnr_db, 0.0)
        for record in records
        if record.quality is not None and record.quality.psnr_db is not None and payload_bytes(record) > 0
    ]


def _without_place(records: Sequence[Record]) -> Iterator[str]:
    """Yields a sentence on the records that have no place on a curve: of no bytes, or without a metric."""
    empty = [record for record in records if payload_bytes(record) == 0]
    undefined = [record for record in records if not is_defined(record)]
    if empty:
        yield f"Left out: {counted(len(empty), 'point')} of 0 bytes ({_rows(empty)}): 0 has no logarithm."
    if undefined:
        yield (
            f"Left out: {counted(len(undefined), 'point')} ({_rows(undefined)}), because "
            f"{undefined_reason(undefined[0])}."
        )


def _rows(records: Iterable[Record]) -> str:
    return ", ".join(dict.fromkeys(record.row for record in records))


def _count_of_points(found: Envelope) -> str:
    return f"{counted(found.points, 'point')} on its envelope"
