"""Detectors are scored by average precision: decoded here, matched once, and run from texts alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.detector import boxed_folder, square_detector

from codecbench.adapters.described import DescribedWorkload, own_files, workload_class
from codecbench.adapters.description import WorkloadDescription
from codecbench.errors import CodecbenchError, DataError, UsageError
from codecbench.workers.process.onnx_cuts.split import OnnxSplit


def described(folder: Path, task: str = "detection") -> DescribedWorkload:
    data = folder / "data"
    if not data.exists():
        boxed_folder(data)
    model = square_detector(folder / "squares.onnx")
    return workload_class(WorkloadDescription(model=f"onnx:{model}:bgr255", data=f"coco:{data}", task=task))()


def test_a_detector_of_bright_squares_finds_them_all(tmp_path: Path) -> None:
    workload = described(tmp_path)
    probes = [torch.rand(n, *workload.input_spec.shape) for n in (2, 3)]
    full = OnnxSplit(workload.build_model(), probes, workload.input_spec).full
    outcomes = []
    for position in range(len(workload.sample_ids("test"))):
        (x,), (target,) = workload.inputs("test", [position]), workload.targets("test", [position])
        assert workload.input_spec.mismatch(x.shape, str(x.dtype)) is None
        output = full(torch.from_numpy(x)[None])
        assert isinstance(output, torch.Tensor)
        outcomes.append(workload.score((output[0].numpy(),), target))
    once = np.ones((1, len(outcomes)), np.int64)
    assert [metric.values(outcomes, once)[0] for metric in workload.metrics] == pytest.approx([100.0, 100.0])


def test_outputs_of_another_kind_are_named(tmp_path: Path) -> None:
    workload = described(tmp_path)
    (target,) = workload.targets("test", [0])
    with pytest.raises(DataError, match=r"takes grids of 84 cells.*the model gives \(3, 7\); leave decoding"):
        workload.score((np.zeros((3, 7), np.float32),), target)
    with pytest.raises(UsageError, match=r"no kind of outputs 'yolo'.*yolox"):
        described(tmp_path, "detection:yolo")


def test_outputs_of_queries_are_decoded(tmp_path: Path) -> None:
    workload = described(tmp_path)
    ((boxes, classes, _crowd),) = workload.targets("test", [0])
    centre, sides = (boxes[:, :2] + boxes[:, 2:]) / 2 / 64, (boxes[:, 2:] - boxes[:, :2]) / 64
    logits = np.array([[5.0, 0, 0]], np.float32)
    outcome = workload.score((logits, np.hstack([centre, sides]).astype(np.float32)), (boxes, classes, _crowd))
    assert workload.metrics[0].values([outcome], np.ones((1, 1), np.int64))[0] == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2 0.5 0.5 0.1 0.1", r"labels/7\.txt, line 1: the class 2 is unknown; the model knows 2 classes.*0 to 1"),
        ("0 0.99 0.5 0.1 0.1", r"labels/7\.txt, line 1: the box .* lies outside its picture"),
    ],
)
def test_a_wrong_label_is_named_before_anything_runs(line: str, reason: str, tmp_path: Path) -> None:
    boxed_folder(tmp_path / "data")
    (tmp_path / "data" / "labels" / "7.txt").write_text(line)
    with pytest.raises(CodecbenchError, match=reason):
        described(tmp_path).sample_ids("test")


def test_the_source_of_a_workload_covers_what_the_task_uses(tmp_path: Path) -> None:
    names = {f"{path.parent.name}/{path.name}" for path in own_files(type(described(tmp_path)))}
    assert {"boxes/matching.py", "boxes/average_precision.py", "tasks/detection.py", "models/onnx.py"} <= names
