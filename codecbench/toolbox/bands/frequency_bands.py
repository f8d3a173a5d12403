"""Blocks of a feature map as spatial frequencies, which are grouped in bands.

Late feature maps have hundreds of channels and few positions, and a tail that averages over positions sees little but
their low frequencies. So a matrix over channels for each band of frequencies is a good transform, and a small one: a
matrix over all values of a block would have the square of their number. With few channels, as of a picture, these
matrices are so small that each frequency has its own.

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from codecbench.toolbox.learning.geometry import Geometry

FEW_CHANNELS = 4
"""With up to this number of channels, each frequency is a band."""

FIRST_EDGES = (0, 1, 2, 3, 4, 5)
"""The lowest frequencies of the first bands; further bands grow by half an octave."""


class BlockCosines(nn.Module):
    """The orthonormal cosine transform of blocks of `rows` x `columns` positions (Ahmed, Natarajan and Rao 1974).

    A frequency is a pair of indices; a block's plane of frequencies is flattened in row-major order. `bands` has the
    frequencies of each band: those whose larger index lies between two edges. With `fine`, each frequency is a band.
    """

    vertical: Tensor
    horizontal: Tensor

    def __init__(self, rows: int, columns: int, *, fine: bool = False) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        self.register_buffer("vertical", cosine_matrix(rows).float(), persistent=False)
        self.register_buffer("horizontal", cosine_matrix(columns).float(), persistent=False)
        self.bands = list(torch.arange(rows * columns)[:, None]) if fine else _bands(rows, columns)

    def forward(self, samples: Tensor, geometry: Geometry) -> Tensor:
        """Return the coefficients of samples (n, *shape): (n, positions, channels, frequencies)."""
        blocks = geometry.blocks(geometry.planes(samples))
        blocks = blocks.reshape(*blocks.shape[:2], geometry.channels, self.rows, self.columns)
        return torch.einsum("fr,npcrk,gk->npcfg", self.vertical, blocks, self.horizontal).flatten(3)

    def components(self, coefficients: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        """Return the components of coefficients (..., channels, frequencies) by a matrix for each band.

        They are flat (...), band by band, and component by component at all frequencies of the band.
        """
        parts = zip(matrices, self.bands, strict=True)
        return torch.cat([(matrix @ coefficients[..., members]).flatten(-2) for matrix, members in parts], -1)

    def inverse(self, coefficients: Tensor, geometry: Geometry) -> Tensor:
        """Return the samples of coefficients; the inverse of `forward`."""
        planes = coefficients.reshape(*coefficients.shape[:3], self.rows, self.columns)
        blocks = torch.einsum("fr,npcfg,gk->npcrk", self.vertical, planes, self.horizontal)
        return geometry.samples(geometry.unblock(blocks.flatten(2)))


def cosine_matrix(side: int) -> Tensor:
    """Return the matrix (frequencies, positions) of the orthonormal cosine transform along one axis, in float64."""
    frequencies = torch.arange(side, dtype=torch.float64)
    matrix = torch.cos(math.pi / side * frequencies[:, None] * (frequencies + 0.5)) * math.sqrt(2 / side)
    matrix[0] = math.sqrt(1 / side)
    return matrix


def _bands(rows: int, columns: int) -> list[Tensor]:
    larger = torch.maximum(torch.arange(rows)[:, None], torch.arange(columns)).flatten()
    edges = _edges(max(rows, columns))
    return [torch.nonzero((larger >= low) & (larger < high))[:, 0] for low, high in pairwise(edges)]


def _edges(side: int) -> list[int]:
    """Return the edges of the bands, from 0 to `side`."""
    edges = [edge for edge in FIRST_EDGES if edge < side]
    while edges[-1] >= FIRST_EDGES[-1] and round(edges[-1] * math.sqrt(2)) < side:
        edges.append(round(edges[-1] * math.sqrt(2)))
    return [*edges, side]
