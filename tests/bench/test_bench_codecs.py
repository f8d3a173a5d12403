"""Seconds of encode and decode: every registered codec at every default split of every registered workload.

Run: pytest tests/bench --benchmark-only. One point a codec, the middle one; grouped by split and step.
"""

from __future__ import annotations

from functools import lru_cache

import pytest

from codecbench import TensorSpec, Workload
from codecbench.kit.samples import samples
from codecbench.registry import codecs, manager, workloads

PLUGINS = manager()
CODECS = codecs(PLUGINS)
SPLITS = [(workload, split) for workload in workloads(PLUGINS).values() for split in workload.default_splits]


@lru_cache
def split_model(workload: type[Workload]):
    import torch

    from codecbench.workers.process.graph_split import SplitModel

    spec = workload().input_spec
    # The kit's samples come in four lengths where an axis varies; every fourth has the same.
    made = samples(spec, 12)
    probes = [torch.stack(made[0::4][:2]), torch.stack(made[2::4])]
    return SplitModel(workload().build_model(), probes, spec)


@lru_cache
def activation(workload: type[Workload], split: str):
    """The first test sample's tensor at a split, and its spec."""
    import torch

    model = split_model(workload)
    head, _tail = model.split(split)
    (sample,) = workload().inputs("test", [0])
    with torch.inference_mode():
        (x,) = head(torch.from_numpy(sample.copy()).unsqueeze(0))
    spec: TensorSpec = model.cut(split).spec
    return x.clone(), spec


@pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))
@pytest.mark.parametrize(("workload", "split"), SPLITS, ids=[f"{w.name}/{split}" for w, split in SPLITS])
def test_codec(codec_benchmark, workload, split, codec):
    x, spec = activation(workload, split)
    codec_benchmark(codec, spec=spec, x=x, split=f"{workload.name}/{split}")
