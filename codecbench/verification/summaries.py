"""Compares the summaries of a record with the columns of its samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecbench import measure
from codecbench.results.cell import CellKey, sample_set_id
from codecbench.results.outcomes import FULL_MODEL, Columns, ratio_columns
from codecbench.results.record import Record, Seconds, Task
from codecbench.results.statistics import (
    mean_bound,
    mean_quality,
    payload_summary,
    summarise_choice,
    summarise_task,
)
from codecbench.workload import Metric, RatioMetric

TOLERANCE = 1e-9
"""The largest relative difference of two numbers that count as equal: sums may be added in another order."""

CLOCK_S = 1e-8
"""The resolution of the seconds of each timed sample."""


def faults_of(record: Record, columns: Columns) -> Iterator[str]:
    """Yield a line for each summary of a measured record that its columns do not give."""
    rows = len(columns["subset"])
    if record.samples is not None and record.samples.rows != rows:
        yield f"samples.rows is {record.samples.rows}, and the file has {rows}"
    if record.cell != CellKey(**record.key.model_dump()).cell:
        yield f"cell is {record.cell}, which is not the hash of its key"
    test, choice = (_of_subset(columns, subset) for subset in ("test", "choice"))
    sets = [("key.sample_set", record.key.sample_set, "test", test)]
    sets += [("choice.sample_set", record.choice.sample_set, "choice", choice)] if record.choice else []
    for name, named, subset, found in sets:
        if named != sample_set_id(subset, found["sample_id"].tolist()):
            yield f"{name} is {named}, which is not the hash of the samples' identifiers"
    if record.size is not None:
        yield from _different("size.payload_bytes", record.size.payload_bytes, payload_summary(test["payload_bytes"]))
        bound = mean_bound(test)
        if not _equal(record.size.estimated_bytes, bound):
            yield f"size.estimated_bytes is {record.size.estimated_bytes!r}, and the samples give {bound!r}"
    if record.quality is not None:
        yield from _different("quality", record.quality, mean_quality(test))
    yield from _tasks(record, test, choice)
    yield from _times(record)
    yield from _digests(record, columns)


def _of_subset(columns: Columns, subset: str) -> Columns:
    rows = columns["subset"] == subset
    return {name: column[rows] for name, column in columns.items()}


def _tasks(record: Record, test: Columns, choice: Columns) -> Iterator[str]:
    """Yield faults of the metrics that are ratios. A metric of a set takes the workload's code to compute again."""
    tasks = [task for task in (record.task, *record.others) if task is not None]
    metrics = [_metric(task) for task in tasks]
    for number, (task, metric) in enumerate(zip(tasks, metrics, strict=True)):
        name = "task" if not number else f"others.{number - 1}"
        if not isinstance(metric, RatioMetric):
            continue
        pairs = _outcomes(metric, metrics, test)
        if pairs is None:
            yield f"{name}: the samples have no outcomes of {task.metric}"
            continue
        again = summarise_task(metric, *pairs)
        yield from _different(name, task, again)
        if not number and record.choice is not None and (of_choice := _outcomes(metric, metrics, choice)) is not None:
            found = summarise_choice(metric, record.choice.sample_set, choice["payload_bytes"], *of_choice)
            yield from _different("choice", record.choice, found)


def _metric(task: Task) -> Metric:
    common = (task.metric, task.unit, task.higher_is_better)
    if task.scale is None:
        return Metric.__new__(Metric, *common)
    return RatioMetric(*common, decimals=task.decimals, scale=task.scale, binary=task.test == "mcnemar")


def _outcomes(
    metric: RatioMetric, metrics: list[Metric], columns: Columns
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]] | None:
    """Return numerators, denominators, and those of the full model; None where there are none."""
    names = ratio_columns(metric, metrics)
    names_of_outcomes = [f"{before}{name}" for before in ("", FULL_MODEL) for name in names]
    if any(name not in columns for name in names_of_outcomes):
        return None
    numerators, denominators, full_numerators, full_denominators = (columns[name] for name in names_of_outcomes)
    return numerators, denominators, full_numerators, full_denominators


def _times(record: Record) -> Iterator[str]:
    """Yield the steps whose median or percentile is not that of the timed samples."""
    if record.time is None or record.timed is None:
        return
    for step in ("head_s", "encode_s", "decode_s", "tail_s"):
        seconds: list[float] = getattr(record.timed, step)
        shown: Seconds = getattr(record.time, step)
        if len(seconds) != shown.n or len(record.timed.payload_bytes) != shown.n:
            yield f"time.{step} is of {shown.n} samples, and {len(seconds)} were timed"
            continue
        for name, share in (("median", 0.5), ("p95", 0.95)):
            again = measure.percentile(seconds, share)
            if not math.isclose(getattr(shown, name), again, rel_tol=TOLERANCE, abs_tol=CLOCK_S):
                yield f"time.{step}.{name} is {getattr(shown, name):g}, and the timed samples give {again:g}"


def _digests(record: Record, columns: Columns) -> Iterator[str]:
    if record.digests is None:
        return
    known = set(zip(columns["subset"].tolist(), columns["sample_id"].tolist(), strict=True))
    for each in record.digests.samples:
        if (each.subset, each.sample_id) not in known:
            yield f"digests.samples has sample {each.sample_id!r}, which is not among its samples"


def _different(name: str, shown: Any, again: Any) -> Iterator[str]:
    """Yield the fields of a group of numbers that differ from those computed again."""
    found: Mapping[str, Any] = again.model_dump()
    for field, value in shown.model_dump().items():
        if not _equal(value, found[field]):
            yield f"{name}.{field} is {value!r}, and the samples give {found[field]!r}"


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, bool | str) or a is None or b is None:
        return bool(a == b)
    return bool(np.isclose(a, b, rtol=TOLERANCE, atol=1e-12))
