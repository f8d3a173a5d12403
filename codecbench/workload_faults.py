"""Mistakes in the class attributes of a workload."""

from __future__ import annotations

import math
import numbers
from typing import Any

from codecbench.errors import shown
from codecbench.locations import class_location
from codecbench.workload import Metric, RatioMetric, SetMetric, Workload

MAX_DECIMALS = 9
"""The largest number of decimals of a metric in tables."""


def workload_class_fault(kind: type[Workload]) -> str | None:
    """Return what is wrong with the class attributes of a workload, with file and line; None if nothing is."""

    def refused(attribute: str, text: str) -> str:
        return f"{class_location(kind)}: workload {kind.name!r}: {attribute} {text}"

    if kind.__abstractmethods__:
        return refused(", ".join(sorted(kind.__abstractmethods__)), "is not defined")
    splits = getattr(kind, "default_splits", None)
    budget: Any = getattr(kind, "budget", None)
    fault = _metrics_fault(getattr(kind, "metrics", None), old=kind.names_one_metric)
    if fault is not None:
        return refused("metric" if kind.names_one_metric else "metrics", fault)
    if not isinstance(splits, (tuple, list)) or not all(isinstance(split, str) for split in splits):
        return refused("default_splits", f'is {shown(splits)}; give a tuple of names like ("input",)')
    if not isinstance(budget, numbers.Real) or isinstance(budget, bool) or not 0 <= float(budget) < math.inf:
        return refused("budget", f"is {shown(budget)}; give a number of at least 0, in the unit of the first metric")
    if not isinstance(kind.dataset, str | None):
        return refused("dataset", f"is {shown(kind.dataset)}; give a name, or None")
    if not isinstance(kind.training_note, str):
        return refused("training_note", f"is {shown(kind.training_note)}; give a text")
    return None


def _metrics_fault(metrics: Any, *, old: bool) -> str | None:
    """Return what is wrong with the metrics of a workload, as the end of a sentence; None if nothing is."""
    example = 'metrics = (RatioMetric("top-1", "%", higher_is_better=True, scale=100.0, binary=True),)'
    if isinstance(metrics, Metric):
        return f"is one metric; set a tuple like {example}"
    if not isinstance(metrics, (tuple, list)) or not metrics:
        return f"is {shown(metrics)}; set a tuple like {example}"
    kinds: dict[str, bool] = {}
    for metric in metrics:
        if not isinstance(metric, RatioMetric | SetMetric):
            return f"{'is' if old else 'holds'} {shown(metric)}; set RatioMetrics or SetMetrics"
        fault = _metric_fault(metric)
        if fault is not None:
            return fault
        is_ratio = isinstance(metric, RatioMetric)
        if kinds.setdefault(metric.outcome_name, is_ratio) != is_ratio:
            return f"has {metric.outcome_name!r} as the outcome of a ratio metric and of a set metric; name two"
    names = [metric.name for metric in metrics]
    twice = next((name for name in names if names.count(name) > 1), None)
    return None if twice is None else f"has the name {twice!r} twice; names must differ"


def _metric_fault(metric: RatioMetric | SetMetric) -> str | None:
    texts = [getattr(metric, name, None) for name in ("name", "unit", "outcome")]
    if not all(isinstance(text, str) for text in texts) or not metric.name:
        return "needs texts for name and unit"
    if isinstance(metric, RatioMetric) and not (isinstance(metric.scale, numbers.Real) and math.isfinite(metric.scale)):
        return f"has the scale {shown(metric.scale)}; give a number"
    decimals: object = metric.decimals
    if not isinstance(decimals, int) or not 0 <= decimals <= MAX_DECIMALS:
        return f"has the decimals {shown(decimals)}; give an integer from 0 to {MAX_DECIMALS}"
    return None
