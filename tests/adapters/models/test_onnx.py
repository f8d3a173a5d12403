"""ONNX files are models by name, with the form of pictures behind a colon."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.detector import square_detector
from support.onnx_models import residual, written

from codecbench.adapters.contracts import Pictures
from codecbench.adapters.description import WorkloadDescription
from codecbench.adapters.kinds import placed
from codecbench.adapters.models.onnx import OnnxNetwork, open_model
from codecbench.errors import UsageError
from codecbench.workload import OnnxModel


def network(argument: str, weights: str | None = None) -> OnnxNetwork:
    made = open_model(
        argument, WorkloadDescription(model=f"onnx:{argument}", data="npz:x", task="agreement", weights=weights)
    )
    assert isinstance(made, OnnxNetwork)
    return made


def test_the_form_of_pictures_stands_behind_a_colon(tmp_path: Path) -> None:
    path = square_detector(tmp_path / "m.onnx")
    assert network(str(path)).build() == OnnxModel(path)
    assert network(f"{path}:bgr255").build() == OnnxModel(path, scale=255.0, reverse_channels=True)
    with pytest.raises(UsageError, match=r"no form of pictures 'bgr25', did you mean|no form of pictures 'bgr25'"):
        network(f"{path}:bgr25")


def test_its_path_is_found_from_the_users_folder(tmp_path: Path) -> None:
    square_detector(tmp_path / "m.onnx")
    assert placed("model", "onnx:m.onnx:bgr255", tmp_path) == f"onnx:{tmp_path / 'm.onnx'}:bgr255"
    with pytest.raises(UsageError, match="there is no such file"):
        placed("model", "onnx:none.onnx", tmp_path)


def test_the_file_says_the_size_of_its_pictures(tmp_path: Path) -> None:
    found = network(str(square_detector(tmp_path / "m.onnx")))
    assert found.pictures == Pictures((64, 64), (64, 64))
    assert found.output_shapes == ((1, 84, 7),)
    flexible = written(residual(shape=(3, "height", "width")), tmp_path / "f.onnx")
    assert network(str(flexible)).pictures is None


def test_weights_are_in_the_file(tmp_path: Path) -> None:
    path = square_detector(tmp_path / "m.onnx")
    assert network(str(path)).weights_sha256(OnnxModel(path)) == OnnxModel(path).weights_sha256()
    with pytest.raises(UsageError, match="holds its weights itself"):
        network(str(path), weights="w.safetensors")
