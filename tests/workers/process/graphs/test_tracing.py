"""Models that torch.fx cannot trace, of optional arguments, of structured outputs and of values of two bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from support.traced import Untraceable
from torch import Tensor, nn

from codecbench.codec import TensorSpec
from codecbench.errors import PluginError
from codecbench.workers.process.graph_split import SplitModel
from codecbench.workers.process.graphs.outputs import output_tensors, same_outputs

IMAGE = TensorSpec((3, 8, 8), image=True)


def batch(count: int, *shape: int) -> Tensor:
    return torch.rand(count, *(shape or (3, 8, 8)), generator=torch.Generator().manual_seed(count))


def cut_model(model: nn.Module, spec: TensorSpec = IMAGE) -> SplitModel:
    torch.manual_seed(0)
    return SplitModel(model, [batch(2, *spec.max_shape), batch(3, *spec.max_shape)], spec)


def assert_every_cut_holds(split: SplitModel, x: Tensor) -> None:
    for name in split.cuts:
        head, tail = split.split(name)
        with torch.inference_mode():
            crossing = head(x)
            assert same_outputs(tail(crossing), split.full(x)), name
            assert split.cuts[name].spec.mismatch(crossing.shape[1:], str(crossing.dtype)[6:]) is None


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(4, 5)

    def features(self, x: Tensor) -> Tensor:
        return self.stem(x)

    def forward(self, x: Tensor) -> Any:
        return self.classifier(self.features(x).mean((2, 3)))


def test_both_ways_find_the_same_cuts_but_for_their_inner_names() -> None:
    traced, exported = cut_model(Net()), cut_model(Untraceable(Net()))
    assert (traced.way, exported.way) == ("fx", "export")
    assert list(traced.cuts) == ["input", "stem.0", "stem.1", "stem", "mean", "classifier"]
    assert list(exported.cuts) == ["input", "body.stem.0", "body.stem.1", "body.stem", "body.mean", "body"]
    assert [cut.spec for cut in traced.cuts.values()] == [cut.spec for cut in exported.cuts.values()]
    assert_every_cut_holds(exported, batch(5))


class TakesOptions(Net):
    def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 2.0, *, flip: bool = False) -> Any:  # type: ignore[override]
        x = super().forward(x.flip(0) if flip else x) * scale
        return x if mask is None else x * mask


@pytest.mark.parametrize("model", [TakesOptions(), Untraceable(TakesOptions())], ids=["fx", "export"])
def test_arguments_with_defaults_have_them(model: nn.Module) -> None:
    split = cut_model(model)
    assert split.way == ("export" if isinstance(model, Untraceable) else "fx")
    assert len(split.cuts) == 7
    assert_every_cut_holds(split, batch(4))


class TakesTwo(Net):
    def forward(self, x: Tensor, y: Tensor, scale: float = 1.0) -> Any:  # type: ignore[override]
        return x + y * scale


def test_an_argument_without_a_default_is_one_input_too_many() -> None:
    with pytest.raises(PluginError, match=r"^the model takes 2 inputs; a workload's model takes one tensor$"):
        cut_model(TakesTwo())


@dataclass
class Found:
    logits: Tensor
    kept: tuple[Tensor, None]
    count: int


class GivesMuch(Net):
    def forward(self, x: Tensor) -> Any:
        y = self.features(x)
        return {"found": Found(self.classifier(y.mean((2, 3))), (y.amax((2, 3)), None), 3), "none": None}


@pytest.mark.parametrize("model", [GivesMuch(), Untraceable(GivesMuch())], ids=["fx", "export"])
def test_outputs_in_dicts_dataclasses_and_tuples(model: nn.Module) -> None:
    split = cut_model(model)
    x = batch(4)
    assert [tuple(tensor.shape) for tensor in output_tensors(split.full(x))] == [(4, 5), (4, 4)]
    assert next(name for name in split.cuts if name.endswith("stem"))
    assert_every_cut_holds(split, x)


class MaskOfLengths(nn.Module):
    """A mask made of the batch size and the length is used after both layers, and written to."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(x.shape[0], x.shape[1], 1)
        mask[:, :1] = 0.5
        x = self.first(x) * mask
        return self.second(x) * mask


@pytest.mark.parametrize("model", [MaskOfLengths(), Untraceable(MaskOfLengths())], ids=["fx", "export"])
def test_masks_made_of_lengths_do_not_cross(model: nn.Module) -> None:
    spec = TensorSpec((None, 4), max_length=12)
    split = SplitModel(model, [batch(2, 12, 4), batch(3, 6, 4)], spec)
    assert [cut.spec.shape for cut in split.cuts.values()] == [(None, 4), (None, 6), (None, 6), (None, 6), (None, 6)]
    assert_every_cut_holds(split, batch(1, 9, 4))


class MaskOfEarlierLengths(nn.Module):
    """What is written to the mask is made of the width of a tensor before the cut, which no later tensor has."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        mask, wide = torch.ones(x.shape[0], 1), self.first(x).repeat(1, x.shape[0])
        mask.copy_(torch.full((x.shape[0], 1), 0.5) + wide.shape[1])
        return self.second(torch.relu(wide[:, :6])) * mask


@pytest.mark.parametrize("wrap", [lambda net: net, Untraceable], ids=["fx", "export"])
def test_a_mask_that_the_tail_cannot_make_is_no_obstacle_elsewhere(wrap: Any) -> None:
    split = cut_model(wrap(MaskOfEarlierLengths()), TensorSpec((4,)))
    assert "input" in split.cuts
    assert_every_cut_holds(split, batch(3, 4))


class MaskOfData(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.zeros(x.shape[0], 4)
        mask[:, :2] = x[:, :2]
        return self.first(x) * mask


def test_a_tensor_that_data_are_written_to_crosses() -> None:
    split = cut_model(MaskOfData(), TensorSpec((4,)))
    assert list(split.cuts) == ["input", "mul"]
    assert_every_cut_holds(split, batch(5, 4))


class OneByOne(Net):
    def forward(self, x: Tensor) -> Any:
        y = self.features(x).reshape(1, 4, 64)
        return self.classifier(y.mean(2)), y.amax(2)


def test_a_model_of_a_fixed_batch_runs_sample_by_sample() -> None:
    split = cut_model(OneByOne())
    assert split.way == "export, sample by sample"
    assert "stem" in split.cuts
    x = batch(4)
    assert_every_cut_holds(split, x)
    logits, largest = split.full(x)
    assert torch.equal(logits[1:2], split.model(x[1:2])[0])
    assert largest.shape == (4, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("wrap", [lambda net: net, Untraceable], ids=["fx", "export"])
def test_values_of_two_bytes_cross_as_float32(dtype: torch.dtype, wrap: Any) -> None:
    split = cut_model(wrap(Net()).to(dtype))
    name = next(name for name in split.cuts if name.endswith("stem"))
    spec = split.cuts[name].spec
    assert (spec.dtype, spec.model_dtype, spec.raw_bytes((4, 8, 8))) == ("float32", str(dtype)[6:], 512)
    assert split.cuts["input"].spec == IMAGE
    assert len(split.cuts) == 6
    x = batch(4)
    assert_every_cut_holds(split, x)
    crossing = split.split(name)[0](x)
    assert torch.equal(crossing, crossing.to(dtype).float())


class Pool(Net):
    def forward(self, x: Tensor) -> Any:
        return self.suppressed(super().forward(x))

    def suppressed(self, logits: Tensor) -> Tensor:
        return logits if logits.max() > 0 else -logits


def test_a_model_that_cannot_be_cut_names_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PluginError) as caught:
        cut_model(Pool())
    text = str(caught.value)
    line = Pool.suppressed.__code__.co_firstlineno + 1
    assert text.startswith(
        "Pool cannot be cut: torch.export stops at `return logits if logits.max() > 0 else -logits` "
        f"(test_tracing.py, line {line}): "
    )
    assert capfd.readouterr() == ("", "")
    assert text.endswith("; wrap the backbone in a module of its own, and leave post-processing to the metric")
    assert "\n" not in text
