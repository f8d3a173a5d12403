"""A trainable copy of a tail, as plain values and tensors: what a decoder on the edge starts from.

A tail is a traced graph; its copy is a list of steps, each an operation of OPERATIONS on the results of earlier steps,
and can so be written into a state and read without executing code. A tail with any other operation has no copy.

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
"""`op`, `inputs` (numbers of earlier steps, 0 being the tensor that crosses), its `settings`, and `weights` (names)."""

INPUT = 0

NEAR = 1e-3
"""A loss from which on steering goes its full way: a thousandth of a nat changes no class."""


def _flatten(x: Tensor, start: int) -> Tensor:
    return x.flatten(start)


OPERATIONS: Mapping[str, Callable[..., Tensor]] = {
    "conv": F.conv2d, "linear": F.linear, "relu": F.relu, "add": torch.add, "sub": torch.sub, "mul": torch.mul,
    "div": torch.div, "flatten": _flatten, "mean": F.adaptive_avg_pool2d, "max": F.max_pool2d, "same": lambda x: x,
    "constant": lambda x: x,
}  # fmt: skip
"""Operations by name: inputs first, then weights, then settings."""

_FUNCTIONS: Mapping[Any, str] = {
    operator.add: "add", torch.add: "add", operator.iadd: "add", operator.sub: "sub", operator.mul: "mul",
    operator.truediv: "div", F.relu: "relu", torch.relu: "relu", torch.flatten: "flatten",
}  # fmt: skip


class TailCopy(nn.Module):
    """The steps with weights of their own. Called with a batch, it gives the results of `kept` steps and the last."""

    def __init__(self, steps: Sequence[Step], weights: Mapping[str, Tensor], kept: Sequence[int]) -> None:
        super().__init__()
        self.steps, self.kept = list(steps), list(kept)
        self.weights = nn.ParameterDict({name: nn.Parameter(tensor.clone()) for name, tensor in weights.items()})

    def forward(self, xs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Features of the kept steps, and the output."""
        results = [xs]
        for step in self.steps:
            inputs = [results[i] for i in step["inputs"]]
            weights = [self.weights[name] if name else None for name in step["weights"]]
            results.append(OPERATIONS[step["op"]](*inputs, *weights, **step["settings"]))
        return [results[i] for i in self.kept], results[-1]

    def to_json(self) -> dict[str, Any]:
        """Plain values that `empty` takes."""
        shapes = {name: list(tensor.shape) for name, tensor in self.weights.items()}
        return {"steps": self.steps, "kept": self.kept, "shapes": shapes}

    @classmethod
    def empty(cls, values: Mapping[str, Any]) -> TailCopy:
        """A copy whose weights are about to be loaded. Raises ValueError for steps that are none."""
        for at, step in enumerate(values["steps"]):
            if step["op"] not in OPERATIONS or any(not 0 <= i <= at for i in step["inputs"]):
                raise ValueError(f"step {at} of a tail's copy is none: {step['op']!r}")
        weights = {name: torch.zeros(shape) for name, shape in values["shapes"].items()}
        return cls(values["steps"], weights, values["kept"])

    @classmethod
    def of(cls, tail: nn.Module, example: Tensor) -> TailCopy | None:
        """A copy of a tail with its weights, batch normalisation folded; None where an operation is unknown.

        `example` is a batch at the split. Kept is, of each spatial size, the last activation.
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
                if not isinstance(node.args[0], fx.Node) or numbers.get(node.args[0]) != len(steps):
                    return None
            else:
                step = _step(module, node, numbers, weights)
                if step is None:
                    return None
                steps.append(step)
                numbers[node] = len(steps)
        copied = cls(steps, weights, [])
        copied.kept = copied._activations(example)
        return copied

    def steered(self, samples: Tensor, target: Tensor) -> Tensor:
        """Samples (n, *shape), moved so that their output goes about half of the way to `target`.

        One step down the gradient of each sample's loss: the Kullback-Leibler divergence over classes, the squared
        error of any other output. The step is the loss over the squared norm of its gradient (Polyak 1987, section
        5.3), which halves the way where the loss is quadratic; it is shorter where the loss is next to nothing, and
        both are mostly rounding.
        """
        with torch.inference_mode(mode=False), torch.enable_grad():
            start, goal = samples.clone().requires_grad_(), target.clone()
            losses = _output_losses(self(start)[1], goal)
            (gradient,) = torch.autograd.grad(losses.sum(), start)
        losses = losses.detach().clamp(min=0.0)
        squares = gradient.flatten(1).square().sum(1).clamp(min=1e-30)
        lengths = losses / squares * losses / (losses + NEAR)
        return samples - lengths.reshape(-1, *[1] * (samples.ndim - 1)) * gradient

    @torch.no_grad()
    def _activations(self, example: Tensor) -> list[int]:
        """The last step that is an activation, for each spatial size."""
        found: dict[tuple[int, ...], int] = {}
        kept, self.kept = self.kept, list(range(len(self.steps) + 1))
        results, _ = self(example)
        self.kept = kept
        for number, step in enumerate(self.steps, start=1):
            if step["op"] == "relu" and results[number].ndim == 4:
                found[tuple(results[number].shape[2:])] = number
        return sorted(found.values())


def _output_losses(predicted: Tensor, target: Tensor) -> Tensor:
    """The loss of each sample's output, (n,)."""
    if predicted.ndim == 2 and predicted.shape[1] > 1:
        return divergence(predicted, target)
    return (predicted - target).flatten(1).square().sum(1)


def _step(
    module: fx.GraphModule, node: fx.Node, numbers: Mapping[fx.Node, int], weights: dict[str, Tensor]
) -> Step | None:
    """A node as a step, its weights put into `weights`; None where it is no operation of OPERATIONS."""
    inputs = [numbers[value] for value in node.args if isinstance(value, fx.Node) and value in numbers]
    plain = [value for value in node.args if not isinstance(value, fx.Node)]
    if len(inputs) + len(plain) != len(node.args) or node.kwargs.keys() - {"inplace"}:
        return None

    def taken(name: str, tensor: Tensor | None) -> str:
        if tensor is None:
            return ""
        weights[name.replace(".", "_")] = tensor.detach()
        return name.replace(".", "_")

    if node.op == "get_attr":
        value = operator.attrgetter(str(node.target))(module)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return None
        return _made("constant", [], weights=[taken(str(node.target), value)])
    if node.op == "call_function":
        op = _FUNCTIONS.get(node.target)
        if op == "flatten" and len(plain) <= 1:
            return _made(op, inputs, {"start": plain[0] if plain else 0})
        return _made(op, inputs) if op is not None and not plain else None
    if node.op != "call_module":
        return None
    layer, name = module.get_submodule(str(node.target)), str(node.target)
    if isinstance(layer, nn.Conv2d) and isinstance(layer.padding, tuple) and layer.padding_mode == "zeros":
        settings = {
            "stride": list(layer.stride), "padding": list(layer.padding), "dilation": list(layer.dilation),
            "groups": layer.groups,
        }  # fmt: skip
        return _made(
            "conv", inputs, settings, [taken(f"{name}.weight", layer.weight), taken(f"{name}.bias", layer.bias)]
        )
    if isinstance(layer, nn.Linear):
        return _made("linear", inputs, {}, [taken(f"{name}.weight", layer.weight), taken(f"{name}.bias", layer.bias)])
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return _made("mean", inputs, {"output_size": layer.output_size})
    if isinstance(layer, nn.MaxPool2d) and not layer.return_indices and not layer.ceil_mode and layer.dilation == 1:
        settings = {"kernel_size": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
        return _made("max", inputs, settings)
    if isinstance(layer, nn.ReLU):
        return _made("relu", inputs)
    return _made("same", inputs) if isinstance(layer, nn.Identity | nn.Dropout) else None


def _made(op: str, inputs: list[int], settings: dict[str, Any] | None = None, weights: Sequence[str] = ()) -> Step:
    return {"op": op, "inputs": inputs, "settings": settings or {}, "weights": list(weights)}
