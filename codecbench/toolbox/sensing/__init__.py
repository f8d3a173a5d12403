"""Compressive sensing: blocks of values, bases and measurements."""

from codecbench.toolbox.sensing.bases import dct_basis, fourier_basis, is_orthonormal_wavelet, wavelet_basis
from codecbench.toolbox.sensing.blocks import VALUE_BITS, Blocks, to_integers
from codecbench.toolbox.sensing.measuring import Banded, DenseGaussian, Sensing

__all__ = [
    "VALUE_BITS",
    "Banded",
    "Blocks",
    "DenseGaussian",
    "Sensing",
    "dct_basis",
    "fourier_basis",
    "is_orthonormal_wavelet",
    "to_integers",
    "wavelet_basis",
]
