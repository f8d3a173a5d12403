"""The layers of a model: FLOPs and bytes of each node of its traced graph.

A device profile (`codecbench.devices.profile`) predicts their seconds. `describe` and `layer_of` make layers and import
torch; the rest is plain data.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from codecbench.errors import DataError
from codecbench.measure import count_flop

if TYPE_CHECKING:
    from torch import Tensor, fx

SCHEMA = 1
"""The version of the JSON form."""

KINDS: Mapping[str, tuple[str, ...]] = {
    "conv2d": ("Conv2d", "conv2d"),
    "conv1d": ("Conv1d", "conv1d"),
    "conv_transpose": ("ConvTranspose1d", "ConvTranspose2d", "conv_transpose1d", "conv_transpose2d"),
    "linear": ("Linear", "linear"),
    "matmul": ("matmul", "bmm", "mm", "baddbmm", "addmm", "einsum"),
    "attention": ("MultiheadAttention", "scaled_dot_product_attention"),
    "lstm": ("LSTM",),
    "gru": ("GRU",),
    "rnn": ("RNN",),
    "embedding": ("Embedding", "embedding"),
    "batch_norm": ("BatchNorm1d", "BatchNorm2d", "batch_norm"),
    "norm": ("LayerNorm", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "layer_norm", "group_norm"),
    "relu": (
        "ReLU", "ReLU6", "LeakyReLU", "Hardtanh", "relu", "relu_", "relu6", "leaky_relu", "hardtanh", "clamp", "clamp_",
    ),
    "activation": (
        "GELU", "SiLU", "Sigmoid", "Tanh", "ELU", "Mish", "Hardswish", "Hardsigmoid", "gelu", "silu", "sigmoid",
        "tanh", "elu", "mish", "hardswish", "hardsigmoid", "exp", "sqrt",
    ),
    "softmax": ("Softmax", "LogSoftmax", "softmax", "log_softmax", "_softmax", "_log_softmax"),
    "add": (
        "add", "add_", "iadd", "sub", "sub_", "isub", "mul", "mul_", "imul", "truediv", "div", "div_", "itruediv",
        "neg",
    ),
    "max_pool": ("MaxPool1d", "MaxPool2d", "max_pool1d", "max_pool2d", "boolean_dispatch"),
    "avg_pool": ("AvgPool1d", "AvgPool2d", "avg_pool1d", "avg_pool2d"),
    "mean": ("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "mean", "sum"),
    "copy": ("cat", "concat", "stack", "pad", "ConstantPad2d", "ZeroPad2d", "clone", "contiguous"),
    "view": (
        "Identity", "Dropout", "Dropout2d", "dropout", "Flatten", "Unflatten", "flatten", "unflatten", "reshape",
        "view", "permute", "transpose", "squeeze", "unsqueeze", "getitem", "chunk", "split", "expand", "detach", "t",
        "slice", "select", "narrow", "alias", "unbind",
    ),
}  # fmt: skip
"""The kinds of layers, and the modules and functions of each. A view moves no bytes. All others are "other"."""

RECURRENT = ("lstm", "gru", "rnn")
POOLS = ("max_pool", "avg_pool")

_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}


@dataclass(frozen=True)
class Layer:
    """One node of a traced model that computes a tensor, on one sample (batch 1).

    `flop` counts 2 for a multiply-add. `moved_bytes` counts inputs, outputs and parameters once each, and is 0 for a
    view. `kernel` and `stride` are those of the longer side of a window, 1 without a window. `in_channels` and
    `out_channels` of a linear layer are its features. `out_elements` is the number of output values. The `kernel` of a
    recurrent layer, which has no window, is its number of passes over the sequence: layers times directions.
    """

    name: str
    kind: str
    flop: int
    moved_bytes: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    in_channels: int = 1
    out_channels: int = 1
    out_elements: int = 0


MAX_COUNT = 10**18
"""No layer computes or moves as much: counts beyond it come from a damaged file."""
_FIELDS = tuple(f.name for f in dataclasses.fields(Layer))


@dataclass(frozen=True)
class ModelLayers:
    """The layers of a full model in the order of execution.

    `before` is the number of layers of the head at each split point; the rest are the tail. `weights_sha256` is the
    hash of the model's weights.
    """

    layers: tuple[Layer, ...]
    before: Mapping[str, int]
    weights_sha256: str = field(default="", kw_only=True)

    def head(self, split: str) -> tuple[Layer, ...]:
        """Return the layers that run on the device. Raises DataError for an unknown split."""
        return self.layers[: self._count(split)]

    def tail(self, split: str) -> tuple[Layer, ...]:
        """Return the layers that run on the edge. Raises DataError for an unknown split."""
        return self.layers[self._count(split) :]

    def _count(self, split: str) -> int:
        if split not in self.before:
            raise DataError(
                f"the layers of the model have no split point {split!r}; there are: {', '.join(self.before)}"
            )
        return self.before[split]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: column names, and a row for each layer."""
        return {
            "schema": SCHEMA, "weights_sha256": self.weights_sha256, "before": dict(self.before),
            "columns": list(_FIELDS),
            "layers": [list(dataclasses.astuple(layer)) for layer in self.layers],
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelLayers:
        """The inverse of `to_json`. Raises DataError for other values."""
        try:
            if values["schema"] != SCHEMA:
                raise DataError(f"schema {values['schema']!r} of a model's layers is not {SCHEMA}")
            layers = tuple(
                _checked(Layer(**dict(zip(values["columns"], row, strict=True)))) for row in values["layers"]
            )
            before = {str(name): int(count) for name, count in values["before"].items()}
            if min(before.values(), default=0) < 0:
                raise DataError("the number of layers before a split point is from 0 on")
            return cls(layers, before, weights_sha256=str(values["weights_sha256"]))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(f"no description of a model's layers ({type(error).__name__}: {error})") from error


def _checked(layer: Layer) -> Layer:
    """Return the layer. Raises DataError unless it has a name, a kind and counts from 0 on."""
    name, kind, *counts = dataclasses.astuple(layer)
    texts = isinstance(name, str) and isinstance(kind, str)
    if not texts or not all(type(count) is int and 0 <= count <= MAX_COUNT for count in counts):
        raise DataError(f"the layer {str(name)[:40]!r} has no name, no kind, or a count that is none")
    return layer


def describe(
    traced: fx.GraphModule, cuts: Mapping[str, fx.Node], sample: Tensor, *, weights_sha256: str = ""
) -> ModelLayers:
    """Return the layers of a traced model on one sample, by running its graph node by node.

    `cuts` has the node of the crossing tensor at each split point: the head ends with it. `sample` has a batch axis of
    length 1. FLOPs are those that `torch.utils.flop_counter` counts, so that the sum of a head is the `head_flop` of a
    record. For recurrent layers and fused attention it counts none; theirs are those of their matrix products.
    """
    import torch
    from torch import fx

    layers: list[Layer] = []
    described: dict[fx.Node, int] = {}

    class Describer(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            if n.op not in ("call_module", "call_function", "call_method"):
                result = super().run_node(n)
            else:
                args, kwargs = self.fetch_args_kwargs_from_env(n)
                # An in-place operation may write to its inputs. Only their sizes are needed.
                inputs = _tensors((args, kwargs))
                kept: list[Any] = []
                flop = count_flop(lambda: kept.append(super(Describer, self).run_node(n)))
                (result,) = kept
                if _tensors(result):
                    target = self.fetch_attr(str(n.target)) if n.op == "call_module" else n.target
                    layers.append(layer_of(n.name, target, args, kwargs, inputs, result, flop))
            described[n] = len(layers)
            return result

    with torch.inference_mode():
        Describer(traced).run(sample.clone())
    return ModelLayers(
        tuple(layers), {name: described[node] for name, node in cuts.items()}, weights_sha256=weights_sha256
    )


def layer_of(
    name: str,
    target: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    inputs: Sequence[Tensor],
    result: Any,
    flop: int,
) -> Layer:
    """Return the layer of one call, of a module, a function or a method name, from its inputs, result and FLOPs."""
    from torch import nn

    module: Any = target if isinstance(target, nn.Module) else None
    called = type(target).__name__ if module is not None else _function_name(target)
    kind = _KIND_OF.get(called) or _KIND_OF.get(called.rstrip("_"), "other")
    outputs = _tensors(result)
    out_elements = sum(t.numel() for t in outputs)
    # Not the counters of batches, which no layer reads.
    buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()] if module is not None else []
    parameters = [*module.parameters(), *buffers] if module is not None else []
    moved_bytes = sum(t.numel() * t.element_size() for t in [*inputs, *outputs, *parameters])
    if kind == "embedding":
        moved_bytes = 2 * sum(
            t.numel() * t.element_size() for t in outputs
        )  # only rows that are read, not the whole table
    first = inputs[0] if inputs else outputs[0]
    axis = -1 if kind in ("linear", "matmul", "attention", "norm", "softmax", *RECURRENT) else 1
    in_channels, out_channels = _length(first, axis), _length(outputs[0], axis)
    kernel, stride, groups = 1, 1, 1
    if kind.startswith("conv"):
        weight = module.weight if module is not None else inputs[1]
        settings = vars(module) if module is not None else _named(args, kwargs, _CONV_ARGUMENTS)
        kernel = max(weight.shape[2:])
        stride = _longest(settings.get("stride", 1))
        groups = max(1, in_channels // weight.shape[1]) if kind != "conv_transpose" else int(settings.get("groups", 1))
    elif kind in POOLS:
        settings = vars(module) if module is not None else _named(args, kwargs, ("_", "kernel_size", "stride"))
        kernel = _longest(settings.get("kernel_size", 1))
        stride = _longest(settings.get("stride") or kernel)
    elif kind in RECURRENT:
        weights = list(module.parameters()) if module is not None else inputs[1:]
        flop = max(flop, _recurrent_flop([weight for weight in weights if weight.ndim == 2], first))
        settings = vars(module) if module is not None else _named(args, kwargs, _RECURRENT_ARGUMENTS)
        kernel = int(settings.get("num_layers", 1)) * (2 if settings.get("bidirectional") else 1)
    elif kind == "attention" and module is None:
        # Two matrix products: queries with keys, and weights with values.
        flop = max(flop, 4 * first.numel() * inputs[1].shape[-2])
    return Layer(
        name, kind, int(flop), 0 if kind == "view" else int(moved_bytes), kernel, stride, groups, in_channels,
        out_channels, out_elements,
    )  # fmt: skip


_CONV_ARGUMENTS = ("_", "_", "_", "stride", "padding", "output_padding", "groups")
"""The arguments of torch's functions, as far as they are used; groups only of a transposed convolution."""
_RECURRENT_ARGUMENTS = ("_", "_", "_", "_", "num_layers", "_", "_", "bidirectional")


def _function_name(target: Any) -> str:
    """Return the name of a method, a function, or an operator of an exported graph: `aten.conv2d.default` is conv2d."""
    schema = getattr(target, "_schema", None)
    if schema is not None:
        return str(schema.name).rpartition("::")[2]
    return target if isinstance(target, str) else str(target.__name__)


def _recurrent_flop(weights: Sequence[Tensor], inputs: Tensor) -> int:
    """Return the FLOPs of the products with all weight matrices at each step of one sequence."""
    steps = inputs.numel() // inputs.shape[-1]
    return int(2 * steps * sum(weight.numel() for weight in weights))


def _named(args: Sequence[Any], kwargs: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _longest(value: Any) -> int:
    return int(max(value)) if isinstance(value, (tuple, list)) else int(value)


def _length(tensor: Tensor, axis: int) -> int:
    """Return the length of an axis, or the number of values if there is only one axis."""
    return int(tensor.shape[axis]) if tensor.ndim > 1 else math.prod(tensor.shape)


def _tensors(value: Any) -> list[Tensor]:
    import torch

    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
