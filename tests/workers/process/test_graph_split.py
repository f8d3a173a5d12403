"""Every cut's head and tail give the whole model's output, bit for bit, and nothing is cut that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.traced import Untraceable
from torch import Tensor, nn

from codecbench.codec import TensorSpec
from codecbench.errors import PluginError, UsageError
from codecbench.workers.process.graph_split import SplitModel
from codecbench_datasets.cifar10.model import ResNet20

IMAGE = TensorSpec((3, 8, 8), image=True)


def images(*batches: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(n, 3, 8, 8, generator=generator) for n in batches]


def cut_model(model: nn.Module, probes: Sequence[Tensor] | None = None, spec: TensorSpec = IMAGE) -> SplitModel:
    return SplitModel(model, probes or images(2, 3), spec)


def assert_every_cut_holds(split: SplitModel, inputs: Sequence[Tensor]) -> None:
    """On inputs that are none of the probes; and no tail changes the tensor that crosses."""
    for name, cut in split.cuts.items():
        head, tail = split.split(name)
        for x in inputs:
            with torch.inference_mode():
                whole, crossing = split.model(x.clone()), head(x.clone())
                kept = crossing.clone()
                assert torch.equal(tail(crossing), whole), name
                assert torch.equal(crossing, kept), f"the tail at {name} changed the tensor that crosses"
                assert cut.spec.mismatch(crossing.shape[1:], str(crossing.dtype).removeprefix("torch.")) is None


class Branches(nn.Module):
    """Two branches, a concatenation and a residual, with in-place activations."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.left, self.right = nn.Conv2d(4, 2, 1), nn.Sequential(nn.Conv2d(4, 2, 3, 1, 1), nn.ReLU(inplace=True))
        self.residual = Residual()
        self.pool, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.residual(torch.cat([self.left(x), self.right(x)], 1))
        return self.classifier(torch.flatten(self.pool(x), 1))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(x) + x)


def test_branches_residuals_and_concatenations() -> None:
    split = cut_model(Branches())
    # Within the branches and within the residual two tensors cross, so nothing there is a cut.
    assert list(split.cuts) == [
        "input", "stem.0", "stem.1", "stem", "cat", "residual.add", "residual", "pool", "flatten", "classifier",
    ]  # fmt: skip
    assert split.cuts["input"].spec == IMAGE
    assert split.cuts["stem"].spec == TensorSpec((4, 8, 8))
    assert split.cuts["flatten"].spec == TensorSpec((4,))
    assert_every_cut_holds(split, images(1, 5))


def test_resnet20() -> None:
    torch.manual_seed(0)
    x = torch.rand(3, 3, 16, 16)
    split = SplitModel(ResNet20(), [x[:2], x], TensorSpec((3, 16, 16), image=True))
    assert {"input", "normalize", "stem", "stage1", "stage2.0", "stage2", "stage3", "pool"} <= set(split.cuts)
    assert not [name for name in split.cuts if "conv2" in name or "shortcut" in name]
    assert_every_cut_holds(split, [torch.rand(1, 3, 16, 16)])


def test_a_tail_that_starts_in_place_works_on_a_copy_and_is_differentiable() -> None:
    split = cut_model(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(256, 2)))
    head, tail = split.split("0")
    crossing = head(images(4)[0]).detach().requires_grad_()
    tail(crossing).sum().backward()
    assert crossing.grad is not None
    assert (crossing < 0).any()


class SizeTakenEarly(nn.Module):
    """The batch size is read at the start and used at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.classifier = nn.Conv2d(3, 4, 3, 1, 1), nn.Linear(256, 2)

    def forward(self, x: Tensor) -> Tensor:
        count, values = x.size(0), 4 * x.shape[2] * x.shape[3]
        return self.classifier(torch.relu(self.conv(x)).view(count, values))


def test_shape_integers_that_cross_a_cut_come_from_the_tensor_or_are_constants() -> None:
    split = cut_model(SizeTakenEarly())
    assert list(split.cuts) == ["input", "conv", "relu", "view", "classifier"]
    assert_every_cut_holds(split, images(1, 7))


class SizeThatNobodyKnows(nn.Module):
    """The number of all values is read at the start: at the ReLU it follows from no axis, once it is used it may."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        values = x.numel()
        return torch.relu(self.conv(x).flatten(1)) / values


def test_no_cut_where_the_tail_could_not_know_a_shape() -> None:
    split = cut_model(SizeThatNobodyKnows())
    assert list(split.cuts) == ["input", "truediv"]
    assert_every_cut_holds(split, images(1, 7))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 3, 1), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(self.act(self.conv(x))))


def test_a_module_called_twice_is_cut_behind_each_call() -> None:
    split = cut_model(Twice())
    assert len(split.cuts) == 5
    assert {"input", "conv", "act"} < set(split.cuts)
    assert_every_cut_holds(split, images(4))


class Constants(nn.Module):
    """Constants computed from nothing, from a parameter and from a shape, before and behind the cuts."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        early = torch.arange(8.0) * self.scale.exp()
        x = self.second(self.first(x) + early)
        return x * early + torch.arange(x.size(3))


def test_constants_live_on_both_sides() -> None:
    split = cut_model(Constants())
    assert {"input", "first", "add", "second"} < set(split.cuts)
    assert_every_cut_holds(split, images(4))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front, self.gru, self.classifier = nn.Linear(4, 6), nn.GRU(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.gru(self.front(x))
        return self.classifier(outputs)


def test_a_gru_and_an_axis_that_varies() -> None:
    split = SplitModel(Recurrent(), [torch.rand(2, 12, 4), torch.rand(3, 6, 4)], TensorSpec((None, 4), max_length=12))
    assert {name: cut.spec.shape for name, cut in split.cuts.items()} == {
        "input": (None, 4), "front": (None, 6), "gru": (None, 5), "classifier": (None, 3),
    }  # fmt: skip
    assert split.cuts["gru"].spec.max_length == 12
    assert_every_cut_holds(split, [torch.rand(1, 9, 4), torch.rand(5, 1, 4)])


class UsesTheLastState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.classifier = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs, last = self.gru(x)
        return self.classifier(outputs + last.transpose(0, 1))


def test_two_tensors_in_a_tuple_are_no_cut() -> None:
    split = SplitModel(UsesTheLastState(), [torch.rand(2, 6, 4), torch.rand(3, 6, 4)], TensorSpec((6, 4)))
    assert list(split.cuts) == ["input", "add", "classifier"]
    assert_every_cut_holds(split, [torch.rand(1, 6, 4)])


class LeavesThingsLying(nn.Module):
    """Values that nobody uses, and a ReLU called for its effect alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        x.mean()
        y.relu_()
        z = self.second(y)
        y.sum()
        return z.flatten(1)


def test_unused_values_hinder_no_cut_and_effects_are_kept() -> None:
    split = cut_model(LeavesThingsLying())
    assert list(split.cuts) == ["input", "first", "second", "flatten"]
    assert_every_cut_holds(split, images(4))


class InputIsAModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.input(x).flatten(1)


def test_a_module_called_input_does_not_take_the_inputs_name() -> None:
    split = cut_model(InputIsAModule())
    assert split.cuts["input"].spec == IMAGE
    assert [c.spec.shape for c in split.cuts.values()] == [(3, 8, 8), (2, 8, 8), (128,)]
    assert_every_cut_holds(split, images(4))


class Decides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class TakesTwo(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            Decides(),
            r"^Decides cannot be cut: torch\.export stops at `return x if x.* \(test_graph_split\.py, line \d+\): "
            r"what it does depends on values .*; wrap the backbone .*, and leave post-processing to the metric$",
        ),
        (nn.Linear(5, 2), r"the model does not run on an input of shape \(2, 3, 8, 8\): mat1 and mat2"),
    ],
)
def test_a_model_that_cannot_be_cut_says_why_in_one_line(model: nn.Module, reason: str) -> None:
    with pytest.raises(PluginError, match=reason) as caught:
        cut_model(model)
    assert "\n" not in str(caught.value)


def test_a_model_of_two_inputs_is_refused() -> None:
    with pytest.raises(PluginError, match="the model takes 2 inputs; a workload's model takes one tensor"):
        cut_model(TakesTwo())


def test_an_unknown_cut_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="no split point 'steem'; did you mean 'stem'"):
        cut_model(Branches()).cut("steem")


def test_splitting_keeps_training_modules_out() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout(0.9), nn.Flatten())
    split = cut_model(model.train())
    assert not split.model.training
    assert_every_cut_holds(split, images(4))


# --- random graphs --------------------------------------------------------------------------------------------------

Step = tuple[str, int, int]


class Program(nn.Module):
    """Runs steps, each of which takes one or two earlier values of 3 channels, and gives the sum of the last two."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self.steps = steps
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 3, 1, 1) for _ in steps)
        self.mix = nn.ModuleList(nn.Conv2d(6, 3, 1) for _ in steps)

    def forward(self, x: Tensor) -> Tensor:
        values, count = [x], x.size(0)
        for i, (kind, a, b) in enumerate(self.steps):
            # Recent values more often than old ones, so that the graph is deep enough to have cuts.
            first, second = values[-1 - a % min(2, len(values))], values[-1 - b % min(4, len(values))]
            values.append(self._apply(i, kind, first, second, count))
        return values[-1].reshape(count, -1)

    def _apply(self, i: int, kind: str, first: Tensor, second: Tensor, count: Any) -> Tensor:
        apply: dict[str, Callable[[], Tensor]] = {
            "conv": lambda: self.convs[i](first),
            "relu": lambda: torch.relu(first),
            "relu_": lambda: first.clone().relu_(),
            "add": lambda: first + second,
            "cat": lambda: self.mix[i](torch.cat([first, second], 1)),
            "constant": lambda: first + torch.arange(8.0),
            "count": lambda: first / count,
            "fold": lambda: first.reshape(count, -1).reshape(first.shape),
        }
        return apply[kind]()


KINDS = ("conv", "relu", "relu_", "add", "cat", "constant", "count", "fold")


STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=7)


@settings(max_examples=8, deadline=None)
@given(STEPS)
def test_every_cut_of_a_random_exported_graph_holds(steps: list[Step]) -> None:
    torch.manual_seed(0)
    model = Untraceable(Program(steps))
    exported = cut_model(model)
    assert exported.way == "export"
    for name in exported.cuts:
        head, tail = exported.split(name)
        with torch.inference_mode():
            assert torch.equal(tail(head(images(4)[0]))[0], model(images(4)[0])), name


def test_head_and_tail_of_an_exported_model_share_out_its_weights() -> None:
    model = Untraceable(Branches())
    head, tail = cut_model(model).split("body.residual")
    counts = [sum(parameter.numel() for parameter in part.parameters()) for part in (head, tail, model)]
    assert counts[0] + counts[1] == counts[2]
    assert min(counts) > 0


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_every_cut_of_a_random_graph_holds(steps: list[Step]) -> None:
    torch.manual_seed(0)
    split = cut_model(Program(steps))
    assert "input" in split.cuts
    assert_every_cut_holds(split, images(4))
