"""Confidence intervals and paired tests from per-sample outcomes, with numpy only; all random draws are seeded.

A metric is a ratio of sums over samples (see `codecbench.workload.Metric`), so the bootstrap resamples whole samples:
numerator, denominator and those of the uncompressed model stay together. Intervals are percentile intervals (Efron and
Tibshirani, *An Introduction to the Bootstrap*, chapter 13). Outcomes that are all equal have an interval of width zero.

A metric is undefined, None, if its denominators sum to 0 or an outcome is not a finite number. Its interval, its change
and the p-value are undefined as well. Resamples without a denominator are left out of intervals and p-values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codecbench.names import counted
from codecbench.results.record import Choice, PayloadBytes, Task
from codecbench.workload import Metric, ratio_of_sums

Floats: TypeAlias = NDArray[np.float64]
Interval: TypeAlias = "tuple[float, float] | tuple[None, None]"

LEVEL = 0.95
RESAMPLES = 2000

_DISTINCT_SHARE = 16
"""Samples for each distinct row from which drawing counts of distinct rows is faster than drawing samples."""
_CHUNK_DRAWS = 1 << 17
"""Draws in memory at once, so that they stay in the processor's cache."""


def paired_change(
    metric_scale: float,
    numerators: ArrayLike,
    denominators: ArrayLike,
    other_numerators: ArrayLike,
    other_denominators: ArrayLike,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float | None, float | None, float | None]:
    """Return the change of the metric (value - other value) with its bootstrap interval: (change, low, high).

    All four columns are over the same samples in the same order. Both values are computed on the same resamples. All
    three are None if one of the metrics is undefined.
    """
    columns = _columns(numerators, denominators, other_numerators, other_denominators)
    found = _summarise(metric_scale, columns, level, resamples, seed)
    return (found.change, *found.change_interval)


def paired_bootstrap_p(
    metric_scale: float,
    numerators: ArrayLike,
    denominators: ArrayLike,
    other_numerators: ArrayLike,
    other_denominators: ArrayLike,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> float | None:
    """Return the two-sided p-value of no paired change: the level at which the bootstrap interval just touches zero.

    Never below 2 / (resamples + 1), since the observed sample counts as one resample (Davison and Hinkley, *Bootstrap
    Methods and their Application*, section 4.2). None if one of the metrics is undefined.
    """
    columns = _columns(numerators, denominators, other_numerators, other_denominators)
    return _summarise(metric_scale, columns, LEVEL, resamples, seed).sign_p


def mcnemar_p(right_a: ArrayLike, right_b: ArrayLike) -> float:
    """Return McNemar's exact two-sided p-value of A and B being right equally often on the same samples.

    Of the samples on which exactly one of them is right, the count for A is binomial with probability 1/2 (McNemar,
    Psychometrika 12, 1947, in its exact form). Raises ValueError for different shapes.
    """
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    if a.shape != b.shape:
        raise ValueError(f"outcomes are paired, got {a.size} and {b.size}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    discordant, fewer = only_a + only_b, min(only_a, only_b)
    ways, tail = 1, 1
    for k in range(1, fewer + 1):
        ways = ways * (discordant - k + 1) // k
        tail += ways
    p_value: float = 2 * tail / 2**discordant
    return min(1.0, p_value)


def payload_summary(payload_bytes: ArrayLike) -> PayloadBytes:
    """Return mean, median, 95th percentile, minimum and maximum of payload sizes. Raises ValueError for none."""
    sizes: Floats = np.asarray(payload_bytes, dtype=np.float64)
    if not sizes.size:
        raise ValueError("no payload to summarise")
    return PayloadBytes(
        mean=float(sizes.mean()),
        median=float(np.median(sizes)),
        p95=float(np.percentile(sizes, 95)),
        min=int(sizes.min()),
        max=int(sizes.max()),
    )


def summarise_task(
    metric: Metric,
    numerators: ArrayLike,
    denominators: ArrayLike,
    uncompressed_numerators: ArrayLike,
    uncompressed_denominators: ArrayLike,
) -> Task:
    """Return the record's `task` group from per-sample outcomes on the test samples, all in the same order."""
    columns = _columns(numerators, denominators, uncompressed_numerators, uncompressed_denominators)
    found = _summarise(metric.scale, columns)
    p_value = found.sign_p
    if metric.binary and found.change is not None:
        p_value = mcnemar_p(columns[:, 0] > 0, columns[:, 2] > 0)
    return Task(
        metric=metric.name,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        scale=metric.scale,
        decimals=metric.decimals,
        value=found.value,
        uncompressed=found.uncompressed,
        low=found.interval[0],
        high=found.interval[1],
        n=len(columns),
        change=found.change,
        change_low=found.change_interval[0],
        change_high=found.change_interval[1],
        p_value=p_value,
        test="mcnemar" if metric.binary else "paired-bootstrap",
    )


def summarise_choice(
    metric: Metric,
    sample_set: str,
    payload_bytes: ArrayLike,
    numerators: ArrayLike,
    denominators: ArrayLike,
    uncompressed_numerators: ArrayLike,
    uncompressed_denominators: ArrayLike,
) -> Choice:
    """Return the record's `choice` group from per-sample payload sizes and outcomes on the choice samples."""
    columns = _columns(numerators, denominators, uncompressed_numerators, uncompressed_denominators)
    found = _summarise(metric.scale, columns)
    return Choice(
        sample_set=sample_set,
        payload_mean_bytes=payload_summary(payload_bytes).mean,
        value=found.value,
        uncompressed=found.uncompressed,
        change=found.change,
        change_low=found.change_interval[0],
        change_high=found.change_interval[1],
        n=len(columns),
    )


def undefined_reason(numerators: ArrayLike, denominators: ArrayLike) -> str | None:
    """Return why the metric of these outcomes is undefined, None if it is defined."""
    columns = _columns(numerators, denominators)
    broken = int((~np.isfinite(columns)).any(axis=1).sum())
    if broken:
        return f"{broken} of {len(columns)} outcomes are not finite numbers"
    if ratio_of_sums(1.0, columns[:, 0], columns[:, 1]) is not None:
        return None
    if ratio_of_sums(1.0, np.ones(1), columns[:, 1]) is None:
        return f"the denominators of its {counted(len(columns), 'sample')} sum to 0"
    return "the sum of its numerators is not a finite number"


@dataclass(frozen=True)
class _Summary:
    """The metric with and without compression, and the paired change; what is undefined is None."""

    value: float | None
    interval: Interval
    uncompressed: float | None
    change: float | None
    change_interval: Interval
    sign_p: float | None


@np.errstate(over="ignore", invalid="ignore")
def _summarise(
    metric_scale: float, columns: Floats, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> _Summary:
    """Return the summary of the columns numerator and denominator, then those of the uncompressed model."""
    columns = np.where(np.isfinite(columns), columns, np.nan)  # inf * 0 would warn, nan makes all sums nan as well
    value, uncompressed = (ratio_of_sums(metric_scale, columns[:, i], columns[:, i + 1]) for i in (0, 2))
    change = None if value is None or uncompressed is None else value - uncompressed
    if value is None and uncompressed is None:
        return _Summary(None, (None, None), None, None, (None, None), None)
    sums = _resampled_sums(columns, resamples, seed)
    values = _ratio(metric_scale, sums[:, 0], sums[:, 1])
    changes = values - _ratio(metric_scale, sums[:, 2], sums[:, 3])
    return _Summary(
        value=value,
        interval=_interval(values, level) if value is not None else (None, None),
        uncompressed=uncompressed,
        change=change,
        change_interval=_interval(changes, level) if change is not None else (None, None),
        sign_p=_sign_p(changes) if change is not None else None,
    )


def _columns(*columns: ArrayLike) -> Floats:
    """Stack columns into an array of shape (samples, columns). Raises ValueError for unequal or zero lengths."""
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    lengths = {array.shape for array in arrays}
    if len(lengths) != 1 or arrays[0].ndim != 1 or not arrays[0].size:
        raise ValueError(f"columns need one common length of at least 1, got shapes {[a.shape for a in arrays]}")
    return np.stack(arrays, axis=1)


def _resampled_sums(columns: Floats, resamples: int, seed: int) -> Floats:
    """Return column sums over bootstrap resamples, of shape (resamples, columns).

    Few distinct rows are drawn by multinomial counts: outcomes of a binary metric have at most four distinct rows.
    """
    rng = np.random.default_rng(seed)
    count = len(columns)
    distinct, counts = np.unique(columns, axis=0, return_counts=True)
    if len(distinct) * _DISTINCT_SHARE <= count:
        drawn: Floats = rng.multinomial(count, counts / count, size=resamples).astype(np.float64)
        return drawn @ distinct
    chunk = max(1, _CHUNK_DRAWS // count)
    return np.concatenate(
        [_draw_counts(rng, count, min(chunk, resamples - start)) @ columns for start in range(0, resamples, chunk)]
    )


def _draw_counts(rng: np.random.Generator, count: int, resamples: int) -> Floats:
    """Return how often each sample is drawn in each resample, of shape (resamples, count)."""
    counts = np.empty((resamples, count))
    picks = rng.integers(0, count, size=(resamples, count), dtype=np.uint32)  # drawn three times as fast as int64
    for row, picked in zip(counts, picks, strict=True):
        row[:] = np.bincount(picked, minlength=count)
    return counts


def _ratio(metric_scale: float, numerators: Floats, denominators: Floats) -> Floats:
    """Return the metric from sums; nan where a sum of denominators is zero."""
    ratio = np.full(len(numerators), math.nan)
    np.divide(numerators, denominators, out=ratio, where=denominators != 0)
    return metric_scale * ratio


def _interval(values: Floats, level: float) -> Interval:
    """Return the central percentile interval of the values that are finite; (None, None) if none is."""
    values = values[np.isfinite(values)]
    if not values.size:
        return None, None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _sign_p(changes: Floats) -> float | None:
    """Return the two-sided p-value of resampled changes: twice the smaller tail beyond zero, of those that are finite.

    None if none is.
    """
    changes = changes[np.isfinite(changes)]
    if not changes.size:
        return None
    smaller = min(int((changes <= 0).sum()), int((changes >= 0).sum()))
    return min(1.0, 2 * (1 + smaller) / (len(changes) + 1))
