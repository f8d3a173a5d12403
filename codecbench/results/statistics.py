"""Intervals and paired tests from per-sample outcomes, by numpy alone; every random draw is seeded.

A metric is a ratio of sums over samples (see `codecbench.workload.Metric`), so the bootstrap resamples whole samples:
numerator, denominator and their uncompressed partners stay together. Intervals are percentile intervals (Efron and
Tibshirani, *An Introduction to the Bootstrap*, chapter 13). An outcome that never varies has an interval of no width.
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
"""Samples per distinct row from which drawing counts of distinct rows beats drawing samples."""
_CHUNK_DRAWS = 1 << 17
"""Draws held at once, so that they stay in the processor's cache."""


def bootstrap_interval(
    metric_scale: float,
    numerators: ArrayLike,
    denominators: ArrayLike,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of metric_scale * sum(numerators) / sum(denominators)."""
    sums = _resampled_sums(_columns(numerators, denominators), resamples, seed)
    return _interval(_ratio(metric_scale, sums[:, 0], sums[:, 1]), level)


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
    """The metric's change from the other outcomes to these (value - other), with its interval: (change, low, high).

    All four columns are over the same samples in the same order; both values are taken on the same resamples.
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
    """Two-sided p-value that the paired change is none: the level at which its bootstrap interval just touches zero.

    Never below 2 / (resamples + 1), since the observed sample counts as one resample (Davison and Hinkley, *Bootstrap
    Methods and their Application*, section 4.2).
    """
    columns = _columns(numerators, denominators, other_numerators, other_denominators)
    return _sign_p(_changes(metric_scale, _resampled_sums(columns, resamples, seed)))


def mcnemar_p(right_a: ArrayLike, right_b: ArrayLike) -> float:
    """McNemar's exact two-sided p-value that A and B are right equally often on the same samples.

    Of the samples on which just one of them is right, the count won by A is binomial with probability 1/2 (McNemar,
    Psychometrika 12, 1947, in its exact form).
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
    """Mean, median, 95th percentile and extremes of the messages' sizes."""
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
    """The record's `task` group from per-sample outcomes on the test samples, all in the same order."""
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
    """The record's `choice` group from per-sample payloads and outcomes on the samples kept for choosing."""
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
    """The columns side by side: (samples, columns)."""
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    lengths = {array.shape for array in arrays}
    if len(lengths) != 1 or arrays[0].ndim != 1 or not arrays[0].size:
        raise ValueError(f"columns need one common length of at least 1, got shapes {[a.shape for a in arrays]}")
    return np.stack(arrays, axis=1)


def _resampled_sums(columns: Floats, resamples: int, seed: int) -> Floats:
    """Column sums of `resamples` draws of all samples with replacement: (resamples, columns).

    Equal rows are drawn together by their multinomial count: right-or-wrong outcomes have at most four kinds of row.
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
    """Number of times that each sample is drawn in each resample: (resamples, count)."""
    counts = np.empty((resamples, count))
    picks = rng.integers(0, count, size=(resamples, count), dtype=np.uint32)  # drawn three times as fast as int64
    for row, picked in zip(counts, picks, strict=True):
        row[:] = np.bincount(picked, minlength=count)
    return counts


def _ratio(metric_scale: float, numerators: Floats, denominators: Floats) -> Floats:
    """The metric from sums; nan where the denominators sum to zero."""
    ratio = np.full(len(numerators), math.nan)
    np.divide(numerators, denominators, out=ratio, where=denominators != 0)
    return metric_scale * ratio


def _changes(metric_scale: float, sums: Floats) -> Floats:
    return _ratio(metric_scale, sums[:, 0], sums[:, 1]) - _ratio(metric_scale, sums[:, 2], sums[:, 3])


def _interval(values: Floats, level: float) -> tuple[float, float]:
    """Central percentile interval of the resampled values that exist; nan where none does."""
    values = values[~np.isnan(values)]
    if not values.size:
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _sign_p(changes: Floats) -> float:
    """Two-sided p-value from resampled changes: twice the smaller tail beyond zero."""
    smaller = min(int((changes <= 0).sum()), int((changes >= 0).sum()))
    return min(1.0, 2 * (1 + smaller) / (len(changes) + 1))
