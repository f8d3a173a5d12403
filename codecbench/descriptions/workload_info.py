"""Plain values that describe a workload. Importing this module imports no workload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from codecbench.codec import TensorSpec
from codecbench.workload import Metric, RatioMetric, SampleId, Subset


@dataclass(frozen=True)
class SetMetricInfo(Metric):
    """A set metric as other processes know it: its values are computed where its code is loaded."""

    @classmethod
    def of(cls, metric: Metric) -> SetMetricInfo:
        """Return the description of a set metric."""
        return cls(
            metric.name, metric.unit, metric.higher_is_better, decimals=metric.decimals, outcome=metric.outcome,
        )  # fmt: skip


@dataclass(frozen=True)
class WorkloadInfo:
    """A workload as a run knows it: everything but its model, inputs, targets and scores.

    `reference` names the class for another process (`registry.reference`), `source_hash` is the hex SHA-256 of its
    source. `sample_ids` are the identifiers of all samples that are here, by subset; `training_ids` those of all `fit`
    samples of the complete dataset. Each of the `metrics` is a RatioMetric or a SetMetricInfo; `names_one_metric` is
    True for the old attribute `metric`.
    `fit_groups` has the group of each `fit` sample, None where each stands alone.
    `differentiable` is False if no gradients flow through the model's tails.
    """

    name: str
    reference: str
    metrics: tuple[Metric, ...]
    default_splits: tuple[str, ...]
    budget: float
    dataset: str | None
    source_hash: str
    weights_sha256: str
    training_s: float | None
    training_note: str
    input_spec: TensorSpec
    sample_ids: Mapping[Subset, tuple[SampleId, ...]] = field(hash=False)
    training_ids: tuple[SampleId, ...]
    names_one_metric: bool = False
    differentiable: bool = True
    fit_groups: tuple[int, ...] | None = None

    @property
    def metric(self) -> Metric:
        """The metric that decides."""
        return self.metrics[0]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_json` makes an equal description."""
        return {
            **vars(self), "metrics": [asdict(metric) for metric in self.metrics],
            "default_splits": list(self.default_splits),
            "input_spec": self.input_spec.to_json(), "training_ids": list(self.training_ids),
            "fit_groups": None if self.fit_groups is None else list(self.fit_groups),
            "sample_ids": {subset: list(ids) for subset, ids in self.sample_ids.items()},
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> WorkloadInfo:
        """The inverse of `to_json`."""
        return cls(**{
            **values, "metrics": tuple(map(_metric, values["metrics"])),
            "default_splits": tuple(values["default_splits"]),
            "input_spec": TensorSpec.from_json(values["input_spec"]), "training_ids": tuple(values["training_ids"]),
            "sample_ids": {subset: tuple(ids) for subset, ids in values["sample_ids"].items()},
            "fit_groups": None if values["fit_groups"] is None else tuple(values["fit_groups"]),
        })  # fmt: skip


def _metric(values: Mapping[str, Any]) -> Metric:
    """Return a metric from its plain values. Only a ratio metric has a scale."""
    return RatioMetric(**values) if "scale" in values else SetMetricInfo(**values)
