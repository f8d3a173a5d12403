"""The groups `task`, `others` and `choice` of a record, from per-sample columns, for all metrics of a workload."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from numpy.typing import NDArray

from codecbench.results.outcomes import FULL_MODEL, Columns, ratio_columns, set_columns
from codecbench.results.record import Choice, Task
from codecbench.results.set_values import SetValues
from codecbench.results.statistics import (
    summarise_choice,
    summarise_set_choice,
    summarise_set_task,
    summarise_task,
    undefined_reason,
)
from codecbench.workload import Metric, RatioMetric, Subset

ValuesOf: TypeAlias = Callable[[str, Columns], SetValues]
"""Computes the values of the set metric of this name from its outcomes: where the metric's code is loaded."""


class Summaries:
    """Summarises the outcomes of cells in the metrics of a workload, of which the first decides.

    All cells have the same samples; so the values of the full model are computed once for each subset.
    """

    def __init__(self, metrics: Sequence[Metric], values_of: ValuesOf) -> None:
        self.metrics = tuple(metrics)
        self._values_of = values_of
        self._full_model: dict[tuple[str, Subset], SetValues] = {}

    def tasks(self, test: Mapping[str, NDArray[Any]]) -> tuple[list[Task], dict[str, str]]:
        """Return the group of each metric from the columns of the test samples, and the resampled values as texts.

        The texts are by metric, of set metrics only; see `SetValues.to_text`.
        """
        tasks, texts = [], {}
        for metric in self.metrics:
            if isinstance(metric, RatioMetric):
                tasks.append(summarise_task(metric, *self._ratio(metric, test)))
            else:
                found, uncompressed = self._set(metric, test, "test")
                tasks.append(summarise_set_task(metric, found, uncompressed, len(test["subset"])))
                texts[metric.name] = found.to_text()
        return tasks, texts

    def choice(self, sample_set: str, choice: Mapping[str, NDArray[Any]]) -> Choice:
        """Return the group of the deciding metric from the columns of the choice samples."""
        metric, payload_bytes = self.metrics[0], choice["payload_bytes"]
        if isinstance(metric, RatioMetric):
            return summarise_choice(metric, sample_set, payload_bytes, *self._ratio(metric, choice))
        return summarise_set_choice(*self._set(metric, choice, "choice"), sample_set, payload_bytes)

    def undefined_reasons(self, test: Mapping[str, NDArray[Any]], tasks: Sequence[Task]) -> dict[str, str]:
        """Return why metrics are undefined on the test samples, by a text that names the metric and the side."""
        reasons = {}
        for metric, task in zip(self.metrics, tasks, strict=True):
            sides = {metric.name: task.value, f"{metric.name} of the uncompressed model": task.uncompressed}
            for number, (side, value) in enumerate(sides.items()):
                reason = None if value is not None else "it gives no finite value"
                if isinstance(metric, RatioMetric):
                    reason = undefined_reason(*self._ratio(metric, test)[2 * number : 2 * number + 2])
                if reason is not None:
                    reasons[side] = reason
        return reasons

    def _ratio(self, metric: Metric, columns: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return numerators, denominators, and those of the full model."""
        names = ratio_columns(metric, self.metrics)
        return [columns[before + name] for before in ("", FULL_MODEL) for name in names]

    def _set(self, metric: Metric, columns: Mapping[str, NDArray[Any]], subset: Subset) -> tuple[SetValues, SetValues]:
        """Return the values of a set metric with and without compression."""
        full_model = self._full_model.get((metric.name, subset))
        if full_model is None:
            full_model = self._values_of(metric.name, set_columns(metric, columns, full_model=True))
            self._full_model[metric.name, subset] = full_model
        return self._values_of(metric.name, set_columns(metric, columns)), full_model
