"""A detector's ONNX file turned into steps of torch and their weights. Imports onnx and torch when called.

Kinds of nodes that detectors of the YOLOX class have are known; each becomes one step of the same meaning, but x times
the sigmoid of x, which becomes one `silu`. Every file is compared with onnxruntime before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from codecbench import DataError
from codecbench_datasets.coco.form import Step

if TYPE_CHECKING:
    from numpy.typing import NDArray

Weights: TypeAlias = "dict[str, NDArray[Any]]"

PARAMETERS = ("weight", "bias")

SLICE_END = 2**31
INSTALL = "pip install 'codecbench[onnx]'"


class UnknownNode(Exception):
    """The reason why a node has no step of torch."""


def read(path: Path) -> tuple[tuple[int, int], list[Step], Weights]:
    """Return height and width of the pictures, the steps in order, and their weights by `step.weight` and `step.bias`.

    Raises DataError, with the node, for a file that is no ONNX model or has a node of an unknown kind.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise DataError(f"{path.name} needs onnx and onnxruntime: {INSTALL}") from error
    try:
        graph = onnx.load(str(path)).graph
        constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    except Exception as error:  # protobuf's DecodeError has no stable place
        raise DataError(f"{path} is no ONNX model ({' '.join(str(error).split())[:120]})") from error
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    inputs = [value for value in graph.input if value.name not in constants]
    shapes = [[axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in inputs]
    if len(inputs) != 1 or len(shapes[0]) != 4 or shapes[0][1] != 3 or min(shapes[0][2:]) < 1 or len(graph.output) != 1:
        raise DataError(f"{path.name} is no detector: it takes {shapes}; one input (1, 3, height, width) is needed")
    steps: list[Step] = []
    weights: Weights = {}
    for node in graph.node:
        if node.op_type == "Constant":
            continue
        said = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        data = tuple(name for name in node.input if name and name not in constants)
        fixed: list[Any] = [constants.get(name) for name in node.input]
        try:
            kind, settings = _known(node.op_type)(said, fixed)
            if len(node.output) != 1 or len(data) != INPUTS.get(kind, len(data)):
                raise UnknownNode(f"{len(data)} inputs and {len(node.output)} outputs")
        except UnknownNode as error:
            reason = f"{node.op_type} {node.name!r} has {error}"
            raise DataError(f"{path.name} does not turn into torch: {reason}; give a detector of YOLOX") from error
        name = f"{kind}_{len(steps)}"
        steps.append(Step("", name, kind, data, node.output[0], settings))
        if kind == "conv":
            weights.update({f"{name}.{part}": value for part, value in zip(PARAMETERS, fixed[1:], strict=False)})
    return (shapes[0][2], shapes[0][3]), _silus(_used(steps, graph.output[0].name)), weights


def _known(kind: str) -> Callable[[Mapping[str, Any], Sequence[Any]], tuple[str, dict[str, Any]]]:
    if kind not in KINDS:
        raise UnknownNode("no counterpart here")
    return KINDS[kind]


def _pads(said: Mapping[str, Any]) -> list[int]:
    pads = list(said.get("pads", [0, 0, 0, 0]))
    if pads[:2] != pads[2:] or said.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise UnknownNode(f"the padding {pads}, which is not the same on both sides")
    return pads[:2]


def _conv(said: Mapping[str, Any], fixed: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    weight = fixed[1]
    if weight is None or weight.ndim != 4 or (len(fixed) > 2 and fixed[2] is None):
        raise UnknownNode("weights that are computed, or of another rank than 4")
    groups = int(said.get("group", 1))
    return "conv", {
        "in_channels": weight.shape[1] * groups, "out_channels": weight.shape[0],
        "kernel_size": list(weight.shape[2:]), "stride": list(said.get("strides", [1, 1])), "padding": _pads(said),
        "dilation": list(said.get("dilations", [1, 1])), "groups": groups, "bias": len(fixed) > 2,
    }  # fmt: skip


def _max_pool(said: Mapping[str, Any], _fixed: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    if said.get("ceil_mode", 0) or set(said.get("dilations", [1])) != {1}:
        raise UnknownNode("a ceiling or dilation")
    strides = list(said.get("strides", [1, 1]))
    return "max_pool", {"kernel_size": list(said["kernel_shape"]), "stride": strides, "padding": _pads(said)}


def _resize(said: Mapping[str, Any], fixed: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    way = said.get("coordinate_transformation_mode", b"half_pixel"), said.get("nearest_mode", b"round_prefer_floor")
    scales = [] if len(fixed) < 3 or fixed[2] is None else [float(each) for each in fixed[2]]
    known = ((b"asymmetric", b"floor"), (b"half_pixel", b"round_prefer_floor"))
    if said.get("mode", b"nearest") != b"nearest" or way not in known or len(scales) != 4:
        raise UnknownNode("another way of resizing than to the nearest pixel by fixed factors")
    if scales[:2] != [1, 1] or scales[2] != scales[3] or scales[2] % 1:
        raise UnknownNode(f"the factors {scales}")
    return "upsample", {"scale_factor": scales[2], "mode": "nearest"}


def _slice(_said: Mapping[str, Any], fixed: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    if len(fixed) < 4 or any(each is None for each in fixed[1:]):
        raise UnknownNode("places that are computed")
    starts, ends, axes = (each.tolist() for each in fixed[1:4])
    steps = fixed[4].tolist() if len(fixed) > 4 else [1] * len(axes)
    if min([*axes, *steps]) < 1:
        raise UnknownNode("negative axes or steps, or a part of the batch")
    slices: list[list[int | None]] = [[None, None, None] for _ in range(max(axes) + 1)]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        slices[axis] = [start, end if end < SLICE_END - 1 else None, step]
    return "slice", {"slices": slices}


def _reshape(_said: Mapping[str, Any], fixed: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    shape = [] if fixed[1] is None else fixed[1].tolist()
    if not shape or shape[0] not in (0, 1) or 0 in shape[1:]:
        raise UnknownNode(f"the shape {shape}, which has no batch axis")
    return "reshape", {"shape": shape[1:]}


def _permute(said: Mapping[str, Any], _fixed: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    axes = list(said.get("perm", []))
    if not axes or axes[0] != 0:
        raise UnknownNode(f"the axes {axes}, which move the batch")
    return "permute", {"axes": axes}


def _concat(said: Mapping[str, Any], fixed: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    if said["axis"] == 0 or any(each is not None for each in fixed):
        raise UnknownNode("constant parts, or joins the batch")
    return "concat", {"axis": said["axis"]}


KINDS: Mapping[str, Callable[[Mapping[str, Any], Sequence[Any]], tuple[str, dict[str, Any]]]] = {
    "Conv": _conv, "MaxPool": _max_pool, "Resize": _resize, "Slice": _slice, "Reshape": _reshape,
    "Transpose": _permute, "Concat": _concat,
    "Sigmoid": lambda *_: ("sigmoid", {}), "Relu": lambda *_: ("relu", {}),
    "LeakyRelu": lambda said, _: ("leaky_relu", {"negative_slope": said.get("alpha", 0.01)}),
    "Add": lambda *_: ("add", {}), "Mul": lambda *_: ("mul", {}),
}  # fmt: skip
"""The kind and the settings of the step of each kind of node, from its attributes and its constant inputs."""

INPUTS = {
    **dict.fromkeys(
        ("conv", "max_pool", "upsample", "slice", "reshape", "permute", "sigmoid", "relu", "leaky_relu"), 1
    ),
    **dict.fromkeys(("add", "mul"), 2),
}
"""The number of computed values that each kind of step takes."""


def _used(steps: Sequence[Step], output: str) -> list[Step]:
    """Return the steps that the output needs."""
    needed, found = {output}, []
    for step in reversed(steps):
        if step.output in needed:
            needed.update(step.inputs)
            found.append(step)
    return found[::-1]


def _silus(steps: Sequence[Step]) -> list[Step]:
    """Return the steps with x times its sigmoid as one step."""
    users: dict[str, int] = {}
    for step in steps:
        for name in step.inputs:
            users[name] = users.get(name, 0) + 1
    sigmoids = {step.output: step.inputs[0] for step in steps if step.kind == "sigmoid" and users.get(step.output) == 1}
    found, fused = [], set()
    for step in steps:
        for gate, other in (step.inputs, step.inputs[::-1]) if step.kind == "mul" else ():
            if sigmoids.get(gate) == other:
                step = replace(step, name=step.name.replace("mul", "silu"), kind="silu", inputs=(other,))
                fused.add(gate)
                break
        found.append(step)
    return [step for step in found if step.output not in fused]
