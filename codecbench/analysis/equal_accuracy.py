"""Payload bytes of each row at one loss, the budget, and their ratio to an anchor's, with bootstrap intervals.

The points of a row make a curve of loss over payload. Between the two points of its lower envelope that enclose the
budget, the logarithm of the mean payload is interpolated linearly in the loss. So rows whose points lie at different
losses are compared at the same one. Samples are resampled as a whole, those of all rows together, and the curves of
every resample are interpolated anew: an interval covers the noise of payloads and of losses, and that of a ratio is of
the same resamples in both rows (percentile intervals, Efron and Tibshirani, *An Introduction to the Bootstrap*, chapter
13). The test samples decide, so a curve is not the choice of a point: `codecbench.analysis.budget` makes that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecbench.analysis.budget import budget_of
from codecbench.analysis.selection import (
    Origin,
    by_workload,
    groups,
    is_defined,
    measured_records,
    one_set,
    origin_of,
    payload_bytes,
    rows_in_order,
    sign_of,
    splits_in_order,
)
from codecbench.errors import UsageError
from codecbench.names import counted, pick
from codecbench.results.record import Record
from codecbench.results.statistics import LEVEL, RESAMPLES, Floats, resampled_sums

Samples = Callable[[Record, Sequence[str]], Mapping[str, NDArray[Any]]]
"""Gives the named per-sample columns of a record, as `codecbench.results.store.Store.samples` does."""

COLUMNS = (
    "subset", "sample_id", "payload_bytes", "numerator", "denominator", "uncompressed_numerator",
    "uncompressed_denominator",
)  # fmt: skip
_TOO_FEW = "no point of it is within the budget"


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    `high` is infinite if the row does not reach the budget in over 2.5 % of the resamples, and `low` of a ratio is 0 if
    the anchor does not.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RateAtLoss:
    """The payload bytes of a row at the budget, or the `reason` why there are none.

    `ratios` holds bytes over those of each anchor that reaches the budget. `is_upper_bound` is True if the row's
    coarsest point is within the budget: then its bytes stand, which are more than the budget needs. `finer` is the
    record of the curve's first point within the budget.
    """

    payload_bytes: Estimate | None
    ratios: Mapping[str, Estimate]
    reason: str = ""
    is_upper_bound: bool = False
    finer: Record | None = None


@dataclass(frozen=True)
class EqualAccuracy:
    """The rates of one workload at a loss of `budget`, by split and row, and their ratios to the `anchors`.

    They are measured on `n` test samples of one sample set and seed; the sentences in `left_out` say which records were
    left out.
    """

    workload: str
    metric: str
    unit: str
    budget: float
    anchors: tuple[str, ...]
    rates: Mapping[str, Mapping[str, RateAtLoss]]
    origins: tuple[Origin, ...]
    n: int
    sample_set: str
    seed: int
    left_out: tuple[str, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """All rows, in the order of the tables."""
        return tuple(dict.fromkeys(row for rates in self.rates.values() for row in rates))


def build(
    records: Sequence[Record],
    samples: Samples,
    *,
    budgets: float | Mapping[str, float],
    anchors: Sequence[str] = (),
    sample_set: str | None = None,
) -> list[EqualAccuracy]:
    """Returns the rates of each workload at its budget, workloads sorted by name.

    The sample set is chosen as in `tables.budget.build`. Workloads whose deciding metric is one of the whole set are
    left out. Raises UsageError if no workload is left, no record was measured, an anchor is no row, or a workload has
    no known budget.
    """
    measured = measured_records(records)
    for anchor in anchors:
        pick({record.row: None for record in measured}, anchor, "row in these records:")
    found = []
    for name, of_one in by_workload(measured).items():
        shown, left_out = one_set(of_one, name, sample_set)
        if groups(shown[0]).task.scale is not None:
            budget = budget_of(name, budgets, shown)
            found.append(_equal_accuracy(name, shown, samples, budget, anchors, left_out))
    if not found:
        raise UsageError("this table resamples outcomes of samples, and these metrics are of whole sets")
    return found


def _equal_accuracy(
    workload: str,
    records: Sequence[Record],
    samples: Samples,
    budget: float,
    anchors: Sequence[str],
    left_out: Sequence[str],
) -> EqualAccuracy:
    usable = [record for record in records if is_defined(record) and payload_bytes(record) > 0]
    unusable = len(records) - len(usable)
    remarks = [f"Left out: {counted(unusable, 'point')} of 0 bytes or without a metric."] if unusable else []
    rates = {
        split: _rates([record for record in usable if record.key.split == split], samples, budget, anchors)
        for split in splits_in_order(usable)
    }
    task, key = groups(records[0]).task, records[0].key
    return EqualAccuracy(
        workload, task.metric, task.unit, budget, tuple(anchors), rates, tuple(map(origin_of, usable)), task.n,
        key.sample_set, key.seed, (*left_out, *remarks),
    )  # fmt: skip


def _rates(records: Sequence[Record], samples: Samples, budget: float, anchors: Sequence[str]) -> dict[str, RateAtLoss]:
    """Returns the rates of all rows at one split, from the same resamples."""
    means, resampled = _means(records, samples)
    values, draws, finer = {}, {}, {}
    for row in rows_in_order(records):
        of_row = [number for number, record in enumerate(records) if record.row == row]
        columns = sorted(of_row, key=lambda number: payload_bytes(records[number]))
        points = [records[number] for number in columns]
        scale = sign_of(groups(points[0]).task) * (groups(points[0]).task.scale or 1.0)
        draws[row] = _bytes_at(*_curves(resampled, columns, scale), budget)
        sizes, losses = _curves(means, columns, scale)
        values[row] = float(_bytes_at(sizes, losses, budget)[0])
        within = np.flatnonzero(losses[0] <= budget)
        finer[row] = (points[within[0]], bool(within[0] == 0)) if within.size else None
    return {row: _rate(row, values, draws, finer[row], anchors) for row in values}


def _rate(
    row: str,
    values: Mapping[str, float],
    draws: Mapping[str, Floats],
    finer: tuple[Record, bool] | None,
    anchors: Iterable[str],
) -> RateAtLoss:
    if finer is None:
        return RateAtLoss(None, {}, _TOO_FEW)
    with np.errstate(invalid="ignore"):
        ratios = {
            anchor: _estimate(values[row] / values[anchor], draws[row] / draws[anchor])
            for anchor in anchors
            if anchor in values and np.isfinite(values[anchor])
        }
    return RateAtLoss(_estimate(values[row], draws[row]), ratios, "", finer[1], finer[0])


def _estimate(value: float, draws: Floats) -> Estimate:
    """Returns a value with the percentile interval of its resamples; those that compare nothing are left out."""
    known = draws[~np.isnan(draws)]
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return Estimate(value, float(low), float(high))


def _means(records: Sequence[Record], samples: Samples) -> tuple[Floats, Floats]:
    """Returns means over the test samples, (1, records, 5), and over resamples of them, (resamples, records, 5).

    The last axis has payload bytes, then numerator and denominator with the codec, then those without.
    """
    columns: list[NDArray[Any]] = []
    for record in records:
        found = samples(record, COLUMNS)
        test = found["subset"] == "test"
        in_order = np.argsort(found["sample_id"][test].astype(str), kind="stable")
        columns += [found[name][test][in_order].astype(np.float64) for name in COLUMNS[2:]]
    table = np.stack(columns, axis=1)
    parts = len(COLUMNS) - 2
    resampled = resampled_sums(table, RESAMPLES, 0) / len(table)
    return table.mean(axis=0).reshape(1, -1, parts), resampled.reshape(RESAMPLES, -1, parts)


def _curves(means: Floats, columns: Sequence[int], scale: float) -> tuple[Floats, Floats]:
    """Returns mean payloads and losses, both (resamples, points)."""
    of_row = means[:, columns]
    with np.errstate(divide="ignore", invalid="ignore"):
        values, uncompressed = of_row[..., 1] / of_row[..., 2], of_row[..., 3] / of_row[..., 4]
    return of_row[..., 0], scale * (uncompressed - values)


def _bytes_at(sizes: Floats, losses: Floats, budget: float) -> Floats:
    """Returns the interpolated size of each resample at the budget; infinite where no point is within it.

    `sizes` and `losses` are (resamples, points), points from the coarsest to the finest.
    """
    lowest = np.minimum.accumulate(np.where(np.isnan(losses), np.inf, losses), axis=1)
    within = lowest <= budget
    first = within.argmax(axis=1)
    rows = np.arange(len(sizes))
    on_envelope = np.where(losses <= lowest, np.arange(losses.shape[1]), 0)
    before = np.maximum.accumulate(on_envelope, axis=1)[rows, np.maximum(first - 1, 0)]
    coarse, fine = losses[rows, before], losses[rows, first]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(first > 0, (coarse - budget) / (coarse - fine), 1.0)
        logarithm = (1 - share) * np.log(sizes[rows, before]) + share * np.log(sizes[rows, first])
    found: Floats = np.where(within.any(axis=1), np.exp(logarithm), np.inf)
    return found
