"""Confidence intervals and paired tests from per-sample outcomes, with numpy only; all random draws are seeded.

A metric is a ratio of sums over samples (see `codecbench.workload.Metric`), so the bootstrap resamples whole samples:
numerator, denominator and those of the uncompressed model stay together. Intervals are percentile intervals (Efron and
Tibshirani, *An Introduction to the Bootstrap*, chapter 13). Outcomes that are all equal have an interval of width zero.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codecbench.results.record import Choice, PayloadBytes, Task
from codecbench.workload import Metric, metric_value

Floats: TypeAlias = NDArray[np.float64]

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
) -> tuple[float, float, float]:
    """Return the change of the metric (value - other value) with its bootstrap interval: (change, low, high).

    All four columns are over the same samples in the same order. Both values are computed on the same resamples.
    """
    columns = _columns(numerators, denominators, other_numerators, other_denominators)
    change = float(_changes(metric_scale, columns.sum(axis=0, keepdims=True))[0])
    low, high = _interval(_changes(metric_scale, _resampled_sums(columns, resamples, seed)), level)
    return change, low, high


def paired_bootstrap_p(
    metric_scale: float,
    numerators: ArrayLike,
    denominators: ArrayLike,
    other_numerators: ArrayLike,
    other_denominators: ArrayLike,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> float:
    """Return the two-sided p-value of no paired change: the level at which the bootstrap interval just touches zero.

    Never below 2 / (resamples + 1), since the observed sample counts as one resample (Davison and Hinkley, *Bootstrap
    Methods and their Application*, section 4.2).
    """
    columns = _columns(numerators, denominators, other_numerators, other_denominators)
    return _sign_p(_changes(metric_scale, _resampled_sums(columns, resamples, seed)))


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
    sums = _resampled_sums(columns, RESAMPLES, seed=0)
    low, high = _interval(_ratio(metric.scale, sums[:, 0], sums[:, 1]), LEVEL)
    changes = _changes(metric.scale, sums)
    change_low, change_high = _interval(changes, LEVEL)
    value = metric_value(metric, columns[:, 0], columns[:, 1])
    uncompressed = metric_value(metric, columns[:, 2], columns[:, 3])
    return Task(
        metric=metric.name,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        scale=metric.scale,
        decimals=metric.decimals,
        value=value,
        uncompressed=uncompressed,
        low=low,
        high=high,
        n=len(columns),
        change=value - uncompressed,
        change_low=change_low,
        change_high=change_high,
        p_value=mcnemar_p(columns[:, 0] > 0, columns[:, 2] > 0) if metric.binary else _sign_p(changes),
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
    change_low, change_high = _interval(_changes(metric.scale, _resampled_sums(columns, RESAMPLES, seed=0)), LEVEL)
    value = metric_value(metric, columns[:, 0], columns[:, 1])
    uncompressed = metric_value(metric, columns[:, 2], columns[:, 3])
    return Choice(
        sample_set=sample_set,
        payload_mean_bytes=payload_summary(payload_bytes).mean,
        value=value,
        uncompressed=uncompressed,
        change=value - uncompressed,
        change_low=change_low,
        change_high=change_high,
        n=len(columns),
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


def _changes(metric_scale: float, sums: Floats) -> Floats:
    return _ratio(metric_scale, sums[:, 0], sums[:, 1]) - _ratio(metric_scale, sums[:, 2], sums[:, 3])


def _interval(values: Floats, level: float) -> tuple[float, float]:
    """Return the central percentile interval of the values that are not nan; (nan, nan) if all are."""
    values = values[~np.isnan(values)]
    if not values.size:
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _sign_p(changes: Floats) -> float:
    """Return the two-sided p-value of resampled changes: twice the smaller tail beyond zero."""
    smaller = min(int((changes <= 0).sum()), int((changes >= 0).sum()))
    return min(1.0, 2 * (1 + smaller) / (len(changes) + 1))
