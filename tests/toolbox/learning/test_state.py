"""What runs on a device is exact: whole numbers whose sums no batch, thread or machine changes; and states."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import noise
from torch import Tensor, nn

from codecbench import TensorSpec
from codecbench.measure import torch_threads
from codecbench.toolbox.learning.integer_transform import LONG_BLOCK, IntegerTransform
from codecbench.toolbox.learning.rates import quantise_dead_zone
from codecbench.toolbox.learning.state import (
    State,
    bytes_tensor,
    halved,
    load_halved,
    tensor_bytes,
    tiling_from_json,
    tiling_to_json,
)
from codecbench.toolbox.transforms.tiling import Tiling

IMAGE = TensorSpec((3, 8, 8), image=True)
FEATURES = TensorSpec((8, 6, 6))
LONG = TensorSpec((32, 8, 8))
SPECS = [IMAGE, FEATURES, LONG]
IDS = ["image", "features", "long"]


def transform(spec: TensorSpec, components: int = 9, max_magnitude: float = 4.0) -> IntegerTransform:
    """Of the whole sample as one block, steps of about a deviation."""
    values = int(np.prod(spec.max_shape))
    matrix = noise(components, values, seed=1) / values**0.5
    return IntegerTransform.of(matrix, 0.3 + noise(values, seed=2), spec, max_magnitude)


def blocks(spec: TensorSpec, count: int) -> Tensor:
    """Samples as whole numbers, one block each; the first and second are as great as can be."""
    made = transform(spec)
    xs = torch.rand(count, *spec.max_shape, generator=torch.Generator().manual_seed(0))
    xs = (xs * 255).round() / 255 if spec.image else 2 * noise(count, *spec.max_shape)
    xs[0], xs[1] = 1.0, 0.0 if spec.image else -1.0
    if not spec.image:
        xs[:2] *= 1e9
    return made.integers(xs, spec.image).flatten(1)


# --- the transform


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_sums_are_those_of_integers(spec: TensorSpec) -> None:
    made, whole = transform(spec), blocks(spec, 20)
    long = whole.shape[1] > LONG_BLOCK
    assert made.weight.dtype == whole.dtype == (torch.float64 if long else torch.float32)
    # The blocks that take the most: all values at the limit, each with the sign of its weight.
    worst = torch.sign(made.weight) * made.limit
    for rows in (whole, worst, -worst):
        assert torch.equal(rows, rows.round())
        sums = rows.long() @ made.weight.T.long() - made.offset.long()
        assert sums.abs().max() < 2 ** (53 if long else 24)
        assert torch.equal(made(rows.T).T.double() * made.scale.double(), sums.double())


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_symbols_depend_on_neither_batch_nor_threads(spec: TensorSpec) -> None:
    made, whole = transform(spec, components=40), blocks(spec, 64)
    made.scale.mul_(1 / 64)  # so that there is much to be rounded
    with torch_threads(1):
        together = quantise_dead_zone(made(whole.T))
        assert torch.equal(together, torch.cat([quantise_dead_zone(made(row[:, None])) for row in whole], 1))
    with torch_threads(2):
        assert torch.equal(together, quantise_dead_zone(made(whole.T)))
    assert together.unique().numel() > 50


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_whole_numbers_stand_for_the_matrix(spec: TensorSpec) -> None:
    values = int(np.prod(spec.max_shape))
    matrix, mean = noise(5, values, seed=1) / values**0.5, noise(values, seed=2)
    made = IntegerTransform.of(matrix, mean, spec, 4.0)
    # 24 bits hold a sum, so each weight is a multiple of some limit * (sum of weights) / 2^23.
    assert torch.allclose(made.matrix(), matrix, atol=2e-2 * float(matrix.abs().max()))
    x = noise(1, *spec.max_shape).clamp(0, 1) if spec.image else noise(1, *spec.max_shape)
    given_components = made(made.integers(x, spec.image).flatten(1).T).T
    assert torch.allclose(given_components.float(), (x.flatten(1) - mean) @ matrix.T, atol=0.02)


def test_components_without_weights_are_zero() -> None:
    made = IntegerTransform.of(torch.zeros(2, 48), torch.ones(48), TensorSpec((3, 4, 4)), 1.0)
    assert torch.equal(made(torch.full((48, 1), 1023.0)), torch.zeros(2, 1))


@pytest.mark.parametrize("max_magnitude", [0.0, 1e-40, 1e-20, 1e20, 1e35])
def test_training_values_of_any_size_make_a_grid(max_magnitude: float) -> None:
    made = transform(FEATURES, max_magnitude=max_magnitude)
    whole = made.integers(torch.full((1, *FEATURES.max_shape), 2.0), False)
    assert whole.isfinite().all()
    assert float(whole.abs().max()) <= made.limit
    assert made(whole.flatten(1).T).isfinite().all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    x = torch.zeros(1, *FEATURES.max_shape)
    x[0, 3, 2, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        transform(FEATURES).integers(x, False)


def test_pixels_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="not numbers"):
        transform(IMAGE).integers(torch.full((1, 3, 8, 8), torch.nan), True)


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_a_transform_comes_back_from_its_tensors(spec: TensorSpec) -> None:
    made = transform(spec)
    again = IntegerTransform.from_tensors(State.from_bytes(State({}, made.tensors()).to_bytes()).tensors)
    assert (again.grid, again.limit) == (made.grid, made.limit)
    for name in ("weight", "offset", "scale"):
        assert torch.equal(getattr(again, name), getattr(made, name))
        assert getattr(again, name).dtype == getattr(made, name).dtype
    with pytest.raises(KeyError):
        IntegerTransform.from_tensors({})


# --- states

ABOUT = {"tiling": [[1, 2], [8, 8]], "limits": [0.1, 1e30], "name": "é"}


def test_states_come_back() -> None:
    tensors = {"a": noise(2, 3), "b": torch.arange(5, dtype=torch.int8), "c": torch.tensor(1.5), "d": noise(4, 3).T}
    tensors |= {
        "e": noise(5, 2, 3).half(),
        "f": torch.tensor(-1.5).half(),
        "g": noise(3, 0).half(),
        "h": noise(4, 3).half().T,
    }
    state = State(ABOUT, tensors).to_bytes()
    again = State.from_bytes(state)
    assert again.about == ABOUT
    assert again.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert again.tensors[name].dtype == tensor.dtype
        assert torch.equal(again.tensors[name], tensor)
    assert State(again.about, again.tensors).to_bytes() == state


def test_weights_in_a_state_deflate_better_than_numbers_do() -> None:
    weights = noise(200, 200).half()
    state = State(ABOUT, {"weights": weights}).to_bytes()
    assert len(zlib.compress(state)) < 0.96 * len(zlib.compress(weights.numpy().tobytes()))


@pytest.mark.parametrize(
    "planes", [torch.zeros(3, 4, dtype=torch.uint8), torch.zeros(2, 4), torch.zeros((), dtype=torch.uint8)]
)
def test_what_is_no_pair_of_planes_is_refused(planes: torch.Tensor) -> None:
    from safetensors.torch import save

    about = torch.frombuffer(bytearray(b"{}"), dtype=torch.uint8)
    with pytest.raises(ValueError, match="no state"):
        State.from_bytes(save({"about": about, "planes of a": planes}))


@given(st.integers(0, 10_000))
@settings(deadline=None)
def test_states_that_are_cut_short_are_refused(cut: int) -> None:
    state = State(ABOUT, {"a": torch.ones(40)}).to_bytes()
    with pytest.raises(ValueError, match="no state"):
        State.from_bytes(state[: cut % len(state)])


@pytest.mark.parametrize("state", [b"", b"{}", b"\xff" * 99, bytes(99)])
def test_foreign_states_are_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="no state"):
        State.from_bytes(state)


def test_states_that_say_nothing_of_themselves_are_refused() -> None:
    from safetensors.torch import save

    for tensors in ({"a": torch.ones(3)}, {"about": torch.tensor([123, 200], dtype=torch.uint8)}):
        with pytest.raises(ValueError, match="no state"):
            State.from_bytes(save(tensors))


@given(st.binary(max_size=20))
def test_bytes_are_a_tensor(values: bytes) -> None:
    assert tensor_bytes(State.from_bytes(State({}, {"x": bytes_tensor(values)}).to_bytes()).tensors["x"]) == values


def test_tilings_come_back() -> None:
    for tiling in (Tiling((), ()), Tiling((1, 2), (8, 4)), Tiling((0,), (16,))):
        assert tiling_from_json(tiling_to_json(tiling)) == tiling


# --- weights


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)
        self.register_buffer("unit", torch.tensor(1 / 3))
        self.register_buffer("great", torch.tensor([1 / 3, 1e6]))


def test_halving_rounds_the_network_itself_but_for_single_and_great_numbers() -> None:
    network = Scaled()
    weight, before = network.inner.weight, network.inner.weight.detach().clone()
    kept = halved(network)
    assert {name: tensor.dtype for name, tensor in kept.items()} == {
        "network.inner.weight": torch.float16, "network.inner.bias": torch.float16, "network.unit": torch.float32,
        "network.great": torch.float32,
    }  # fmt: skip
    assert network.inner.weight is weight
    assert torch.equal(weight, before.half().float())
    assert not torch.equal(weight, before)
    assert float(network.unit) == np.float32(1 / 3)
    assert network.great.tolist() == [np.float32(1 / 3), 1e6]


def test_what_was_halved_is_loaded_again_and_nothing_else() -> None:
    network, other = Scaled(), Scaled().train()
    kept = halved(network)
    load_halved(other, {**kept, "prior": torch.zeros(3)})
    assert not other.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    for damaged in ({}, {**kept, "network.more": torch.zeros(1)}, {**kept, "network.inner.bias": torch.zeros(5)}):
        with pytest.raises(ValueError, match="another network"):
            load_halved(other, damaged)
