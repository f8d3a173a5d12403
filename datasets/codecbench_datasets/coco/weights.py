"""The file of a converted detector: its weights, and its steps as JSON in the metadata. Imports torch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from codecbench import DataError
from codecbench.toolbox.boxes import grid_rows
from codecbench_datasets.coco import convert
from codecbench_datasets.coco.catalogue import CURE_WEIGHTS, DOWN_SPLITS, weights_sha256
from codecbench_datasets.coco.form import FORMS, Detector
from codecbench_datasets.coco.network import GATE, network
from codecbench_datasets.coco.stages import staged

DETECTOR = "detector"
FIRST_CLASS = 5
"""The columns of a row before those of the classes: a box, and whether there is an object."""
MAX_DIFFERENCE = 1e-3
"""The most by which an output may differ from onnxruntime's, as a share of the largest output and at least of 1."""


def of_onnx(path: Path, form: str) -> tuple[Detector, dict[str, Tensor]]:
    """Return the detector of an ONNX file that takes pixels of this form, and its weights.

    Raises DataError for a file that is no detector of the YOLOX class, and where outputs are not onnxruntime's.
    """
    size, flat, arrays = convert.read(path)
    steps = staged(flat, size)
    tensors = {
        f"{part.part}.{part.name}.{kind}": torch.from_numpy(np.array(arrays[key], np.float32))
        for old, part in zip(flat, steps, strict=True)
        for kind in convert.PARAMETERS
        if (key := f"{old.name}.{kind}") in arrays
    }
    detector = Detector(path.name, form, size, 0, tuple(steps))
    paths = {f"{step.part}.{step.name}" for step in steps}
    missing = [name for name in DOWN_SPLITS if name not in paths]
    if missing:
        raise DataError(f"{path.name} has no place {missing[0]} where one tensor crosses; give a detector of YOLOX")
    found = _compared(path, built(detector, tensors), detector)
    if found.ndim != 3 or found.shape[1] != grid_rows(size) or found.shape[2] <= FIRST_CLASS:
        raise DataError(
            f"{path.name} gives {tuple(found.shape[1:])} values, not {grid_rows(size)} cells of 5 + classes; leave "
            "decoding and suppression out of the export"
        )
    return Detector(path.name, form, size, found.shape[2] - FIRST_CLASS, tuple(steps)), tensors


def built(detector: Detector, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return the module of a detector with its weights. Raises RuntimeError where they are of another one."""
    model = network(detector)
    model.load_state_dict(dict(tensors), assign=True)
    return model.eval()


def ungated(model: nn.Module) -> nn.Module:
    """Return a detector that gives the outputs of its ONNX file: (N, cells, 5 + classes)."""
    return nn.Sequential(OrderedDict((name, part) for name, part in model.named_children() if name != GATE))


def _compared(path: Path, model: nn.Module, detector: Detector) -> Tensor:
    """Return the output of noise. Raises DataError where onnxruntime gives another one."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DataError(f"{path.name} is compared with onnxruntime: {convert.INSTALL}") from error
    pixels = torch.rand(1, 3, *detector.size, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        taken = model.get_submodule("pixels")(pixels)
        found: Tensor = ungated(model)(pixels)
    (expected,) = session.run(None, {session.get_inputs()[0].name: taken.numpy()})
    same_shape = tuple(found.shape) == expected.shape
    difference = float(np.abs(found.numpy() - expected).max()) if same_shape else np.inf
    if not difference <= MAX_DIFFERENCE * max(1.0, float(np.abs(expected).max())):
        raise DataError(f"{path.name}: torch gives other outputs than onnxruntime, by up to {difference:.2g}")
    return found.clone()


def save(path: Path, detector: Detector, tensors: Mapping[str, Tensor]) -> None:
    """Write a detector to a file, whole or not at all. Equal ones give equal files."""
    aside = path.with_suffix(".new")
    save_file(dict(tensors), aside, metadata={DETECTOR: detector.to_json()})
    aside.replace(path)
    load_detector.cache_clear()
    weights_sha256.cache_clear()


@lru_cache(maxsize=2)
def load_detector(path: Path) -> Detector:
    """Return the detector that a file states. Raises DataError if it states none."""
    try:
        with safe_open(path, "pt") as file:
            return Detector.from_json((file.metadata() or {})[DETECTOR])
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} holds no detector of coco-yolo ({error}); {CURE_WEIGHTS}") from error


def load(path: Path) -> nn.Module:
    """Return the module of such a file. Raises DataError if it is damaged."""
    detector = load_detector(path)
    try:
        return built(detector, load_file(path))
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({str(error).splitlines()[0]}); {CURE_WEIGHTS}") from error


__all__ = ["FORMS", "built", "load", "load_detector", "of_onnx", "save", "ungated"]
