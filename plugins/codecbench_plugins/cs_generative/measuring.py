"""Random Hadamard measurements of a picture, and the DCT whose coefficients the generator makes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from codecbench.toolbox.sensing import dct_basis

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

SEED = 2017
"""The seed of the measurements and of the search's starts; the same on both sides and for all fits."""


class Measuring:
    """Random rows of a Hadamard matrix whose columns are shuffled and have random signs; `length` columns are used.

    The size of the matrix is the next power of two (Sylvester's construction): rows are orthogonal if `length` is a
    power of two, otherwise nearly so. The matrix is not formed to measure: as a Kronecker product of two matrices of
    about the root of its size, it needs only two small products. Its entries are 1 and -1, so sums of integers are
    exact in float64.
    """

    def __init__(self, length: int, count: int) -> None:
        import numpy as np

        bits = (length - 1).bit_length()
        # The legacy generator, because its streams are frozen: the two sides may have different versions of numpy.
        random = np.random.RandomState(SEED)
        self.columns = random.permutation(1 << bits)[:length]
        self.signs = random.randint(0, 2, length) * 2.0 - 1
        self.rows = random.permutation(1 << bits)[:count]
        self._factors = [_hadamard(bits - bits // 2), _hadamard(bits // 2)]

    def sums(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the measurements of `length` values, (count,), unscaled: sums of the values with their signs."""
        import torch

        left, right = self._factors
        spread = torch.zeros(left.shape[0] * right.shape[0], dtype=torch.float64)
        spread[self.columns] = torch.from_numpy(self.signs * values.reshape(-1))
        sums = left @ spread.reshape(left.shape[0], right.shape[0]) @ right
        measured: NDArray[np.float64] = sums.reshape(-1).numpy()[self.rows]
        return measured

    def matrix(self) -> Tensor:
        """Return E, (count, length), with rows of length 1."""
        import torch

        left, right = self._factors
        rows, columns = torch.from_numpy(self.rows), torch.from_numpy(self.columns)
        size = right.shape[0]
        signs = left[rows // size][:, columns // size] * right[rows % size][:, columns % size]
        return signs * torch.from_numpy(self.signs) / math.sqrt(len(self.signs))


def _hadamard(bits: int) -> Tensor:
    """Return Sylvester's matrix of order 2^bits."""
    import torch

    matrix = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(bits):
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


class Basis:
    """The orthonormal DCT over channels, rows and columns of an image, axis by axis."""

    def __init__(self, shape: Sequence[int]) -> None:
        import torch

        self.shape = tuple(shape)
        self._axes = [torch.from_numpy(dct_basis((extent,))) for extent in shape]

    def coefficients(self, pictures: Tensor) -> Tensor:
        """Return flat coefficients, (count, n), of pictures in any shape."""
        import torch

        axes = [axis.to(pictures) for axis in self._axes]
        return torch.einsum("nchw,ca,hb,wd->nabd", pictures.reshape(-1, *self.shape), *axes).flatten(1)

    def values(self, coefficients: Tensor) -> Tensor:
        """Return pictures, (count, *shape), from coefficients; the inverse of `coefficients`."""
        import torch

        axes = [axis.to(coefficients) for axis in self._axes]
        return torch.einsum("nabd,ca,hb,wd->nchw", coefficients.reshape(-1, *self.shape), *axes)
