"""The integer transform on frequency bands: near the trained matrices, and the same everywhere."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import noise
from torch import Tensor

from codecbench.measure import torch_threads
from codecbench.toolbox.bands import BandEncoder, BandTransform, BlockCosines
from codecbench.toolbox.learning.geometry import Geometry
from codecbench.toolbox.transforms.tiling import Tiling

SHAPE, SIDE = (40, 10, 10), 5
GEOMETRY = Geometry(Tiling((1, 2), (SIDE, SIDE)), SHAPE)
COSINES = BlockCosines(SIDE, SIDE)


def matrices(seed: int = 0) -> list[Tensor]:
    return [noise(count, SHAPE[0], seed=seed + at) for at, count in enumerate((9, 7, 0, 3, 1))]


def made(*, image: bool = False, seed: int = 0) -> tuple[BandTransform, BandEncoder]:
    found = matrices(seed)
    possible = sum(len(matrix) * len(members) for matrix, members in zip(found, COSINES.bands, strict=True))
    kept = torch.randperm(possible, generator=torch.Generator().manual_seed(seed))[: possible // 2]
    mean = noise(SHAPE[0], SIDE * SIDE, seed=seed + 50)
    transform = BandTransform.of(COSINES, found, mean, kept, image=image, max_magnitude=5.0)
    return transform, BandEncoder(COSINES, found, mean, kept)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_integers_give_the_components_of_the_matrices(seed: int) -> None:
    transform, encoder = made(seed=seed)
    x = noise(*SHAPE, seed=seed).clamp(-5, 5)
    expected = encoder(x[None], GEOMETRY)[0]
    found = transform.components(x, GEOMETRY, image=False)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 0.02


def test_components_depend_on_no_threads_and_survive_a_state() -> None:
    transform, _ = made()
    x = noise(*SHAPE)
    expected = transform.components(x, GEOMETRY, image=False)
    read = BandTransform.from_tensors(transform.tensors())
    for threads in (1, 2):
        with torch_threads(threads):
            assert torch.equal(read.components(x, GEOMETRY, image=False), expected)
    for matrix, other in zip(read.matrices(), matrices(), strict=True):
        assert torch.allclose(matrix, other, atol=2e-3)


def test_every_sum_is_a_whole_number() -> None:
    transform, _ = made()
    scaled = (
        transform.components(noise(*SHAPE), GEOMETRY, image=False) * transform._scale_of[transform.kept, None, None]
    )
    assert torch.equal(scaled, scaled.round())


def test_values_beyond_the_training_are_clipped_and_others_refused() -> None:
    transform, _ = made()
    huge = torch.full(SHAPE, 1e30)
    assert torch.equal(
        transform.components(huge, GEOMETRY, image=False), transform.components(huge / 2, GEOMETRY, image=False)
    )
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not finite"):
            transform.components(torch.full(SHAPE, value), GEOMETRY, image=False)
