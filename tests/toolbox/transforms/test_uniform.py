"""Pixels and uniform quantisation: exact levels, errors within half a step, and values that are refused."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from codecbench import PayloadError
from codecbench.toolbox.transforms import uniform

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def test_pixels_are_exact() -> None:
    levels = np.arange(256, dtype=np.uint8)
    image = levels.astype(np.float32) / np.float32(255)
    assert (uniform.to_pixels(image) == levels).all()
    assert (uniform.from_pixels(levels) == image).all()


def test_pixels_outside_go_to_the_nearest() -> None:
    image = np.array([-1, 2, 1e30, -np.inf, np.inf], np.float32)
    assert uniform.to_pixels(image).tolist() == [0, 255, 255, 0, 255]


def test_a_pixel_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not numbers"):
        uniform.to_pixels(np.array([0.5, np.nan], np.float32))


@given(arrays(np.float32, st.integers(0, 50), elements=FLOATS), st.integers(2, 256))
def test_quantised_values_are_within_half_a_step(values: np.ndarray, levels: int) -> None:
    header, indices = uniform.quantise_uniform(values, levels)
    restored = uniform.dequantise_uniform(header, indices, levels)
    assert len(header) == uniform.RANGE_BYTES
    assert np.isfinite(restored).all()
    if values.size:
        low, high = float(values.min()), float(values.max())
        half_step = (high - low) / (levels - 1) / 2
        rounding = 1e-6 * max(abs(low), abs(high)) + 1e-44
        assert (np.abs(restored.astype(np.float64) - values) <= half_step + rounding).all()


def test_the_zeros_of_a_rectified_tensor_stay_zeros() -> None:
    values = np.array([0, 0.1, 0, 7.3, 0.02], np.float32)
    header, indices = uniform.quantise_uniform(values, 4)
    restored = uniform.dequantise_uniform(header, indices, 4)
    assert (restored[values == 0] == 0).all()
    assert restored[3] == values[3]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        uniform.quantise_uniform(np.array([1.0, bad], np.float32), 8)


def test_a_double_beyond_float32_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite in float32"):
        uniform.quantise_uniform(np.array([1e300, 0.0]), 8)


@pytest.mark.parametrize(
    "header", [b"", b"short", struct.pack("<ff", 1, 0), struct.pack("<ff", np.nan, 1), struct.pack("<ff", 0, np.inf)]
)
def test_a_range_that_is_none_is_refused(header: bytes) -> None:
    with pytest.raises(PayloadError):
        uniform.dequantise_uniform(header, np.zeros(3, np.uint8), 4)


def test_a_level_too_high_is_refused() -> None:
    with pytest.raises(PayloadError, match="level 4 is not below 4"):
        uniform.dequantise_uniform(struct.pack("<ff", 0, 1), np.array([4], np.uint8), 4)
