"""ONNX files: `onnx:FILE`, and behind another colon what it takes in place of k/255."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from codecbench.adapters.contracts import ModelAdapter, Pictures
from codecbench.adapters.description import WorkloadDescription
from codecbench.errors import UsageError
from codecbench.names import suggestion
from codecbench.system.onnx_files import read_structure
from codecbench.workload import OnnxModel

ARGUMENT = "path"
EXAMPLE = "onnx:FILE, or onnx:FILE:bgr255"

FORMS: Mapping[str, Mapping[str, Any]] = {
    "rgb1": {},
    "rgb255": {"scale": 255.0},
    "bgr255": {"scale": 255.0, "reverse_channels": True},
    "imagenet": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
}
"""The forms of pictures that a file may take: RGB from 0 to 1 as the contract has it, and others made in the head."""


class OnnxNetwork(ModelAdapter):
    """The model of a file. Its input and outputs say the size of its pictures and what it gives."""

    def __init__(self, argument: str, description: WorkloadDescription) -> None:
        super().__init__(argument, description)
        path, colon, form = argument.rpartition(":")
        named = bool(colon) and not Path(argument).exists()
        self.path, self.form = (Path(path), form) if named else (Path(argument), "rgb1")
        if self.form not in FORMS:
            near = suggestion(self.form, FORMS) or f"; there are: {', '.join(FORMS)}"
            raise UsageError(f"--model {description.portable().model}: no form of pictures {self.form!r}{near}")
        if description.weights is not None:
            raise UsageError(f"--weights: {self.path.name} holds its weights itself; leave --weights out")

    def build(self) -> OnnxModel:
        """Return the file, with the steps that make its input of a picture."""
        return OnnxModel(self.path, **FORMS[self.form])

    @property
    def pictures(self) -> Pictures | None:
        """The size that the input says, for one of three channels; the form of the values is made in the head."""
        axes = self._input_axes
        if len(axes) != 4 or axes[1] != 3 or 0 in axes[2:]:
            return None
        return Pictures((axes[2], axes[3]), axes[2:])

    @cached_property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each output that the file says, with 0 for a length that it does not say."""
        return tuple(map(_axes, read_structure(self.path).graph.output))

    @cached_property
    def _input_axes(self) -> Any:
        graph = read_structure(self.path).graph
        constants = {tensor.name for tensor in graph.initializer}
        return next((_axes(value) for value in graph.input if value.name not in constants), ())


def _axes(value: Any) -> tuple[int, ...]:
    return tuple(int(axis.dim_value) for axis in value.type.tensor_type.shape.dim)


def open_model(argument: str, description: WorkloadDescription) -> ModelAdapter:
    """Return the network of `onnx:FILE`."""
    return OnnxNetwork(argument, description)
