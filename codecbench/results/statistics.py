"""Confidence intervals and paired tests from per-sample outcomes, with numpy only; all random draws are seeded.

The bootstrap resamples whole samples: what belongs to one, with and without compression, stays together. A ratio metric
is a ratio of sums over samples, which are resampled here; the values of a set metric for resamples come from its own
code (`codecbench.results.set_values`). Intervals are percentile intervals (Efron and
Tibshirani, *An Introduction to the Bootstrap*, chapter 13). Outcomes that are all equal have an interval of width zero.

A ratio metric is undefined, None, if its denominators sum to 0 or an outcome is not a finite number, a set metric if
its value is none. Its interval, its change
and the p-value are undefined as well. Resamples without a denominator are left out of intervals and p-values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codecbench.names import counted
from codecbench.results.record import Choice, PayloadBytes, Quality, Task
from codecbench.results.set_values import SetValues, draw_counts
from codecbench.workload import Metric, RatioMetric, ratio_of_sums

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
    return _summarise(metric_scale, columns, LEVEL, resamples, seed).p_value


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


def mean_bound(test: Mapping[str, NDArray[Any]]) -> float | None:
    """Return the mean Shannon bound of the payloads, or None if a payload has none that is finite."""
    bounds = test.get("bound_bytes")
    return None if bounds is None or not np.isfinite(bounds).all() else float(bounds.mean(dtype=np.float64))


def mean_quality(test: Mapping[str, NDArray[Any]]) -> Quality:
    """Return the mean PSNR of the test images that are not reproduced exactly, and the mean SSIM."""
    inexact = test["psnr_db"][np.isfinite(test["psnr_db"])]
    mean_db = float(inexact.mean(dtype=np.float64)) if inexact.size else None
    similarity = float(test["ssim"].mean(dtype=np.float64))
    return Quality(psnr_db=mean_db, ssim=similarity if np.isfinite(similarity) else None)


def summarise_task(
    metric: RatioMetric,
    numerators: ArrayLike,
    denominators: ArrayLike,
    uncompressed_numerators: ArrayLike,
    uncompressed_denominators: ArrayLike,
) -> Task:
    """Return the record's `task` group from per-sample outcomes on the test samples, all in the same order."""
    columns = _columns(numerators, denominators, uncompressed_numerators, uncompressed_denominators)
    found = _summarise(metric.scale, columns)
    if metric.binary and found.change is not None:
        found = replace(found, p_value=mcnemar_p(columns[:, 0] > 0, columns[:, 2] > 0))
    return _task(metric, found, len(columns), metric.scale, "mcnemar" if metric.binary else "paired-bootstrap")


def summarise_set_task(metric: Metric, found: SetValues, uncompressed: SetValues, n: int) -> Task:
    """Return the record's `task` group of a set metric, from its values for n test samples and the same resamples."""
    return _task(metric, _summarise_set(found, uncompressed), n, None, "paired-bootstrap")


def summarise_choice(
    metric: RatioMetric,
    sample_set: str,
    payload_bytes: ArrayLike,
    numerators: ArrayLike,
    denominators: ArrayLike,
    uncompressed_numerators: ArrayLike,
    uncompressed_denominators: ArrayLike,
) -> Choice:
    """Return the record's `choice` group from per-sample payload sizes and outcomes on the choice samples."""
    columns = _columns(numerators, denominators, uncompressed_numerators, uncompressed_denominators)
    return _choice(_summarise(metric.scale, columns), sample_set, payload_bytes)


def summarise_set_choice(
    found: SetValues, uncompressed: SetValues, sample_set: str, payload_bytes: ArrayLike
) -> Choice:
    """Return the record's `choice` group of a set metric, from its values for the choice samples."""
    return _choice(_summarise_set(found, uncompressed), sample_set, payload_bytes)


def paired_set_change(
    found: SetValues, other: SetValues
) -> tuple[float | None, float | None, float | None, float | None]:
    """Return the change of a set metric (value - other value) with its interval and its p-value.

    Both have to be of the same samples, and so of the same resamples. All four are None if one of them is undefined.
    """
    summary = _summarise_set(found, other)
    return (summary.change, *summary.change_interval, summary.p_value)


def _task(
    metric: Metric, found: _Summary, n: int, scale: float | None, test: Literal["mcnemar", "paired-bootstrap"]
) -> Task:
    return Task(
        metric=metric.name,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        scale=scale,
        decimals=metric.decimals,
        value=found.value,
        uncompressed=found.uncompressed,
        low=found.interval[0],
        high=found.interval[1],
        n=n,
        change=found.change,
        change_low=found.change_interval[0],
        change_high=found.change_interval[1],
        p_value=found.p_value,
        test=test,
    )


def _choice(found: _Summary, sample_set: str, payload_bytes: ArrayLike) -> Choice:
    return Choice(
        sample_set=sample_set,
        payload_mean_bytes=payload_summary(payload_bytes).mean,
        value=found.value,
        uncompressed=found.uncompressed,
        change=found.change,
        change_low=found.change_interval[0],
        change_high=found.change_interval[1],
        n=np.size(payload_bytes),
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
    p_value: float | None


@np.errstate(over="ignore", invalid="ignore")
def _summarise(
    metric_scale: float, columns: Floats, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> _Summary:
    """Return the summary of the columns numerator and denominator, then those of the uncompressed model."""
    columns = np.where(np.isfinite(columns), columns, np.nan)  # inf * 0 would warn, nan makes all sums nan as well
    value, uncompressed = (ratio_of_sums(metric_scale, columns[:, i], columns[:, i + 1]) for i in (0, 2))
    if value is None and uncompressed is None:
        return _Summary(None, (None, None), None, None, (None, None), None)
    sums = resampled_sums(columns, resamples, seed)
    values, others = (_ratio(metric_scale, sums[:, i], sums[:, i + 1]) for i in (0, 2))
    return _summary(value, values, uncompressed, others, level)


def _summarise_set(found: SetValues, uncompressed: SetValues, level: float = LEVEL) -> _Summary:
    value, other = (each.value if math.isfinite(each.value) else None for each in (found, uncompressed))
    return _summary(value, found.resampled, other, uncompressed.resampled, level)


def _summary(
    value: float | None, resampled: Floats, uncompressed: float | None, other_resampled: Floats, level: float
) -> _Summary:
    """Return the summary of two values, and of those of the same resamples."""
    change = None if value is None or uncompressed is None else value - uncompressed
    changes = resampled - other_resampled
    return _Summary(
        value=value,
        interval=_interval(resampled, level) if value is not None else (None, None),
        uncompressed=uncompressed,
        change=change,
        change_interval=_interval(changes, level) if change is not None else (None, None),
        p_value=_sign_p(changes) if change is not None else None,
    )


def _columns(*columns: ArrayLike) -> Floats:
    """Stack columns into an array of shape (samples, columns). Raises ValueError for unequal or zero lengths."""
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    lengths = {array.shape for array in arrays}
    if len(lengths) != 1 or arrays[0].ndim != 1 or not arrays[0].size:
        raise ValueError(f"columns need one common length of at least 1, got shapes {[a.shape for a in arrays]}")
    return np.stack(arrays, axis=1)


def resampled_sums(columns: Floats, resamples: int, seed: int) -> Floats:
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
        [
            draw_counts(rng, count, min(chunk, resamples - start)).astype(np.float64) @ columns
            for start in range(0, resamples, chunk)
        ]
    )


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
