"""The transform of a device is exact: whole numbers whose sums no batch, thread or machine changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.training import noise
from torch import Tensor

from codecbench import TensorSpec
from codecbench.measure import torch_threads
from codecbench.toolbox.learning.integer_transform import LONG_BLOCK, IntegerTransform
from codecbench.toolbox.learning.rates import quantise_dead_zone
from codecbench.toolbox.learning.state import (
    State,
)

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
