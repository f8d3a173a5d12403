"""Bases are orthonormal, and agree with SciPy, NumPy and PyWavelets."""

import math

import numpy as np
import pytest
import pywt
import scipy.fft

from codecbench.toolbox.sensing.bases import (
    dct_basis,
    fourier_basis,
    is_orthonormal_wavelet,
    wavelet_basis,
    wavelet_levels,
)

SHAPES = [(1,), (7,), (8,), (32,), (8, 8), (6, 12), (32, 32)]
rng = np.random.default_rng


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("basis", [dct_basis, fourier_basis, *(
    lambda shape, name=name: wavelet_basis(shape, name) for name in ("haar", "db2", "sym4", "coif1", "db12")
)], ids=["dct", "fourier", "haar", "db2", "sym4", "coif1", "db12"])  # fmt: skip
def test_bases_are_orthonormal(basis, shape):
    made = basis(shape)
    assert made.shape == (math.prod(shape),) * 2
    assert np.abs(made.T @ made - np.eye(len(made))).max() < 1e-9


def test_dct_is_that_of_scipy():
    x = rng(0).normal(size=(6, 12))
    assert np.allclose(dct_basis(x.shape).T @ x.reshape(-1), scipy.fft.dctn(x, norm="ortho").reshape(-1))


@pytest.mark.parametrize("length", [8, 9])
def test_fourier_holds_the_magnitudes_of_the_fft(length):
    x = rng(0).normal(size=length)
    real = fourier_basis((length,)).T @ x
    magnitudes = np.abs(np.fft.rfft(x, norm="ortho"))
    waves = (length - 1) // 2
    assert np.isclose(abs(real[0]), magnitudes[0])
    pairs = real[1 : 2 * waves + 1].reshape(-1, 2)
    assert np.allclose(np.hypot(*pairs.T), math.sqrt(2) * magnitudes[1 : waves + 1])
    assert np.allclose(np.abs(real[2 * waves + 1 :]), magnitudes[waves + 1 :])


@pytest.mark.parametrize("wavelet", ["haar", "sym4"])
def test_wavelet_coefficients_are_those_of_pywavelets(wavelet):
    x = rng(0).normal(size=(32, 32))
    low, *details = pywt.wavedec2(x, wavelet, mode="periodization", level=2)
    expected = np.concatenate([low.reshape(-1), *(band.reshape(-1) for level in details for band in level)])
    found = wavelet_basis(x.shape, wavelet, 2).T @ x.reshape(-1)
    # The order of the three bands of a level is ours.
    assert np.allclose(found[:64], expected[:64])
    assert np.allclose(np.sort(found[64:256]), np.sort(expected[64:256]))
    assert np.allclose(np.sort(found[256:]), np.sort(expected[256:]))


def test_wavelets_are_refused_by_name_and_by_level():
    assert is_orthonormal_wavelet("coif3")
    assert not any(map(is_orthonormal_wavelet, ("bior2.2", "dmey", "mexh", "nonsense")))
    with pytest.raises(ValueError, match=r"'bior2\.2' is not among"):
        wavelet_basis((8, 8), "bior2.2")
    with pytest.raises(ValueError, match="8x12 halves 0 to 2 times, not 3"):
        wavelet_basis((8, 12), "haar", 3)
    assert [wavelet_levels(shape) for shape in ((32, 32), (8, 12), (7,), (1,))] == [5, 2, 0, 0]
