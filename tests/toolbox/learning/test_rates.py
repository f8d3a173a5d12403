"""Quantisers, rates, and scales as the prior has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.training import noise
from torch import Tensor

from codecbench.toolbox.coding.context_prior import ContextPrior
from codecbench.toolbox.coding.scale_model import LEVELS, MAX_MAGNITUDE, WEIGHT_GRID
from codecbench.toolbox.learning.rates import (
    ScaleContext,
    laplace_bits,
    quantise_dead_zone,
    straight_through,
    with_noise,
)

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
