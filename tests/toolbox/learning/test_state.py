"""States of learned codecs: tensors there and back, damaged ones refused, and weights of half precision."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import noise
from torch import nn

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
