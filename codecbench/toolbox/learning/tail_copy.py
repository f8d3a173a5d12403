"""A trainable copy of a tail, stored as plain values and tensors, from which a decoder on the edge starts.

A tail is a traced graph. Its copy is a list of steps, each an operation of OPERATIONS on the results of earlier steps,
so a state can hold it and reading the state executes no code. A tail with any other operation has no copy.

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from codecbench.toolbox.learning.teacher import divergence, folded

Step: TypeAlias = dict[str, Any]
"""`op`, `inputs` (indices of earlier steps; 0 is the tensor at the split), `settings`, and `weights` (names)."""

INPUT = 0

FULL_STEP_LOSS = 1e-3
"""The loss, in nats, from which on `TailCopy.steered` takes its full step; a thousandth of a nat changes no class."""


def _flatten(x: Tensor, start: int) -> Tensor:
    return x.flatten(start)


OPERATIONS: Mapping[str, Callable[..., Tensor]] = {
    "conv": F.conv2d, "linear": F.linear, "relu": F.relu, "add": torch.add, "sub": torch.sub, "mul": torch.mul,
    "div": torch.div, "flatten": _flatten, "mean": F.adaptive_avg_pool2d, "max": F.max_pool2d, "same": lambda x: x,
    "constant": lambda x: x,
}  # fmt: skip
"""Operations by name. Arguments: inputs first, then weights, then settings."""

_FUNCTIONS: Mapping[Any, str] = {
    operator.add: "add", torch.add: "add", operator.iadd: "add", operator.sub: "sub", operator.mul: "mul",
    operator.truediv: "div", F.relu: "relu", torch.relu: "relu", torch.flatten: "flatten",
}  # fmt: skip


class TailCopy(nn.Module):
    """A list of steps with their own trainable weights, called with a batch.

    `kept` are the indices of the steps whose results it returns as features.
    """

    def __init__(self, steps: Sequence[Step], weights: Mapping[str, Tensor], kept: Sequence[int]) -> None:
        super().__init__()
        self.steps, self.kept = list(steps), list(kept)
        self.weights = nn.ParameterDict({name: nn.Parameter(tensor.clone()) for name, tensor in weights.items()})

    def forward(self, xs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the features (results of the kept steps) and the output (result of the last step)."""
        results = [xs]
        for step in self.steps:
            inputs = [results[i] for i in step["inputs"]]
            weights = [self.weights[name] if name else None for name in step["weights"]]
            results.append(OPERATIONS[step["op"]](*inputs, *weights, **step["settings"]))
        return [results[i] for i in self.kept], results[-1]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON values that `empty` takes."""
        shapes = {name: list(tensor.shape) for name, tensor in self.weights.items()}
        return {"steps": self.steps, "kept": self.kept, "shapes": shapes}

    @classmethod
    def empty(cls, values: Mapping[str, Any]) -> TailCopy:
        """Return a copy with zero weights, for weights to be loaded. Raises ValueError for invalid steps."""
        for at, step in enumerate(values["steps"]):
            if step["op"] not in OPERATIONS or any(not 0 <= i <= at for i in step["inputs"]):
                raise ValueError(f"step {at} of a tail's copy is invalid: {step['op']!r}")
        weights = {name: torch.zeros(shape) for name, shape in values["shapes"].items()}
        return cls(values["steps"], weights, values["kept"])

    @classmethod
    def of(cls, tail: nn.Module, example: Tensor) -> TailCopy | None:
        """Return a copy of a tail with its weights, batch normalisation folded; None if an operation is unknown.

        `example` is a batch of tensors at the split. The kept steps are the last activation of each spatial size.
        """
        if not isinstance(tail, fx.GraphModule):
            return None
        module = folded(tail)
        steps: list[Step] = []
        weights: dict[str, Tensor] = {}
        numbers: dict[fx.Node, int] = {}
        for node in module.graph.nodes:
            if node.op == "placeholder":
                numbers[node] = INPUT
            elif node.op == "output":
                results = node.args[0] if isinstance(node.args[0], tuple) else node.args
                if len(results) != 1 or numbers.get(results[0]) != len(steps):
                    return None
            else:
                step = _step_of(module, node, numbers, weights)
                if step is None:
                    return None
                steps.append(step)
                numbers[node] = len(steps)
        copied = cls(steps, weights, [])
        copied.kept = copied._activations(example)
        return copied

    def steered(self, samples: Tensor, target: Tensor) -> Tensor:
        """Return samples (n, *shape), moved so that their output goes about half of the way to `target`.

        This is one step down the gradient of each sample's loss: the Kullback-Leibler divergence over classes, or the
        squared error of any other output. The step is the loss over the squared norm of its gradient (Polyak 1987,
        section 5.3), which halves the distance if the loss is quadratic. It is shorter if the loss is near zero, where
        loss and gradient are mostly rounding errors.
        """
        with torch.inference_mode(mode=False), torch.enable_grad():
            start, goal = samples.clone().requires_grad_(), target.clone()
            losses = _output_losses(self(start)[1], goal)
            (gradient,) = torch.autograd.grad(losses.sum(), start)
        losses = losses.detach().clamp(min=0.0)
        squares = gradient.flatten(1).square().sum(1).clamp(min=1e-30)
        lengths = losses / squares * losses / (losses + FULL_STEP_LOSS)
        return samples - lengths.reshape(-1, *[1] * (samples.ndim - 1)) * gradient

    @torch.no_grad()
    def _activations(self, example: Tensor) -> list[int]:
        """Return the last step that is an activation, for each spatial size."""
        found: dict[tuple[int, ...], int] = {}
        kept, self.kept = self.kept, list(range(len(self.steps) + 1))
        results, _ = self(example)
        self.kept = kept
        for number, step in enumerate(self.steps, start=1):
            if step["op"] == "relu" and results[number].ndim == 4:
                found[tuple(results[number].shape[2:])] = number
        return sorted(found.values())


def _output_losses(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the loss of each sample's output, (n,)."""
    if predicted.ndim == 2 and predicted.shape[1] > 1:
        return divergence(predicted, target)
    return (predicted - target).flatten(1).square().sum(1)


def _step_of(
    module: fx.GraphModule, node: fx.Node, numbers: Mapping[fx.Node, int], weights: dict[str, Tensor]
) -> Step | None:
    """Return a node as a step and add its weights to `weights`; None if it is not an operation of OPERATIONS."""
    nodes = [value for value in node.args if isinstance(value, fx.Node)]
    inputs = [numbers[value] for value in nodes if value in numbers]
    plain = [value for value in node.args if not isinstance(value, fx.Node)]
    if len(inputs) != len(nodes) or node.kwargs.keys() - {"inplace"}:
        return None

    def add_weight(name: str, tensor: Tensor | None) -> str:
        if tensor is None:
            return ""
        weights[name.replace(".", "_")] = tensor.detach()
        return name.replace(".", "_")

    if node.op == "get_attr":
        value = operator.attrgetter(str(node.target))(module)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return None
        return _make_step("constant", [], weights=[add_weight(str(node.target), value)])
    if isinstance(node.target, torch._ops.OpOverload):
        return _operator_step(node, inputs)
    if node.op == "call_function":
        op = _FUNCTIONS.get(node.target)
        if op == "flatten" and len(plain) <= 1:
            return _make_step(op, inputs, {"start": plain[0] if plain else 0})
        return _make_step(op, inputs) if op is not None and not plain else None
    if node.op != "call_module":
        return None
    layer, name = module.get_submodule(str(node.target)), str(node.target)
    if isinstance(layer, nn.Conv2d) and isinstance(layer.padding, tuple) and layer.padding_mode == "zeros":
        settings = {
            "stride": list(layer.stride), "padding": list(layer.padding), "dilation": list(layer.dilation),
            "groups": layer.groups,
        }  # fmt: skip
        return _make_step(
            "conv",
            inputs,
            settings,
            [add_weight(f"{name}.weight", layer.weight), add_weight(f"{name}.bias", layer.bias)],
        )
    if isinstance(layer, nn.Linear):
        return _make_step(
            "linear", inputs, {}, [add_weight(f"{name}.weight", layer.weight), add_weight(f"{name}.bias", layer.bias)]
        )
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return _make_step("mean", inputs, {"output_size": layer.output_size})
    if isinstance(layer, nn.MaxPool2d) and not layer.return_indices and not layer.ceil_mode and layer.dilation == 1:
        settings = {"kernel_size": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
        return _make_step("max", inputs, settings)
    if isinstance(layer, nn.Flatten) and layer.end_dim == -1:
        return _make_step("flatten", inputs, {"start": layer.start_dim})
    if isinstance(layer, nn.ReLU):
        return _make_step("relu", inputs)
    return _make_step("same", inputs) if isinstance(layer, nn.Identity | nn.Dropout) else None


_OPERATORS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "conv2d": ("conv", ("stride", "padding", "dilation", "groups")), "linear": ("linear", ()), "relu": ("relu", ()),
    "add": ("add", ()), "sub": ("sub", ()), "mul": ("mul", ()), "div": ("div", ()),
    "flatten": ("flatten", ("start", "end")), "adaptive_avg_pool2d": ("mean", ("output_size",)),
    "max_pool2d": ("max", ("kernel_size", "stride", "padding", "dilation", "ceil_mode")),
    "dropout": ("same", ("share", "train")), "contiguous": ("same", ()), "clone": ("same", ()),
}  # fmt: skip
"""Operators of exported graphs by name: the operation, and the names of their plain arguments."""
_AS_EXPECTED: Mapping[str, Any] = {"end": -1, "dilation": [1, 1], "ceil_mode": False, "train": False}
"""Arguments of operators that OPERATIONS do not take, with their only values. A convolution takes its dilation."""


def _operator_step(node: fx.Node, inputs: list[int]) -> Step | None:
    """Return an operator of an exported graph as a step; its weights are constants, so steps of their own."""
    target: Any = node.target
    name = target._schema.name.rpartition("::")[2]
    op, names = _OPERATORS.get(name.rstrip("_"), ("", ()))
    written = node.args[0] if target._schema.is_mutable else None
    if isinstance(written, fx.Node) and list(written.users)[-1] is not node:
        return None  # it is read once more, after it has been written to
    plain = node.args[3 if op in ("conv", "linear") else len(inputs) :]  # the bias of a layer may be None
    if not op or len(plain) > len(names) or any(isinstance(value, fx.Node | str) for value in plain):
        return None
    settings = dict(zip(names, plain, strict=False))
    for key in list(settings):
        if key in _AS_EXPECTED and op != "conv" and settings.pop(key) != _AS_EXPECTED[key]:
            return None
    settings.pop("share", None)
    if op == "flatten":
        settings.setdefault("start", 0)
    return _make_step(op, inputs, {key: _plain_value(value) for key, value in settings.items()})


def _plain_value(value: Any) -> Any:
    """Return a setting as JSON has it."""
    return list(value) if isinstance(value, (list, tuple)) else value


def _make_step(op: str, inputs: list[int], settings: dict[str, Any] | None = None, weights: Sequence[str] = ()) -> Step:
    return {"op": op, "inputs": inputs, "settings": settings or {}, "weights": list(weights)}
