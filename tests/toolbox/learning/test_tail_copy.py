"""Copies of tails: the same answers from plain values and tensors, or none at all where an operation is unknown."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from support.traced import Untraceable, tail_at
from support.training import Tail, noise
from support.workloads.tiny import Tiny
from torch import Tensor, fx, nn

from codecbench import TensorSpec
from codecbench.toolbox.learning.geometry import Geometry
from codecbench.toolbox.learning.state import halved, load_halved
from codecbench.toolbox.learning.synthesis import SynthesisNetwork
from codecbench.toolbox.learning.tail_copy import TailCopy
from codecbench.toolbox.transforms.tiling import Tiling
from codecbench.workers.process.graph_split import SplitModel

SPLITS = ("input", "stem", "fine", "down", "coarse")


def copied(split: str, *, exported: bool = False) -> tuple[fx.GraphModule, TailCopy, Tensor]:
    tail, spec = tail_at(split, exported=exported)
    xs = noise(3, *spec.max_shape)
    made = TailCopy.of(tail, xs[:2])
    assert made is not None
    return tail, made, xs


class Model(nn.Module):
    """A function of a module and a batch, to be traced."""

    def __init__(self, function: Callable[[nn.Module, Tensor], object], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


def copy_of(function: Callable[[nn.Module, Tensor], object], **parts: nn.Module | Tensor) -> TailCopy | None:
    return TailCopy.of(fx.symbolic_trace(Model(function, **parts).eval()), torch.rand(2, 4, 6, 6))


# --- copies


def test_a_flattening_module_is_copied() -> None:
    xs = torch.rand(2, 4, 6, 6)
    made = copy_of(lambda m, x: m.linear(m.flatten(x)), flatten=nn.Flatten(), linear=nn.Linear(144, 3))
    assert made is not None
    assert made(xs)[1].shape == (2, 3)
    assert copy_of(lambda m, x: m.flatten(x), flatten=nn.Flatten(1, 2)) is None


@pytest.mark.parametrize("split", SPLITS)
def test_a_copy_of_an_exported_tail_is_that_of_the_traced_one(split: str) -> None:
    tail, made, xs = copied(split, exported=True)
    _, expected, _ = copied(split)
    features, output = made(xs)
    assert torch.allclose(output, tail(xs)[0], atol=1e-5)
    for feature, other in zip(features, expected(xs)[0], strict=True):
        assert torch.allclose(feature, other, atol=1e-5)
    assert sum(weight.numel() for weight in made.parameters()) == sum(w.numel() for w in expected.parameters())
    read = TailCopy.empty(json.loads(json.dumps(made.to_json())))
    read.load_state_dict(made.state_dict())
    assert torch.equal(read(xs)[1], output)


def test_a_convolution_without_bias_and_options_is_folded_too() -> None:
    layers = nn.Sequential(
        nn.Conv2d(4, 6, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3)
    )
    probes = [torch.rand(count, 4, 6, 6) for count in (2, 3)]
    tail = SplitModel(Untraceable(layers), probes, TensorSpec((4, 6, 6))).split("input")[1]
    made = TailCopy.of(tail, probes[0])
    assert made is not None
    assert torch.allclose(made(probes[1])[1], tail(probes[1])[0], atol=1e-5)
    assert [step["op"] for step in made.steps if step["op"] != "constant"] == ["conv", "relu", "flatten", "linear"]


class WritesTwice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.relu()
        z = y.add_(1.0 * x)
        return z + y


def test_an_operator_that_writes_to_what_is_read_again_has_no_copy() -> None:
    xs = torch.rand(2, 4, 6, 6)
    probes = [torch.rand(count, 4, 6, 6) for count in (2, 3)]
    tail = SplitModel(Untraceable(WritesTwice()), probes, TensorSpec((4, 6, 6))).split("input")[1]
    assert TailCopy.of(tail, xs) is None


@pytest.mark.parametrize("split", SPLITS)
def test_a_copy_has_the_outputs_of_the_tail(split: str) -> None:
    tail, made, xs = copied(split)
    features, output = made(xs)
    assert torch.allclose(output, tail(xs), atol=1e-5)
    assert len(features) == len(made.kept)


def test_the_last_activation_of_each_size_is_kept() -> None:
    features, _ = copied("input")[1](noise(1, 3, 8, 8))
    assert [tuple(feature.shape[1:]) for feature in features] == [(4, 8, 8), (6, 4, 4)]
    _, made, xs = copied("fine")
    assert [tuple(feature.shape[1:]) for feature in made(xs)[0]] == [(6, 4, 4)]


def test_weights_are_its_own() -> None:
    tail, made, xs = copied("stem")
    before = copy.deepcopy(tail.state_dict())
    made(xs)[1].square().sum().backward()
    with torch.no_grad():
        for parameter in made.parameters():
            assert parameter.grad is not None
            parameter.sub_(parameter.grad)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tail.state_dict().items())
    assert not torch.allclose(made(xs)[1], tail(xs), atol=1e-3)


@pytest.mark.parametrize("split", SPLITS)
def test_plain_values_and_tensors_make_it_again(split: str) -> None:
    _, made, xs = copied(split)
    again = TailCopy.empty(json.loads(json.dumps(made.to_json())))
    assert again.to_json() == made.to_json()
    again.load_state_dict(made.state_dict())
    (features, output), (target_features, target) = again(xs), made(xs)
    assert torch.equal(output, target)
    assert all(torch.equal(a, b) for a, b in zip(features, target_features, strict=True))


KNOWN: dict[str, tuple[Callable[..., object], dict[str, nn.Module | Tensor]]] = {
    "arithmetic": (lambda m, x: (x - m.a) / m.b * x + m.a, {"a": torch.rand(4, 1, 1), "b": torch.rand(1) + 1}),
    "pooling": (
        lambda m, x: m.mean(m.max(x)), {"max": nn.MaxPool2d(3, 2, 1), "mean": nn.AdaptiveAvgPool2d((2, 1))},
    ),
    "groups": (lambda m, x: m.conv(x), {"conv": nn.Conv2d(4, 8, 3, (2, 1), 2, 2, groups=2, bias=False)}),
    "nothing": (lambda m, x: m.drop(m.same(x)) + x, {"same": nn.Identity(), "drop": nn.Dropout(0.9)}),
    "functions": (lambda m, x: F.relu(torch.add(torch.relu(x), x), inplace=True), {}),
    "flattened": (lambda m, x: m.linear(torch.flatten(x, 2)), {"linear": nn.Linear(36, 3)}),
    "normalised": (lambda m, x: m.norm(m.conv(x)), {"conv": nn.Conv2d(4, 3, 1), "norm": nn.BatchNorm2d(3)}),
    "twice": (lambda m, x: m.conv(m.conv(x)), {"conv": nn.Conv2d(4, 4, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_operations_do_what_the_tails_do(name: str) -> None:
    function, parts = KNOWN[name]
    made, xs = copy_of(function, **parts), noise(2, 4, 6, 6)
    assert made is not None
    again = TailCopy.empty(json.loads(json.dumps(made.to_json())))
    again.load_state_dict(made.state_dict())
    assert torch.allclose(again(xs)[1], Model(function, **parts).eval()(xs), atol=1e-5)


UNKNOWN: dict[str, tuple[Callable[..., object], dict[str, nn.Module | Tensor]]] = {
    "another layer": (lambda m, x: m.act(x), {"act": nn.Sigmoid()}),
    "another function": (lambda m, x: F.adaptive_avg_pool2d(x, 1), {}),
    "a method": (lambda m, x: x.mean(1), {}),
    "a number": (lambda m, x: x * 2, {}),
    "a factor of what is added": (lambda m, x: torch.add(x, x, alpha=2), {}),
    "a keyword": (lambda m, x: torch.flatten(x, start_dim=1), {}),
    "an end": (lambda m, x: torch.flatten(x, 1, 2), {}),
    "a list": (lambda m, x: torch.cat([x, x]), {}),
    "several outputs": (lambda m, x: (torch.relu(x), x), {}),
    "an output before the end": (lambda m, x: (torch.relu(x), m.conv(x))[0], {"conv": nn.Conv2d(4, 4, 1)}),
    "whole numbers": (lambda m, x: x + m.n, {"n": torch.arange(6)}),
    "pooling with a larger rim": (lambda m, x: m.max(x), {"max": nn.MaxPool2d(4, 4, ceil_mode=True)}),
    "pooling with gaps": (lambda m, x: m.max(x), {"max": nn.MaxPool2d(2, 2, dilation=2)}),
    "padding by name": (lambda m, x: m.conv(x), {"conv": nn.Conv2d(4, 4, 3, padding="same")}),
    "mirrored padding": (lambda m, x: m.conv(x), {"conv": nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")}),
    "normalisation alone": (lambda m, x: m.norm(x), {"norm": nn.BatchNorm2d(4)}),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_tail_with_anything_else_has_no_copy(name: str) -> None:
    function, parts = UNKNOWN[name]
    assert copy_of(function, **parts) is None


def test_what_is_no_traced_graph_has_no_copy() -> None:
    assert TailCopy.of(Tail(torch.relu), torch.rand(2, 3)) is None
    probes = [torch.rand(count, 3, 8, 8) for count in (2, 3)]
    tail = SplitModel(Tiny().build_model(), probes, TensorSpec((3, 8, 8), image=True)).split("stem")[1]
    assert TailCopy.of(tail, torch.rand(2, 6, 4, 4)) is None  # it pools by a function


@pytest.mark.parametrize(
    "step",
    [
        {"op": "exec", "inputs": [0], "settings": {}, "weights": []},
        {"op": "relu", "inputs": [1], "settings": {}, "weights": []},
        {"op": "relu", "inputs": [-1], "settings": {}, "weights": []},
    ],
    ids=["operation", "ahead", "negative"],
)
def test_steps_that_are_none_are_refused(step: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="step 0 of a tail's copy is invalid"):
        TailCopy.empty({"steps": [step], "kept": [], "shapes": {}})


# --- within a decoder


def decoder(made: TailCopy | None, shape: tuple[int, ...]) -> tuple[SynthesisNetwork, Geometry]:
    geometry = Geometry(Tiling((1, 2), (4, 4)), shape)
    matrix = noise(geometry.values, 6) * 0.2
    return SynthesisNetwork(geometry, matrix, noise(geometry.values, seed=1), 4, 1, made), geometry


@pytest.mark.parametrize("split", ["input", "fine"])
def test_a_decoder_runs_the_copy_on_the_transform(split: str) -> None:
    tail, made, xs = copied(split)
    network, geometry = decoder(made, tuple(xs.shape[1:]))
    alone, _ = decoder(None, tuple(xs.shape[1:]))
    grid = noise(2, 6, *geometry.grid)
    with torch.no_grad():
        decoded, copy_output = network(grid, geometry)
        # The transform is all there is at the start.
        assert torch.allclose(decoded, alone(grid, geometry)[0], atol=1e-5)
        for output in (copy_output, network.tail_output(grid, geometry)):
            assert output is not None
            assert torch.allclose(output, tail(decoded), atol=1e-4)
    assert network.lifts


def test_what_the_copy_says_comes_into_the_decoder() -> None:
    _, made, xs = copied("fine")
    network, geometry = decoder(made, tuple(xs.shape[1:]))
    nn.init.normal_(network.out.weight)
    loss = network(noise(2, 6, *geometry.grid), geometry)[0].square().sum()
    trained = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    gradients = dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))
    assert not any(name.startswith("given_tail.") for name in trained)
    reached = [name for name, gradient in gradients.items() if bool(gradient.any())]
    assert any(name.startswith("tail.") for name in reached)
    assert any(name.startswith("lifts.") for name in reached)


def test_a_decoder_with_a_copy_comes_back_from_its_state() -> None:
    _, made, xs = copied("fine")
    network, geometry = decoder(made, tuple(xs.shape[1:]))
    nn.init.normal_(network.out.weight)
    kept = halved(network)
    again, _ = decoder(TailCopy.empty(json.loads(json.dumps(made.to_json()))), tuple(xs.shape[1:]))
    load_halved(again, kept)
    grid = noise(2, 6, *geometry.grid)
    with torch.no_grad():
        assert torch.equal(again(grid, geometry)[0], network(grid, geometry)[0])


def test_outputs_at_places_are_not_averaged_with_those_of_the_mirror_image() -> None:
    made = copy_of(lambda m, x: m.layer(x), layer=nn.Conv2d(4, 2, 3))
    assert made is not None
    network, geometry = decoder(made, (4, 8, 8))
    grid = noise(1, 6, *geometry.grid)
    with torch.no_grad():
        once, twice = (network.steered(grid, geometry, (-9.0, 9.0), mirrored=mirrored) for mirrored in (False, True))
    assert torch.equal(once, twice)


# --- steering


def divergence(predicted: Tensor, target: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(predicted, 1), F.log_softmax(target, 1), log_target=True, reduction="none").sum(1)


def test_steering_goes_half_the_way_where_losses_are_quadratic() -> None:
    made = copy_of(lambda m, x: m.layer(torch.flatten(x, 1)), layer=nn.Linear(4 * 6 * 6, 1))
    assert made is not None
    xs, target = noise(3, 4, 6, 6), 5 + noise(3, 1, seed=2)
    with torch.no_grad():
        before, after = made(xs)[1], made(made.steered(xs, target))[1]
    assert torch.allclose(after, (before + target) / 2, atol=1e-2)


@pytest.mark.parametrize("split", SPLITS)
def test_steering_brings_what_the_tail_says_nearer(split: str) -> None:
    _, made, xs = copied(split)
    with torch.no_grad():
        before = made(xs)[1]
        target = before + 0.3 * noise(*before.shape, seed=3)
        after = made(made.steered(xs, target))[1]
    assert float(divergence(after, target).sum()) < 0.8 * float(divergence(before, target).sum())


def test_steering_leaves_what_is_there_already() -> None:
    _, made, xs = copied("fine")
    with torch.no_grad():
        assert torch.allclose(made.steered(xs, made(xs)[1]), xs, atol=1e-4)


def test_a_sample_is_steered_without_regard_to_others() -> None:
    _, made, xs = copied("fine")
    with torch.no_grad():
        target = made(xs)[1] + noise(len(xs), made(xs)[1].shape[1], seed=3)
        together = made.steered(xs, target)
        alone = torch.cat([made.steered(x[None], w[None]) for x, w in zip(xs, target, strict=True)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_decoder_steers_by_the_tail_before_training() -> None:
    tail, made, xs = copied("fine")
    network, geometry = decoder(made, tuple(xs.shape[1:]))
    nn.init.normal_(network.out.weight)
    with torch.no_grad():
        for weight in made.parameters():  # training changes the copy
            weight.add_(0.1 * noise(*weight.shape))
        grid = noise(2, 6, *geometry.grid)
        plain, copy_output = network(grid, geometry)
        assert copy_output is not None
        moved = network.steered(grid, geometry, (-1e9, 1e9), mirrored=False)
        before, after = (divergence(tail(samples), copy_output) for samples in (plain, moved))
        held = network.steered(grid, geometry, (0.0, 0.5), mirrored=False)
    assert bool((after < before).all())
    assert float(held.min()) >= 0.0
    assert float(held.max()) <= 0.5


def test_of_pictures_a_decoder_steers_by_the_mirror_image_too() -> None:
    tail, made, xs = copied("input")
    network, geometry = decoder(made, tuple(xs.shape[1:]))
    grid = noise(2, 6, *geometry.grid)
    with torch.no_grad():
        plain, _ = network(grid, geometry)  # what the transform gives, since the network starts at nothing
        target = (tail(plain) + tail(plain.flip(-1))) / 2
        moved = network.steered(grid, geometry, (-1e9, 1e9), mirrored=True)
        expected = made.steered(plain, target)
    assert torch.allclose(moved, expected, atol=1e-4)
    assert not torch.allclose(moved, plain, atol=1e-4)
