"""The layers of an ONNX graph, with the FLOPs, bytes and shapes of one sample, and what a head costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import NodeProto, helper
from torch import Tensor

from codecbench.devices.layers import POOLS, RECURRENT, Layer, ModelLayers
from codecbench.workers.process.onnx_cuts.graph import OnnxGraph
from codecbench.workers.process.onnx_cuts.sessions import input_kind, new_session, serialised

_OPERATORS: Mapping[str, tuple[str, ...]] = {
    "conv_transpose": ("ConvTranspose",),
    "matmul": ("MatMul", "MatMulInteger", "Einsum"),
    "linear": ("Gemm",),
    "attention": ("Attention", "MultiHeadAttention"),
    "lstm": ("LSTM",),
    "gru": ("GRU",),
    "rnn": ("RNN",),
    "batch_norm": ("BatchNormalization",),
    "norm": ("LayerNormalization", "GroupNormalization", "InstanceNormalization", "SimplifiedLayerNormalization"),
    "relu": ("Relu", "LeakyRelu", "PRelu", "Clip"),
    "activation": (
        "Gelu", "Sigmoid", "Tanh", "Elu", "Mish", "HardSwish", "HardSigmoid", "Exp", "Sqrt", "Erf", "Softplus", "Swish",
    ),
    "softmax": ("Softmax", "LogSoftmax"),
    "add": ("Add", "Sub", "Mul", "Div", "Neg", "Sum"),
    "max_pool": ("MaxPool",),
    "avg_pool": ("AveragePool",),
    "mean": ("GlobalAveragePool", "ReduceMean", "ReduceSum"),
    "copy": ("Concat", "Pad", "Slice", "Split", "Tile", "Transpose"),
    "view": ("Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze"),
}  # fmt: skip
_KIND_OF = {operator: kind for kind, operators in _OPERATORS.items() for operator in operators}


@dataclass(frozen=True)
class TensorSize:
    """The shape of a value, and the bytes of one of its elements."""

    shape: tuple[int, ...]
    element_bytes: int

    @property
    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of the value."""
        return self.elements * self.element_bytes


def sizes(graph: OnnxGraph, sample: Tensor) -> dict[str, TensorSize]:
    """Return the size of every value that depends on the input, and of every constant, on a batch of one."""
    values = [name for name in graph.positions if name in graph.dependent and name != graph.input_name]
    session = new_session(serialised(graph.with_outputs(values)), torch.get_num_threads(), optimise=False)
    batch = sample.cpu().numpy().astype(input_kind(session))
    arrays = dict(zip(values, session.run(values, {graph.input_name: batch}), strict=True))
    found = {name: TensorSize(np.shape(array), np.asarray(array).itemsize) for name, array in arrays.items()}
    for name, tensor in graph.constants.items():
        kind = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        found[name] = TensorSize(tuple(tensor.dims), kind.itemsize)
    for node in graph.nodes:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            found[node.output[0]] = TensorSize(tuple(node.attribute[0].t.dims), 4)
    return {graph.input_name: TensorSize(tuple(batch.shape), batch.itemsize), **found}


def describe_graph(graph: OnnxGraph, crossings: Mapping[str, str], sample: Tensor) -> ModelLayers:
    """Return the layers of a graph on one sample. `crossings` has the value that crosses at each split point."""
    known = sizes(graph, sample)
    layers: list[Layer] = []
    done: dict[str, int] = {graph.input_name: 0}
    for node in graph.nodes:
        if node.output[0] in graph.dependent:
            layers.append(layer_of_node(node, known))
        done.update(dict.fromkeys(node.output, len(layers)))
    return ModelLayers(tuple(layers), {name: done[value] for name, value in crossings.items()})


def head_cost(graph: OnnxGraph, crossing: str, sample: Tensor) -> tuple[int, int]:
    """Return the FLOPs of the nodes up to a value, and the peak bytes of the tensors that they have live at once.

    The input and the weights do not count. A view takes no bytes; it keeps the value that it looks at.
    """
    known = sizes(graph, sample)
    head = [node for node in graph.nodes[: graph.positions[crossing] + 1] if node.output[0] in graph.dependent]
    flop = sum(layer_of_node(node, known).flop for node in head)
    source = {graph.input_name: graph.input_name}
    for node in head:
        kept = source.get(node.input[0]) if _KIND_OF.get(node.op_type) == "view" else None
        source.update((name, kept or name) for name in node.output if name)
    last = {source[name]: i for i, node in enumerate(head) for name in node.input if name in source}
    last[source[crossing]] = len(head)
    live: dict[str, int] = {}
    peak = 0
    for i, node in enumerate(head):
        live.update((name, known[name].nbytes) for name in node.output if source.get(name) == name and name in known)
        peak = max(peak, sum(live.values()))
        live = {name: size for name, size in live.items() if last.get(name, -1) > i}
    return flop, peak


def layer_of_node(node: NodeProto, known: Mapping[str, TensorSize]) -> Layer:
    """Return the layer of one node."""
    settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    inputs = [known[name] for name in node.input if name in known]
    outputs = [known[name] for name in node.output if name in known]
    first, output = inputs[0], outputs[0]
    kind = _KIND_OF.get(node.op_type, "other")
    if node.op_type in ("Conv", "ConvInteger"):
        kind = "conv2d" if len(first.shape) == 4 else "conv1d" if len(first.shape) == 3 else "other"
    axis = -1 if kind in ("linear", "matmul", "attention", "norm", "softmax", *RECURRENT) else 1
    kernel, stride, groups = 1, 1, 1
    if kind.startswith("conv"):
        kernel = max(inputs[1].shape[2:])
        stride, groups = _longest(settings.get("strides", [1])), int(settings.get("group", 1))
    elif kind in POOLS:
        kernel, stride = _longest(settings["kernel_shape"]), _longest(settings.get("strides", [1]))
    elif kind in RECURRENT:
        kernel = inputs[1].shape[0]
    moved_bytes = 0 if kind == "view" else sum(size.nbytes for size in [*inputs, *outputs])
    if node.op_type in ("Gather", "GatherElements", "Slice", "Split"):
        kind, moved_bytes = "copy", 2 * sum(size.nbytes for size in outputs)
    return Layer(
        node.name or node.output[0], kind, _flop(node.op_type, settings, inputs, output), moved_bytes, kernel, stride,
        groups, _length(first, axis), _length(output, axis), sum(size.elements for size in outputs),
    )  # fmt: skip


def _flop(operator: str, settings: Mapping[str, Any], inputs: Sequence[TensorSize], output: TensorSize) -> int:
    """Return the FLOPs of products; a multiply-add counts as 2, biases and all other operators as 0."""
    match operator:
        case "Conv" | "ConvInteger":
            return 2 * output.elements * math.prod(inputs[1].shape[1:])
        case "ConvTranspose":
            return 2 * inputs[0].elements * math.prod(inputs[1].shape[1:])
        case "MatMul" | "MatMulInteger":
            return 2 * output.elements * inputs[0].shape[-1]
        case "Gemm":
            return 2 * output.elements * inputs[0].shape[0 if settings.get("transA") else 1]
        case "LSTM" | "GRU" | "RNN":
            steps = inputs[0].shape[0] * inputs[0].shape[1]
            return 2 * steps * (inputs[1].elements + inputs[2].elements)
        case "Attention" | "MultiHeadAttention" if len(inputs) > 2:
            return 4 * inputs[0].elements * inputs[1].shape[-2]
        case _:
            return 0


def _longest(values: Any) -> int:
    return int(max(values))


def _length(size: TensorSize, axis: int) -> int:
    """Return the length of an axis, or the number of values if there is only one axis."""
    return int(size.shape[axis]) if len(size.shape) > 1 else size.elements
