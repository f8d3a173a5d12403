"""A real detector on real pictures: every cut is exact, and AP is that of an evaluation that shares no code with ours.

CODECBENCH_TEST_DETECTION names a folder with `yolox_nano.onnx` and, in `coco128-val/`, pictures and labels.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from support.yolox_reference import evaluated

from codecbench.adapters.described import DescribedWorkload, workload_class
from codecbench.adapters.description import WorkloadDescription
from codecbench.workers.process.onnx_cuts.split import OnnxSplit
from codecbench.workload import SetMetric

FOLDER = os.environ.get("CODECBENCH_TEST_DETECTION")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FOLDER is None, reason="CODECBENCH_TEST_DETECTION names no folder with yolox_nano.onnx"),
]


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(str(FOLDER))


@pytest.fixture(scope="module")
def workload(folder: Path) -> DescribedWorkload:
    model, data = folder / "yolox_nano.onnx", folder / "coco128-val"
    return workload_class(WorkloadDescription(model=f"onnx:{model}:bgr255", data=f"coco:{data}", task="detection"))()


@pytest.fixture(scope="module")
def split(workload: DescribedWorkload) -> OnnxSplit:
    generator = torch.Generator().manual_seed(0)
    probes = [torch.rand(n, *workload.input_spec.shape, generator=generator) for n in (1, 2)]
    return OnnxSplit(workload.build_model(), probes, workload.input_spec)


def test_all_cuts_are_found_and_exact(split: OnnxSplit, workload: DescribedWorkload) -> None:
    assert len(split.cuts) == 19
    x = torch.from_numpy(np.stack(workload.inputs("test", [0, 1])))
    full = split.full(x)
    for name in split.cuts:
        head, tail = split.split(name)
        assert torch.equal(tail(head(x)), full), name


def test_precision_is_that_of_a_separate_evaluation(
    split: OnnxSplit, workload: DescribedWorkload, folder: Path
) -> None:
    names, outcomes = [], []
    for subset in ("test", "choice", "fit"):
        for position, name in enumerate(workload.sample_ids(subset)):
            output = split.full(torch.from_numpy(workload.inputs(subset, [position])[0])[None])
            assert isinstance(output, torch.Tensor)
            outcomes.append(workload.score((output[0].numpy(),), workload.targets(subset, [position])[0]))
            names.append(str(name))
    once = np.ones((1, len(names)), np.int64)
    found = [float(metric.values(outcomes, once)[0]) for metric in workload.metrics if isinstance(metric, SetMetric)]
    expected = evaluated(folder / "yolox_nano.onnx", folder / "coco128-val", names)
    assert len(names) == 128
    print(found, expected)
    assert np.allclose(np.array(found) / 100, expected, atol=0.005)
