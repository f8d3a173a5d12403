"""Blocks as spatial frequencies: there and back, and each frequency in one band."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn
from support.training import noise

from codecbench.toolbox.bands.frequency_bands import BlockCosines
from codecbench.toolbox.learning.geometry import Geometry
from codecbench.toolbox.transforms.tiling import Tiling

SIDES = st.integers(1, 40)


@pytest.mark.parametrize("sizes", [(14, 14), (7, 7), (5, 8), (1, 1)], ids=str)
def test_samples_are_there_and_back(sizes: tuple[int, int]) -> None:
    xs = noise(3, 6, 14, 14)
    geometry = Geometry(Tiling((1, 2), sizes), (6, 14, 14))
    cosines = BlockCosines(*sizes)
    coefficients = cosines(xs, geometry)
    assert coefficients.shape == (3, geometry.grid[0] * geometry.grid[1], 6, sizes[0] * sizes[1])
    assert torch.allclose(cosines.inverse(coefficients, geometry), xs, atol=1e-5)


def test_the_coefficients_are_those_of_the_cosine_transform() -> None:
    xs = noise(2, 3, 8, 6)
    coefficients = BlockCosines(8, 6)(xs, Geometry(Tiling((1, 2), (8, 6)), (3, 8, 6)))
    expected = torch.from_numpy(dctn(xs.numpy(), axes=(2, 3), norm="ortho"))
    assert torch.allclose(coefficients[:, 0], expected.flatten(2), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES)
def test_each_frequency_is_in_one_band_and_bands_rise(rows: int, columns: int) -> None:
    bands = BlockCosines(rows, columns).bands
    assert sorted(torch.cat(bands).tolist()) == list(range(rows * columns))
    larger = torch.maximum(torch.arange(rows)[:, None], torch.arange(columns)).flatten()
    tops = [int(larger[band].max()) for band in bands]
    assert tops == sorted(set(tops))
    assert bands[0].tolist() == [0]
