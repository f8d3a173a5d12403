"""Orthonormal bases: DCT, Fourier, wavelets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def dct_basis(shape: Sequence[int]) -> NDArray[np.float64]:
    """Return the separable orthonormal DCT-II basis of blocks of this shape, (n, n), one basis vector a column.

    n is prod(shape). Coefficients are in row-major order of their frequencies.
    """
    return _separable(shape, _dct)


def fourier_basis(shape: Sequence[int]) -> NDArray[np.float64]:
    """Return the separable real orthonormal Fourier basis, (n, n), one basis vector a column.

    Along an axis, the vectors are the constant, then cosine and sine of 1, 2, ... periods.
    """
    return _separable(shape, _fourier)


def wavelet_basis(shape: Sequence[int], wavelet: str, levels: int | None = None) -> NDArray[np.float64]:
    """Return the orthonormal wavelet basis with periodic borders of blocks of this shape, (n, n), one vector a column.

    Mallat's pyramid: `levels` times, the low band is split in two along each axis; by default, as long as all its sides
    are even. Coefficients are ordered from the coarsest band to the finest. `wavelet` is a PyWavelets name. Raises
    ValueError if its family is not orthonormal, or if a side cannot be halved `levels` times.
    """
    import numpy as np

    max_levels = wavelet_levels(shape)
    levels = max_levels if levels is None else levels
    if not 0 <= levels <= max_levels:
        raise ValueError(f"{'x'.join(map(str, shape))} halves 0 to {max_levels} times, not {levels}")
    low = np.eye(math.prod(shape)).reshape(-1, *shape)
    bands = []
    for _ in range(levels):
        low, *details = _split(low, _orthonormal(wavelet))
        bands.append(np.concatenate([band.reshape(len(band), -1) for band in details], axis=1))
    return np.concatenate([low.reshape(len(low), -1), *bands[::-1]], axis=1)


def wavelet_levels(shape: Sequence[int]) -> int:
    """Return the number of times that all sides of a block can be halved."""
    together = math.gcd(*shape)
    return (together & -together).bit_length() - 1


def is_orthonormal_wavelet(wavelet: str) -> bool:
    """Return True if PyWavelets has an orthonormal wavelet of this name, in the families haar, db, sym and coif."""
    try:
        _orthonormal(wavelet)
    except ValueError:
        return False
    return True


def _orthonormal(wavelet: str) -> str:
    import pywt

    # dmey is orthogonal in name only: its filter is an approximation, cut off at 62 taps.
    names = [name for family in ("haar", "db", "sym", "coif") for name in pywt.wavelist(family)]
    if wavelet not in names:
        raise ValueError(f"{wavelet!r} is not among the orthonormal wavelets: {', '.join(names)}")
    return wavelet


def _split(blocks: NDArray[np.float64], wavelet: str) -> list[NDArray[np.float64]]:
    """Return the bands of one analysis level along all axes but the first: the low band, then the others."""
    import pywt

    bands = [blocks]
    for axis in range(1, blocks.ndim):
        bands = [half for band in bands for half in pywt.dwt(band, wavelet, mode="periodization", axis=axis)]
    return bands


def _separable(shape: Sequence[int], along: Callable[[int], NDArray[np.float64]]) -> NDArray[np.float64]:
    import numpy as np

    basis: NDArray[np.float64] = np.ones((1, 1))
    for length in shape:
        basis = np.kron(basis, along(length)).astype(np.float64, copy=False)
    return basis


def _dct(length: int) -> NDArray[np.float64]:
    import numpy as np

    positions, frequencies = np.arange(length)[:, None] + 0.5, np.arange(length)
    scale = np.sqrt(np.where(frequencies == 0, 1, 2) / length)
    basis: NDArray[np.float64] = scale * np.cos(np.pi / length * positions * frequencies)
    return basis


def _fourier(length: int) -> NDArray[np.float64]:
    import numpy as np

    columns = np.arange(length)
    angles = 2 * np.pi / length * np.arange(length)[:, None] * ((columns + 1) // 2)
    # Frequency 0, and the highest one of an even length, have no sine, and a cosine of twice the energy.
    alone = (columns == 0) | ((columns == length - 1) & (length % 2 == 0))
    basis: NDArray[np.float64] = np.where(columns % 2, np.cos(angles), np.where(alone, 1.0, np.sin(angles)))
    return basis * np.sqrt(np.where(alone, 1, 2) / length)
