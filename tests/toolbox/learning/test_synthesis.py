"""Decoders that start as the linear inverse."""

from __future__ import annotations

import pytest
import torch
from support.training import noise
from torch import Tensor, fx, nn

from codecbench.toolbox.learning.geometry import Geometry
from codecbench.toolbox.learning.rates import (
    quantise_dead_zone,
)
from codecbench.toolbox.learning.synthesis import ResidualBlock, SynthesisNetwork
from codecbench.toolbox.learning.tail_copy import TailCopy
from codecbench.toolbox.transforms.tiling import Tiling


def synthesis(
    shape: tuple[int, ...], tiling: Tiling, width: int = 4
) -> tuple[SynthesisNetwork, Geometry, Tensor, Tensor]:
    geometry = Geometry(tiling, shape)
    matrix, mean = noise(geometry.values, 5, seed=3) * 0.1, noise(geometry.values, seed=4)
    return SynthesisNetwork(geometry, matrix, mean, width, 1), geometry, matrix, mean


DECODED = {
    "blocks": ((3, 8, 12), Tiling((1, 2), (4, 4))), "padded": ((3, 7, 9), Tiling((1, 2), (4, 2))),
    "odd": ((2, 9, 6), Tiling((1, 2), (3, 3))), "sequence": ((40, 6), Tiling((0,), (16,))),
    "vector": ((9,), Tiling((), ())), "whole": ((2, 4, 4), Tiling.one_block((2, 4, 4))),
    "places": ((70, 3, 3), Tiling((1, 2), (1, 1))),
}  # fmt: skip


@pytest.mark.parametrize("case", DECODED)
def test_a_decoder_starts_as_the_linear_inverse(case: str) -> None:
    decoder, geometry, matrix, mean = synthesis(*DECODED[case])
    grid = quantise_dead_zone(noise(2, 5, *geometry.grid) * 3)
    blocks = geometry.from_grid(grid) @ matrix.T + mean
    with torch.no_grad():
        assert torch.allclose(decoder(grid, geometry)[0], geometry.samples(geometry.unblock(blocks)), atol=1e-5)


@pytest.mark.parametrize("case", DECODED)
@pytest.mark.parametrize("factor", [1.4, 0.5])
def test_a_rescaled_decoder_gives_the_same_of_longer_steps(case: str, factor: float) -> None:
    decoder, geometry, *_ = synthesis(*DECODED[case])
    with torch.no_grad():  # as after training
        for i, parameter in enumerate(decoder.parameters()):
            parameter.add_(noise(*parameter.shape, seed=i) * 0.1)
        grid = noise(2, 5, *geometry.grid) * 3
        before, _ = decoder(grid, geometry)
        decoder.rescale(factor)
        assert torch.allclose(decoder(grid / factor, geometry)[0], before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", DECODED)
def test_gradients_reach_every_weight_after_a_step(case: str) -> None:
    torch.manual_seed(0)
    decoder, geometry, *_ = synthesis(*DECODED[case])
    nn.init.normal_(decoder.out.weight)
    for layer in decoder.modules():
        if isinstance(layer, ResidualBlock):
            nn.init.normal_(layer.second.weight)
    loss = decoder(noise(2, 5, *geometry.grid) * 3, geometry)[0].square().sum()
    gradients = torch.autograd.grad(loss, list(decoder.parameters()))
    assert all(bool(gradient.any()) for gradient in gradients)


def test_one_decoder_serves_sequences_of_all_lengths() -> None:
    decoder, *_ = synthesis((40, 6), Tiling((0,), (16,)))
    for length in (1, 16, 17, 40):
        geometry = Geometry(Tiling((0,), (16,)), (length, 6))
        assert decoder(noise(1, 5, *geometry.grid), geometry)[0].shape == (1, length, 6)


def test_a_constant_tensor_makes_a_decoder() -> None:
    geometry = Geometry(Tiling((1, 2), (4, 4)), (1, 4, 4))
    decoder = SynthesisNetwork(geometry, torch.zeros(16, 1), torch.full((16,), 3.7), 4, 1)
    assert torch.allclose(decoder(torch.zeros(1, 1, 1, 1), geometry)[0], torch.tensor(3.7))


def test_blocks_of_one_position_read_a_copy_of_the_tail() -> None:
    """Both hidden layers have the size of the tensor then, and so of the copy's features."""
    geometry = Geometry(Tiling((1, 2), (1, 1)), (70, 6, 6))
    layers = (nn.Conv2d(70, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    tail = TailCopy.of(fx.symbolic_trace(nn.Sequential(*layers).eval()), noise(2, 70, 6, 6))
    assert tail is not None
    decoder = SynthesisNetwork(geometry, noise(70, 5), noise(70), 4, 1, tail)
    samples, output = decoder(noise(2, 5, 6, 6), geometry)
    assert samples.shape == (2, 70, 6, 6)
    assert output is not None
    assert output.shape == (2, 4)
