"""BD-rate: how many percent more or fewer bytes a row takes than an anchor row, at equal metric, on average.

G. Bjøntegaard, Calculation of average PSNR differences between RD-curves, ITU-T VCEG-M33, 2001: the mean, over the
metric range that both curves cover, of the difference in log bytes. Curves are interpolated by PCHIP, which keeps them
monotone (Herglotz et al., Beyond Bjøntegaard, 2022, compare the ways); the package `bjontegaard` computes it.

A curve of accuracy is noisy, so only its upper envelope counts: the points that no smaller payload equals or beats. A
number is given where both envelopes hold four points or more, cover enough of the same range, and that range is wider
than the uncertainty of the metric; elsewhere stands the reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from codecbench.analysis.selection import (
    by_row_and_split,
    by_workload,
    groups,
    measured_records,
    one_set,
    payload_bytes,
    rows_in_order,
    splits_in_order,
)
from codecbench.errors import UsageError
from codecbench.names import pick
from codecbench.results.record import Record

MIN_POINTS = 4
MIN_OVERLAP = 0.5
"""Both curves have to cover at least so much of the narrower one's range."""

PSNR = "PSNR"


@dataclass(frozen=True)
class Envelope:
    """The upper envelope of a row's curve: bytes, and the metric turned so that more is better, both rising.

    `dropped` counts the points that a smaller payload equals or beats; `noise` is the median half-width of the points'
    intervals of change, 0 where there are none.
    """

    payload_bytes: tuple[float, ...] = ()
    metric: tuple[float, ...] = ()
    dropped: int = 0
    noise: float = 0.0

    @property
    def points(self) -> int:
        """The number of its points."""
        return len(self.metric)


@dataclass(frozen=True)
class BdRate:
    """One row against the anchor at one split. `percent` is None where `reason` says why.

    Negative is better: so many percent fewer bytes at equal metric, over the metric from `low` to `high`, in its own
    unit and direction. `overlap` is that range's share of the narrower curve's.
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

    `values` holds them by metric (that of the task, `metric`, and PSNR at an image input), split and row; `units` and
    `decimals` are those of a metric. The metric is of `n` test samples of one sample set and seed; `left_out` says
    which records are of others.
    """

    workload: str
    anchor: str
    metric: str
    units: Mapping[str, str]
    decimals: Mapping[str, int]
    values: Mapping[str, Mapping[str, Mapping[str, BdRate]]]
    n: int
    sample_set: str
    seed: int
    left_out: tuple[str, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """Every row but the anchor, in the order of the tables."""
        return tuple(dict.fromkeys(row for splits in self.values.values() for rows in splits.values() for row in rows))


def build(records: Sequence[Record], anchor: str, sample_set: str | None = None) -> list[BdRates]:
    """The BD-rates of each workload's rows against the row `anchor`, workloads by name.

    Sample sets are chosen as in a table; see `tables.budget.build`. Bytes are mean payloads, metrics those of the test
    samples. Raises UsageError where no record was measured or no workload has the anchor.
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


def default_anchor(records: Sequence[Record]) -> str | None:
    """A row to compare with, where none is asked for: the one with a curve at the most splits, then of the most points.

    None where no row has a curve of four points.
    """
    envelopes = {
        at: envelope(_points(found))
        for at, found in by_row_and_split(record for record in records if record.status == "ok").items()
    }
    usable: dict[str, list[int]] = defaultdict(list)
    for (row, _), found in envelopes.items():
        if found.points >= MIN_POINTS:
            usable[row].append(found.points)
    return max(sorted(usable), key=lambda row: (len(usable[row]), sum(usable[row])), default=None)


def envelope(points: Iterable[tuple[float, float, float]]) -> Envelope:
    """The upper envelope of (bytes, metric with more being better, half-width of its interval)."""
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
    """A row's envelope against the anchor's. `sign` is -1 where the metric was turned; its range is told unturned."""

    def refused(reason: str, overlap: float | None = None) -> BdRate:
        return BdRate(None, reason, None, None, overlap, curve, anchor)

    if anchor.points < MIN_POINTS:
        return refused(f"the anchor's curve has {_count_of_points(anchor)}, and a BD-rate takes {MIN_POINTS}")
    if curve.points < MIN_POINTS:
        return refused(f"its curve has {_count_of_points(curve)}, and a BD-rate takes {MIN_POINTS}")
    low, high = max(curve.metric[0], anchor.metric[0]), min(curve.metric[-1], anchor.metric[-1])
    if low >= high:
        return refused("the two curves have no metric in common", 0.0)
    overlap = (high - low) / min(curve.metric[-1] - curve.metric[0], anchor.metric[-1] - anchor.metric[0])
    if overlap < MIN_OVERLAP:
        return refused(f"the two curves have less than {100 * MIN_OVERLAP:.0f} % of a range in common", overlap)
    if high - low < max(curve.noise, anchor.noise):
        return refused("the common range is narrower than the uncertainty of a change of the metric", overlap)
    ends = sorted((sign * low, sign * high))
    return BdRate(_bd_rate_percent(curve, anchor), "", ends[0], ends[1], overlap, curve, anchor)


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
    sign = 1 if task.higher_is_better else -1
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
        n=task.n,
        sample_set=key.sample_set,
        seed=key.seed,
        left_out=tuple(left_out),
    )


def _points(records: Iterable[Record]) -> list[tuple[float, float, float]]:
    """Bytes, metric with more being better, and the half-width of the change's interval."""
    points = []
    for record in records:
        task = groups(record).task
        sign = 1 if task.higher_is_better else -1
        points.append((payload_bytes(record), sign * task.value, (task.change_high - task.change_low) / 2))
    return points


def _psnr_points(records: Iterable[Record]) -> list[tuple[float, float, float]]:
    return [
        (payload_bytes(record), record.quality.psnr_db, 0.0)
        for record in records
        if record.quality is not None and record.quality.psnr_db is not None
    ]


def _count_of_points(found: Envelope) -> str:
    points = f"{found.points} point{'' if found.points == 1 else 's'}"
    return f"{points} on its envelope"
