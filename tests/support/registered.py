"""What tests of all registered codecs share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codecbench import Codec, TensorSpec
from codecbench.experiment.config import DEFAULT_WORKLOAD
from codecbench.kit.samples import DEFAULT_SPECS
from codecbench.registry import codecs, manager, workloads

PLUGINS = manager()
CODECS = codecs(PLUGINS)


LEARNED_SPECS = (DEFAULT_SPECS[2], DEFAULT_SPECS[4])
"""A feature map and a sequence: what codecs that learn from all samples are fitted at in every run of the tests, unless
they take neither."""


def one_point(codec: type[Codec], spec: TensorSpec) -> Sequence[Mapping[str, Any]]:
    """One quick point: another from spec to spec, so that none is left out where there are fewer than specs."""
    if codec.fit_samples is None and spec not in LEARNED_SPECS and any(_is_taken(codec, at) for at in LEARNED_SPECS):
        return []
    points = codec.quick_points_for(spec)
    return [points[DEFAULT_SPECS.index(spec) % len(points)]]


def _is_taken(codec: type[Codec], spec: TensorSpec) -> bool:
    return codec.skip_reason(spec, **codec.quick_points_for(spec)[0]) is None


def default_split_specs() -> dict[str, TensorSpec]:
    """The tensors at the default workload's default splits, by split."""
    import torch

    from codecbench.workers.process.graph_split import SplitModel

    workload = workloads(PLUGINS)[DEFAULT_WORKLOAD]()
    probes = [torch.rand(batch, *workload.input_spec.max_shape) for batch in (2, 3)]
    cuts = SplitModel(workload.build_model(), probes, workload.input_spec)
    return {split: cuts.cut(split).spec for split in workload.default_splits}
