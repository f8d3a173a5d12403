"""The exact integer transform on frequency bands, for the device.

Inputs, cosines and weights are integers so small that float64 holds every sum exactly. So symbols depend neither on the
batch, nor on the number of threads, nor on the machine.

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from codecbench.toolbox.bands.frequency_bands import BlockCosines, cosine_matrix
from codecbench.toolbox.learning.geometry import Geometry
from codecbench.toolbox.transforms.uniform import to_pixels

INPUT_BITS, COSINE_BITS, WEIGHT_BITS = 14, 12, 12
"""Bits, and a sign, of the rounded values, cosines and weights. Two cosine transforms multiply the largest value by
less than 2^32, for blocks of up to 64 positions a side; their result is rounded to the unit of the values before the
weights, and sums over 2,048 channels stay below 2^50."""


@dataclass(frozen=True, eq=False)
class BandTransform:
    """Samples to latents, in steps, by integers.

    `weights` has a matrix (components, channels) for each band of blocks of `rows` x `columns`, in float64. `scales`
    (components of all bands,) are powers of two, the weights' units for each step. `offsets` (possible latents,) are
    those of the mean. Values are rounded to multiples of 1/`grid` and clipped at `limit` of these. `kept` is as in
    `BandStart`.
    """

    rows: int
    columns: int
    weights: Sequence[Tensor]
    scales: Tensor
    offsets: Tensor
    kept: Tensor
    grid: float
    limit: float

    @classmethod
    def of(
        cls,
        cosines: BlockCosines,
        matrices: Sequence[Tensor],
        mean: Tensor,
        kept: Tensor,
        *,
        image: bool,
        max_magnitude: float,
    ) -> BandTransform:
        """Return the transform with these matrices, in steps, of coefficients less their `mean`.

        `max_magnitude` is the largest magnitude of a value in training.
        """
        limit = 255.0 if image else float(2**INPUT_BITS - 1)
        grid = 255.0 if image else limit / max_magnitude if 1e-30 < max_magnitude < 1e30 else 1.0
        weights, scales, offsets = [], [], []
        for matrix, members in zip(matrices, cosines.bands, strict=True):
            fine = matrix.double() / grid
            room = 2.0**WEIGHT_BITS / fine.abs().amax(1, keepdim=True).clamp(min=1e-30)
            scale = torch.exp2(torch.floor(torch.log2(room.clamp(2.0**-60, 2.0**60))))
            weights.append((fine * scale).round())
            scales.append(scale[:, 0])
            offsets.append((weights[-1] @ (mean[:, members].double() * grid)).round().flatten())
        return cls(
            cosines.rows, cosines.columns, weights, torch.cat(scales), torch.cat(offsets), kept, grid, limit
        )  # fmt: skip

    def components(self, x: Tensor, geometry: Geometry, image: bool) -> Tensor:
        """Return the grid of latents of a sample, (latents, height, width), in steps.

        Raises ValueError for values that are not finite.
        """
        planes = geometry.planes(self._integers(x, image)[None])
        blocks = geometry.blocks(planes)[0].reshape(-1, geometry.channels, self.rows, self.columns)
        vertical, horizontal = self._integer_cosines
        coefficients = (vertical @ (blocks @ horizontal.T)).mul_(2.0 ** (-2 * COSINE_BITS)).round_().flatten(2)
        components = self._block_cosines.components(coefficients, self.weights)
        latents = ((components - self.offsets) / self._scale_of)[:, self.kept]
        return latents.T.reshape(-1, *geometry.grid)

    def _integers(self, x: Tensor, image: bool) -> Tensor:
        if image:
            return torch.from_numpy(to_pixels(x.numpy())).double()
        integers = x.double() * self.grid
        if not math.isfinite(float(integers.sum())):
            raise ValueError("the tensor holds values that are not finite; they cannot be quantised")
        return integers.round_().clamp_(-self.limit, self.limit)

    def matrices(self) -> list[Tensor]:
        """Return the matrices that the integers represent, in steps."""
        sizes = [len(weight) for weight in self.weights]
        units = torch.split(self.grid / self.scales, sizes)
        return [(weight * unit[:, None]).float() for weight, unit in zip(self.weights, units, strict=True)]

    @cached_property
    def _integer_cosines(self) -> tuple[Tensor, Tensor]:
        """The cosines along both axes, as integers."""
        vertical, horizontal = ((cosine_matrix(side) * 2.0**COSINE_BITS).round() for side in (self.rows, self.columns))
        return vertical, horizontal

    @cached_property
    def _block_cosines(self) -> BlockCosines:
        return BlockCosines(self.rows, self.columns, fine=len(self.weights) == self.rows * self.columns)

    @cached_property
    def _scale_of(self) -> Tensor:
        """The scale of each possible latent."""
        pairs = zip(self.weights, self._block_cosines.bands, strict=True)
        counts = [len(members) for weight, members in pairs for _ in weight]
        return self.scales.repeat_interleave(torch.tensor(counts))

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that `from_tensors` takes."""
        return {
            **{f"weights.{at}": weight.to(torch.int16) for at, weight in enumerate(self.weights)},
            "scales": self.scales, "offsets": self.offsets, "kept": self.kept.to(torch.int32),
            "numbers": torch.tensor([self.rows, self.columns, self.grid, self.limit], dtype=torch.float64),
        }  # fmt: skip

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> BandTransform:
        """Return the transform of these tensors; the inverse of `tensors`. Raises KeyError if one is missing."""
        rows, columns, grid, limit = tensors["numbers"].tolist()
        weights: list[Tensor] = []
        while f"weights.{len(weights)}" in tensors:
            weights.append(tensors[f"weights.{len(weights)}"].double())
        scales, offsets, kept = tensors["scales"], tensors["offsets"], tensors["kept"].long()
        return cls(int(rows), int(columns), weights, scales, offsets, kept, grid, limit)
