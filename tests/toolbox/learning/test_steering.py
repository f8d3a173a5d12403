"""Steering: two looks at an image through a frozen copy of the tail, and one step towards their mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from support.traced import tail_at
from support.training import Tail, noise, training
from torch import Tensor, fx, nn

from codecbench import FitData, TensorSpec
from codecbench.errors import UnsuitedModelError
from codecbench.kit.samples import samples
from codecbench.toolbox.learning.state import State
from codecbench.toolbox.learning.steering import Steering, mean_of_looks, steered
from codecbench.toolbox.learning.tail_copy import TailCopy
from codecbench.toolbox.learning.teacher import divergence

IMAGE = TensorSpec((3, 16, 16), image=True)


def images(count: int) -> Tensor:
    return torch.stack(samples(IMAGE, count))


def data_of(tail: nn.Module) -> FitData:
    return dataclasses.replace(training(images(6)), spec=IMAGE, tail=tail, held_out_count=6)


def traced(function: Callable[[Tensor], Tensor]) -> fx.GraphModule:
    return fx.symbolic_trace(Tail(function))


def network() -> fx.GraphModule:
    return tail_at("input")[0]


def test_the_scores_of_a_steered_image_are_nearer_to_the_mean_of_both_looks() -> None:
    tail, xs = network(), images(6)
    steering = Steering.of(data_of(tail))
    moved = torch.stack([steering.image(x) for x in xs])
    with torch.no_grad():
        before, mirrored, after = tail(xs)[0], tail(xs.flip(-1))[0], tail(moved)[0]
    target = (before + mirrored) / 2
    assert (divergence(after, target) < divergence(before, target)).all()
    assert not torch.equal(moved, xs)
    assert 0 <= float(moved.min()) <= float(moved.max()) <= 1


def test_an_image_that_is_its_own_mirror_image_stays() -> None:
    half = images(1)[0][..., :8]
    x = torch.cat([half, half.flip(-1)], -1)
    assert torch.allclose(Steering.of(data_of(network())).image(x), x, atol=1e-6)


def test_the_mean_is_of_both_looks_and_the_step_stays_within_limits() -> None:
    tail = TailCopy.of(network(), images(2))
    assert tail is not None
    xs = images(3)
    with torch.no_grad():
        output, mirrored = tail(xs)[1], tail(xs.flip(-1))[1]
        assert torch.equal(mean_of_looks(tail, xs, output), (output + mirrored) / 2)
    moved = steered(tail, xs, output + noise(*output.shape), (0.3, 0.6))
    assert 0.3 <= float(moved.min()) <= float(moved.max()) <= 0.6 + 1e-6


def test_a_state_gives_the_same_steps() -> None:
    steering, x = Steering.of(data_of(network())), images(1)[0]
    state = steering.to_bytes()
    read = Steering.from_bytes(state)
    assert torch.equal(read.image(x), steering.image(x))
    assert read.to_bytes() == state


@pytest.mark.parametrize("state", [b"", b"none", State({}).to_bytes(), State({"tail": 3}).to_bytes()])
def test_a_damaged_state_is_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match=r"no state|no copy"):
        Steering.from_bytes(state)


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (Tail(lambda x: x.flatten(1)), "layers that cannot be copied"),
        (traced(lambda x: torch.tanh(torch.flatten(x, 1))), "layers that cannot be copied"),
        (traced(torch.relu), r"needs scores of classes, and this model gives \(3, 16, 16\) a sample"),
    ],
    ids=["not traced", "an unknown operation", "a map"],
)
def test_a_tail_that_cannot_help_is_refused_with_the_reason(tail: nn.Module, reason: str) -> None:
    with pytest.raises(UnsuitedModelError, match=reason):
        Steering.of(data_of(tail))


def test_few_samples_without_held_out_ones_suffice() -> None:
    data = dataclasses.replace(data_of(network()), held_out_count=0, held_out=lambda size: iter(()))
    assert Steering.of(data).image(images(1)[0]).shape == (3, 16, 16)
