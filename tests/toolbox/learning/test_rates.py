"""Blocks as planes and back, quantisers and rates, scales as the prior has them, and decoders that start linear."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.training import noise
from torch import Tensor, nn

from codecbench import TensorSpec
from codecbench.toolbox.coding.context_prior import ContextPrior
from codecbench.toolbox.coding.scale_model import LEVELS, MAX_MAGNITUDE, WEIGHT_GRID
from codecbench.toolbox.learning.geometry import Geometry, geometry_of
from codecbench.toolbox.learning.rates import (
    ScaleContext,
    laplace_bits,
    quantise_dead_zone,
    straight_through,
    with_noise,
)
from codecbench.toolbox.learning.synthesis import ResidualBlock, SynthesisNetwork
from codecbench.toolbox.transforms.tiling import Tiling

VARYING = [
    TensorSpec((5, None), max_length=60),
    TensorSpec((None, 5), max_length=60),
    TensorSpec((2, 9, None), max_length=40),
    TensorSpec((None, 2, 9), max_length=40),
    TensorSpec((2, None, 9), max_length=40),
    TensorSpec((None,), max_length=300),
    TensorSpec((None,), max_length=10),
]
FIXED = [(3, 32, 32), (1, 12, 20), (12, 9, 7), (6, 10), (2, 3, 8, 8), (101,), (5000,), (1,), (600, 3, 3)]


def shapes_of(spec: TensorSpec) -> list[tuple[int, ...]]:
    """Of samples of some lengths."""
    lengths = [n for n in (1, 2, 10, 16, 17, 40, 60, 300) if n <= (spec.max_length or 0)]
    return [tuple(n if m is None else m for m in spec.shape) for n in lengths]


def geometries() -> dict[str, tuple[Tiling, tuple[int, ...], Geometry]]:
    """Of a tiling for a spec and of a shape; the geometry."""
    cases = [(Tiling.of(TensorSpec(shape)), shape) for shape in FIXED]
    cases += [(Tiling.one_block(shape), shape) for shape in FIXED if len(shape) > 1]
    cases += [(Tiling.of(spec), shape) for spec in VARYING for shape in shapes_of(spec)]
    return {f"{tiling.axes}{tiling.sizes} {shape}": (tiling, shape, Geometry(tiling, shape)) for tiling, shape in cases}


GEOMETRIES = geometries()


def numbered(shape: Sequence[int], count: int = 2) -> Tensor:
    return torch.arange(count * math.prod(shape)).reshape(count, *shape).float()


# --- blocks and planes


@pytest.mark.parametrize("case", GEOMETRIES)
def test_samples_planes_and_blocks_are_there_and_back(case: str) -> None:
    tiling, shape, geometry = GEOMETRIES[case]
    xs = numbered(shape)
    planes = geometry.planes(xs)
    high, wide = (count * size for count, size in zip(geometry.grid, geometry.block, strict=True))
    assert planes.shape == (2, geometry.channels, high, wide)
    assert torch.equal(geometry.samples(planes), xs)
    blocks = geometry.blocks(planes)
    assert torch.equal(geometry.columns(planes), blocks.transpose(1, 2))
    assert blocks.shape == (2, math.prod(geometry.grid), geometry.values)
    assert torch.equal(geometry.unblock(blocks), planes)
    assert geometry.values == tiling.values(shape)
    latents = noise(2, math.prod(geometry.grid), 7)
    grid = geometry.to_grid(latents)
    assert grid.shape == (2, 7, *geometry.grid)
    assert torch.equal(geometry.from_grid(grid), latents)


@pytest.mark.parametrize("case", GEOMETRIES)
def test_blocks_are_those_of_the_tiling_with_channels_first(case: str) -> None:
    tiling, shape, geometry = GEOMETRIES[case]
    xs, order = numbered(shape), geometry.order
    blocks = geometry.blocks(geometry.planes(xs)).flatten(0, 1)
    assert torch.equal(blocks, torch.from_numpy(tiling.split(xs.numpy()))[:, order])
    assert torch.equal(order.sort().values, torch.arange(geometry.values))
    if tiling.axes in ((), tuple(range(len(shape) - len(tiling.axes), len(shape)))):
        assert torch.equal(order, torch.arange(geometry.values))


@pytest.mark.parametrize("case", GEOMETRIES)
def test_a_grid_has_an_axis_for_each_that_is_tiled(case: str) -> None:
    tiling, shape, geometry = GEOMETRIES[case]
    tiled = [-(-shape[axis] // size) for axis, size in zip(tiling.axes, tiling.sizes, strict=True)]
    is_whole = not tiling.axes or (len(shape) > 1 and len(tiling.axes) == len(shape))
    assert geometry.is_one_block == is_whole
    assert geometry.grid == ((1, 1) if is_whole else tuple([1] * (2 - len(tiled)) + tiled))


@pytest.mark.parametrize("spec", VARYING, ids=str)
def test_geometries_of_one_tiling_agree_whatever_the_length(spec: TensorSpec) -> None:
    tiling = Tiling.of(spec)
    found = [Geometry(tiling, shape) for shape in shapes_of(spec)]
    assert len(found) > 2
    assert len({(g.is_one_block, g.block, g.channels, g.values) for g in found}) == 1


def test_a_geometry_is_made_once() -> None:
    tiling = Tiling((1, 2), (4, 4))
    assert geometry_of(tiling, (3, 8, 10)).grid == Geometry(tiling, (3, 8, 10)).grid == (2, 3)
    assert geometry_of(tiling, (3, 8, 10)) is geometry_of(tiling, torch.zeros(3, 8, 10).shape)
    assert geometry_of(tiling, (3, 8, 8)).grid == (2, 2)


# --- quantisers and rates


def test_thresholds_lie_a_tenth_beyond_half_way() -> None:
    y = torch.tensor([0.0, 0.59, 0.61, 1.59, 1.61, 7.0])
    assert quantise_dead_zone(y).tolist() == [0, 0, 1, 1, 2, 7]
    assert quantise_dead_zone(-y).tolist() == [0, 0, -1, -1, -2, -7]


@given(st.floats(-1e4, 1e4, width=32))
def test_symbols_are_the_nearest_integers_or_the_next_towards_zero(value: float) -> None:
    symbol = float(quantise_dead_zone(torch.tensor([value])))
    assert symbol == round(symbol)
    assert abs(symbol) <= abs(value) + 0.401
    assert abs(symbol - value) <= 0.601


def test_straight_through_gives_symbols_with_the_gradient_of_values() -> None:
    y = noise(50).mul(3).requires_grad_()
    symbols = straight_through(y)
    assert torch.allclose(symbols, quantise_dead_zone(y))
    (gradient,) = torch.autograd.grad((symbols * torch.arange(50)).sum(), y)
    assert torch.equal(gradient, torch.arange(50).float())


def test_noise_is_uniform_over_a_step_and_repeats() -> None:
    y = noise(1000)
    first, second, third = (with_noise(y, torch.Generator().manual_seed(seed)) - y for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert -0.501 < float(first.min()) < -0.48
    assert 0.48 < float(first.max()) < 0.501


@pytest.mark.parametrize("scale", [0.02, 0.3, 1.0, 7.0, 60.0])
def test_probabilities_of_all_integers_sum_to_one(scale: float) -> None:
    y = torch.arange(-1000, 1001).double()
    bits = laplace_bits(y, torch.tensor(scale).double())
    assert float(torch.exp2(-bits).sum()) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(bits, bits.flip(0))
    assert (bits[1000:].diff() >= 0).all()
    shifted = laplace_bits(y + 0.3, torch.tensor(scale).double())  # as it is between, where noise puts values
    assert float(torch.exp2(-shifted).sum()) == pytest.approx(1, abs=1e-5)


def test_bits_have_finite_gradients_everywhere() -> None:
    y = torch.tensor([0.0, 0.2, 0.5, 1.0, -3.0, 1e4]).requires_grad_()
    scale = torch.full((6,), 0.02).requires_grad_()
    bits = laplace_bits(y, scale)
    assert bits.isfinite().all()
    for gradient in torch.autograd.grad(bits.sum(), [y, scale]):
        assert gradient.isfinite().all()


# --- scales


def trained_context(channels: int, seed: int = 0) -> ScaleContext:
    """One as training may leave it."""
    context = ScaleContext(0.2 + noise(channels, seed=seed).abs() * 3)
    with torch.no_grad():
        context.slopes.add_(noise(*context.slopes.shape, seed=seed + 1).abs() * 2)
    return context


def grids(channels: int, count: int = 2, high: int = 3, wide: int = 4) -> Tensor:
    values = noise(count, channels, high, wide, seed=5) * torch.tensor([0.5, 6.0]).reshape(2, 1, 1, 1)[:count]
    return quantise_dead_zone(values)


@pytest.mark.parametrize("channels", [2, 9, 20, 48])
def test_scales_are_those_of_the_prior(channels: int) -> None:
    """What the training takes for the scale is what the coder's integers make of it."""
    context, symbols = trained_context(channels), grids(channels)
    prior = ContextPrior.fitted(context.weights().numpy(), list(symbols.numpy().astype(np.int32)))
    scales = context(symbols).detach().double()
    for sample, target in zip(symbols.numpy().astype(np.int32), scales, strict=True):
        integer = prior.scales.weights.astype(np.float64) @ prior.scales.features(sample) / WEIGHT_GRID
        expected = target.flatten(1).numpy()
        for start, end in prior.scales.spans[1:]:  # the mean over all places is in 16ths
            assert np.abs(integer[start:end] / expected[start:end] - 1).max() < 0.05
            levels = prior.scales.levels(prior.scales.features(sample, start), start, end).reshape(end - start, -1)
            middle = 2.0 ** (7 + (levels + 0.5) / 4) / WEIGHT_GRID
            inside = (levels > 0) & (levels < LEVELS - 1)
            assert (np.abs(np.log2(middle / expected[start:end]))[inside] < 0.25).all()


@pytest.mark.parametrize("channels", [2, 9, 48])
@pytest.mark.parametrize("finer", [1.0, 1.4, 0.7])
def test_a_context_of_weights_has_their_scales(channels: int, finer: float) -> None:
    context = trained_context(channels)
    again = ScaleContext.of_weights(context.weights().numpy(), finer)
    y = noise(2, channels, 3, 4) * (MAX_MAGNITUDE / 8)  # so that none is beyond, in either steps
    assert torch.allclose(again(y * finer), finer * context(y), rtol=0.02, atol=0.02)


def test_a_context_of_great_weights_is_finite() -> None:
    weights = np.full((9, 10), 300.0)
    assert ScaleContext.of_weights(weights, 2.0)(noise(1, 9, 2, 2)).isfinite().all()


def test_later_groups_change_no_scale() -> None:
    context, y = trained_context(9), noise(1, 9, 3, 3)
    changed = y.clone()
    changed[:, 8] += 10
    assert torch.equal(context(changed), context(y))
    changed[:, 3] += 10
    scales, before = context(changed), context(y)
    assert torch.equal(scales[:, :8], before[:, :8])
    assert not torch.equal(scales[:, 8], before[:, 8])


def test_scales_start_from_the_deviations() -> None:
    deviations = torch.tensor([0.0, 1.0, 40.0, 1e5])
    scales = ScaleContext(deviations)(torch.zeros(1, 4, 1, 1)).flatten()
    assert torch.allclose(scales, torch.tensor([0.07, 0.62, 24.02, 25.02]), atol=0.01)


# --- decoders


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
