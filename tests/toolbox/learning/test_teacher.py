"""The frozen tail as a teacher: its own outputs, features that all goes through, gradients to the tensor alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.traced import residual, tail_at
from support.training import Tail, noise
from torch import Tensor, fx, nn

from codecbench.toolbox.learning.teacher import FEATURE_WEIGHT, MAX_FEATURES, TailOutput, Teacher, folded, tail_loss

SPLITS = ("input", "stem", "fine", "down", "coarse")


def reachable(start: fx.Node, without: fx.Node) -> set[fx.Node]:
    """Nodes that depend on `start` by ways around `without`."""
    found, ahead = set(), [start]
    while ahead:
        node = ahead.pop()
        if node is not without and node not in found:
            found.add(node)
            ahead += node.users
    return found


# --- the teacher


@pytest.mark.parametrize("split", SPLITS)
def test_outputs_are_the_tails(split: str) -> None:
    tail, spec = tail_at(split)
    xs = noise(3, *spec.max_shape)
    found = Teacher(tail)(xs)
    (output,) = found.outputs
    assert torch.allclose(output, tail(xs), atol=1e-5)
    assert all(len(feature) == 3 for feature in found.features)


@pytest.mark.parametrize("split", SPLITS)
def test_features_are_what_all_the_rest_is_computed_from(split: str) -> None:
    teacher = Teacher(tail_at(split)[0])
    assert 1 <= len(teacher._stages) <= MAX_FEATURES
    nodes = list(teacher._tail.graph.nodes)
    (source,), (sink,) = ([node for node in nodes if node.op == op] for op in ("placeholder", "output"))
    for stage in teacher._stages:
        assert sink not in reachable(source, without=stage)


def test_features_are_spread_over_the_tail() -> None:
    tail, spec = tail_at("input")
    sizes = [tuple(feature.shape[1:]) for feature in Teacher(tail)(noise(1, *spec.max_shape)).features]
    assert len(set(sizes)) == len(sizes) == 3
    assert sizes[-1] == (6, 1, 1)


def test_gradients_go_to_the_tensor_alone() -> None:
    tail, spec = tail_at("stem")
    tail.requires_grad_(True)
    before = copy.deepcopy(tail.state_dict())
    teacher, xs = Teacher(tail), noise(2, *spec.max_shape).requires_grad_()
    target = teacher(noise(2, *spec.max_shape, seed=1))
    tail_loss(
        teacher(xs), TailOutput([f.detach() for f in target.features], [o.detach() for o in target.outputs])
    ).backward()
    assert xs.grad is not None
    assert bool(xs.grad.any())
    assert not any(parameter.requires_grad for parameter in teacher._tail.parameters())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in tail.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in tail.state_dict().items())


def test_a_tail_that_is_no_graph_gives_its_floating_outputs() -> None:
    def several(x: Tensor) -> Any:
        return {"scores": x.sum(1), "classes": x.argmax(1), "text": "none", "more": [x * 2, (x + 1,)]}

    xs = noise(3, 4)
    output = Teacher(Tail(several))(xs)
    assert output.features == []
    assert [tuple(output.shape) for output in output.outputs] == [(3,), (3, 4), (3, 4)]


# --- folding


def test_normalisation_goes_into_the_convolution_before() -> None:
    tail = fx.symbolic_trace(residual())
    node_count = len(tail.graph.nodes)
    module = folded(tail)
    used = [module.get_submodule(str(n.target)) for n in module.graph.nodes if n.op == "call_module"]
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in used)
    assert len(tail.graph.nodes) == node_count == len(module.graph.nodes) + 6
    xs = torch.rand(2, 3, 8, 8)
    assert torch.allclose(module(xs), tail(xs), atol=1e-5)


def test_a_convolution_that_something_else_reads_keeps_its_normalisation() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.normalisation = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.convolution(x)
            return self.normalisation(y) + y

    tail = fx.symbolic_trace(Branch().eval())
    tail.normalisation.running_mean.fill_(2.0)
    xs = noise(2, 2, 3, 3)
    assert torch.equal(folded(tail)(xs), tail(xs))


# --- losses


def test_equal_outputs_have_no_loss_and_others_the_more_the_more_they_differ() -> None:
    tail, spec = tail_at("stem")
    teacher, xs, other = Teacher(tail), noise(8, *spec.max_shape), noise(8, *spec.max_shape, seed=1)
    target = teacher(xs)
    losses = [float(tail_loss(teacher(xs + share * other), target)) for share in (0.0, 0.01, 0.1, 0.5, 2.0)]
    assert losses[0] == pytest.approx(0, abs=1e-9)
    assert losses == sorted(losses)
    assert losses[1] > 1e-8


def test_losses_are_in_units_of_the_mean_square_and_nats() -> None:
    a, b = noise(4, 3, 2, 2), noise(4, 3, 2, 2, seed=1)
    squares = FEATURE_WEIGHT * (a - b).square().mean() / b.square().mean()
    assert torch.allclose(tail_loss(TailOutput([a], []), TailOutput([b], [])), squares)
    assert torch.allclose(tail_loss(TailOutput([9 * a], []), TailOutput([9 * b], [])), squares)
    p, q = noise(4, 5), noise(4, 5, seed=1)
    relative = FEATURE_WEIGHT * (p - q).square().mean() / q.square().mean()
    p_share, q_share = F.softmax(p, -1), F.softmax(q, -1)
    nats = (q_share * (q_share / p_share).log()).sum(-1).mean()
    assert torch.allclose(tail_loss(TailOutput([], [p]), TailOutput([], [q])), relative + nats, atol=1e-6)
    one, other = noise(4, 1), noise(4, 1, seed=1)  # a single number is no distribution over classes
    assert float(tail_loss(TailOutput([], [one]), TailOutput([], [other]))) == pytest.approx(
        float(FEATURE_WEIGHT * (one - other).square().mean() / other.square().mean())
    )
