"""The frozen tail as a teacher: a reconstruction should yield the features and outputs of the original tensor.

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from codecbench.toolbox.transforms.sensitivity import floating_tensors

FEATURE_WEIGHT = 0.1
MAX_FEATURES = 3
"""The largest number of stages of the tail whose features are compared, in addition to its outputs."""


@dataclass(frozen=True)
class TailOutput:
    """The tail's results for a batch: the `features` of some stages, and its floating-point `outputs`."""

    features: list[Tensor]
    outputs: list[Tensor]


class Teacher:
    """Runs a frozen tail, batch normalisation folded, and keeps the features of up to three stages.

    The features of a stage are a value of the traced tail on which alone everything after it depends. A tail that is
    not a traced graph gives its outputs only. `xs` is a batch, (n, *shape).
    """

    def __init__(self, tail: nn.Module) -> None:
        self._tail: nn.Module = tail
        self._stages: list[fx.Node] = []
        if isinstance(tail, fx.GraphModule):
            self._tail = folded_tail = folded(tail)
            self._stages = _stages(folded_tail)
        for parameter in self._tail.parameters():
            parameter.requires_grad_(False)
        self._tail = self._tail.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, xs: Tensor) -> TailOutput:
        """Return features and outputs, with gradients if grad mode is on."""
        if not isinstance(self._tail, fx.GraphModule):
            return TailOutput([], list(floating_tensors(self._tail(xs))))
        kept: dict[fx.Node, Tensor] = {}
        output = _Keeping(self._tail, self._stages, kept).run(xs)
        return TailOutput([kept[node] for node in self._stages], list(floating_tensors(output)))


def tail_loss(predicted: TailOutput, target: TailOutput) -> Tensor:
    """Return the loss of the tail's features and outputs, a mean over samples.

    It is a sum of two terms: for features and outputs, FEATURE_WEIGHT times the squared error relative to the mean
    square; for each output over classes (its last axis), the Kullback-Leibler divergence of its softmax in nats
    (Hinton, Vinyals and Dean 2015, section 2, at temperature 1).
    """
    outputs = list(zip(predicted.outputs, target.outputs, strict=True))
    pairs = [*zip(predicted.features, target.features, strict=True), *outputs]
    total = torch.zeros(())
    for a, b in pairs:
        total = total + FEATURE_WEIGHT * (a - b).square().mean() / b.square().mean().clamp(min=1e-12)
    for a, b in outputs:
        if a.ndim > 1 and a.shape[-1] > 1:
            total = total + divergence(a, b).mean()
    return total


def output_loss(predicted: Tensor, target: TailOutput) -> Tensor:
    """Return the loss of the tail's first output alone."""
    return tail_loss(TailOutput([], [predicted]), TailOutput([], target.outputs[:1]))


def divergence(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of the softmax over classes (the last axis, which is summed), in nats."""
    logarithms = F.log_softmax(predicted, -1), F.log_softmax(target, -1)
    return F.kl_div(*logarithms, log_target=True, reduction="none").sum(-1)


class _Keeping(fx.Interpreter):
    """Runs a graph and keeps the values of some of its nodes."""

    def __init__(self, module: fx.GraphModule, nodes: Sequence[fx.Node], kept: dict[fx.Node, Tensor]) -> None:
        super().__init__(module)
        self._nodes = frozenset(nodes)
        self._kept = kept

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n in self._nodes:
            self._kept[n] = value
        return value


def folded(tail: fx.GraphModule) -> fx.GraphModule:
    """Return a copy with each batch normalisation folded into the convolution before it, if nothing else reads that."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    module = copy.deepcopy(tail).eval()
    layers = dict(module.named_modules())
    for node in list(module.graph.nodes):
        before = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if node.op != "call_module" or before is None or before.op != "call_module" or len(before.users) != 1:
            continue
        convolution, normalisation = layers[str(before.target)], layers[str(node.target)]
        if not isinstance(convolution, nn.Conv2d | nn.Conv1d) or not isinstance(
            normalisation, nn.BatchNorm2d | nn.BatchNorm1d
        ):
            continue
        parent, _, name = str(before.target).rpartition(".")
        setattr(module.get_submodule(parent), name, fuse_conv_bn_eval(convolution, normalisation))
        node.replace_all_uses_with(before)
        module.graph.erase_node(node)
    _fold_operators(module)
    module.recompile()
    return module


def _fold_operators(module: fx.GraphModule) -> None:
    """Fold batch normalisations into convolutions in a graph of operators, as torch.export gives it."""
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    operators = torch.ops.aten
    convolutions = (operators.conv2d.default, operators.conv1d.default)
    for node in list(module.graph.nodes):
        before = node.args[0] if node.args else None
        if node.target is not operators.batch_norm.default or not isinstance(before, fx.Node):
            continue
        if before.target not in convolutions or len(before.users) != 1:
            continue
        bias_or_none = before.args[2] if len(before.args) > 2 else None
        sources = [before.args[1], bias_or_none, *node.args[1:5]]
        if not all(source is None or (isinstance(source, fx.Node) and source.op == "get_attr") for source in sources):
            continue
        values: list[Any] = [
            None if source is None else operator.attrgetter(str(source.target))(module) for source in sources
        ]
        weight, bias, scale, shift, mean, variance = values
        fused = fuse_conv_bn_weights(weight, bias, mean, variance, node.args[7], scale, shift)
        with module.graph.inserting_before(before):
            names = [f"{before.name}_folded_{kind}" for kind in ("weight", "bias")]
            for name, value in zip(names, fused, strict=True):
                setattr(module, name, value)
            new = [module.graph.get_attr(name) for name in names]
        before.args = (before.args[0], *new, *before.args[3:])
        node.replace_all_uses_with(before)
        module.graph.erase_node(node)
        for source in dict.fromkeys(source for source in sources if source is not None):
            if not source.users:
                module.graph.erase_node(source)


def _stages(module: fx.GraphModule) -> list[fx.Node]:
    """Return up to MAX_FEATURES evenly spread nodes on which alone everything after them depends."""
    nodes = list(module.graph.nodes)
    index = {node: i for i, node in enumerate(nodes)}
    last_use = {node: max((index[user] for user in node.users), default=-1) for node in nodes}
    from_input = _dependent(nodes)
    bottlenecks = []
    for at, node in enumerate(nodes):
        alive = [other for other in nodes[: at + 1] if other in from_input and last_use[other] > at]
        if alive == [node] and node.op != "placeholder" and _is_nonlinear(module, node):
            bottlenecks.append(node)
    if len(bottlenecks) <= MAX_FEATURES:
        return bottlenecks
    picks = [round((i + 1) * (len(bottlenecks) - 1) / MAX_FEATURES) for i in range(MAX_FEATURES)]
    return [bottlenecks[pick] for pick in picks]


def _is_nonlinear(module: fx.GraphModule, node: fx.Node) -> bool:
    """Return True for an activation or a pooling, recognised by name: a stage of a network ends there."""
    target = type(module.get_submodule(str(node.target))).__name__ if node.op == "call_module" else str(node.target)
    return any(word in target.lower() for word in ("relu", "gelu", "silu", "pool", "tanh", "sigmoid"))


def _dependent(nodes: Sequence[fx.Node]) -> set[fx.Node]:
    """Return the nodes that depend on the input."""
    found: set[fx.Node] = set()
    for node in nodes:
        if node.op == "placeholder" or any(before in found for before in node.all_input_nodes):
            found.add(node)
    return found
