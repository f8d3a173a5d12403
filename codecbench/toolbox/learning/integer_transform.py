"""An exact integer transform for the device.

A learned encoder is a matrix on blocks: a convolution whose stride equals its kernel. Its weights and inputs are
integers small enough that float32 (float64 for long blocks) holds every sum exactly. So symbols depend neither on the
batch, nor on the number of threads, nor on the machine.

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from codecbench.codec import TensorSpec
from codecbench.toolbox.learning.geometry import Geometry
from codecbench.toolbox.transforms.uniform import to_pixels

LONG_BLOCK = 1024
"""The longest block, in values, for which float32 is used; sums of longer blocks are exact in float64."""


INPUT_BITS = 10
"""Values of features are rounded to this number of bits and a sign, relative to the largest value in training."""


class IntegerTransform(nn.Module):
    """Blocks to components: (x W^T - c) / s in integers, with a power of two s for each component.

    `weight` is (components, values), `offset` and `scale` are (components,). The integers of an image are its pixels;
    other values are rounded to multiples of 1/`grid` and clipped at `limit` of these multiples.
    """

    weight: Tensor
    offset: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, offset: Tensor, scale: Tensor, grid: float, limit: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.offset = nn.Parameter(offset, requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.grid, self.limit = grid, limit
        self._constant = -offset[:, None]

    @classmethod
    def of(cls, matrix: Tensor, mean: Tensor, spec: TensorSpec, max_magnitude: float) -> IntegerTransform:
        """Return the transform for components `matrix` (x - `mean`) in steps.

        `max_magnitude` is the largest magnitude of a value in training. Each component's weights are as fine as exact
        sums allow.
        """
        long = matrix.shape[1] > LONG_BLOCK
        bits, dtype = (50, torch.float64) if long else (24, torch.float32)
        limit = 255.0 if spec.image else float(2 ** (20 if long else INPUT_BITS) - 1)
        grid = 255.0 if spec.image else limit / max_magnitude if 1e-30 < max_magnitude < 1e30 else 1.0
        weight = matrix.double() / grid
        # Half of the integer range is for the weights, a quarter for the offset, the rest for rounding.
        max_sum = 2.0 ** (bits - 1) / limit - weight.shape[1]
        room = max_sum / weight.abs().sum(1).clamp(min=1e-30)
        scale = torch.exp2(torch.floor(torch.log2(room.clamp(2.0**-60, 2.0**60))))
        offset = torch.round((weight @ (mean.double() * grid)) * scale).clamp(-(2.0 ** (bits - 2)), 2.0 ** (bits - 2))
        return cls((weight * scale[:, None]).round().to(dtype), offset.to(dtype), scale.to(dtype), grid, limit)

    def integers(self, xs: Tensor, image: bool) -> Tensor:
        """Return samples as integers. Raises ValueError for values that are not finite."""
        if image:
            return torch.from_numpy(to_pixels(xs.numpy())).to(self.weight.dtype)
        integers = xs.to(self.weight.dtype) * self.grid
        # A sum is faster than a test of every value. It is finite only if all values are, but it may overflow.
        if not math.isfinite(float(integers.sum())) and not bool(torch.isfinite(xs).all()):
            raise ValueError("the tensor holds values that are not finite; they cannot be quantised")
        return integers.round_().clamp_(-self.limit, self.limit)

    def forward(self, columns: Tensor) -> Tensor:
        """Return components (components, positions) in steps, for integers (values, positions)."""
        return torch.addmm(self._constant, self.weight, columns).div_(self.scale[:, None])

    def components(self, x: Tensor, geometry: Geometry, image: bool) -> Tensor:
        """Return the grid of components of a sample, (components, height, width), in steps.

        Raises ValueError as `integers`.
        """
        columns = geometry.columns(geometry.planes(self.integers(x[None], image)))[0]
        found: Tensor = self(columns)
        return found.view(-1, *geometry.grid)

    def matrix(self) -> Tensor:
        """Return the matrix that the integers represent, (components, values), in steps for each unit of value."""
        return (self.weight.double() * (self.grid / self.scale.double())[:, None]).float()

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that `from_tensors` takes: 32-bit integers, or floating point for long blocks."""
        return {
            "weight": self.weight if self.weight.dtype == torch.float64 else self.weight.to(torch.int32),
            "offset": self.offset.double(), "scale": self.scale.double(),
            "grid": torch.tensor([self.grid, self.limit], dtype=torch.float64),
        }  # fmt: skip

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> IntegerTransform:
        """Return the transform of these tensors; the inverse of `tensors`. Raises KeyError if one is missing."""
        weight = tensors["weight"]
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        grid, limit = tensors["grid"].tolist()
        offset, scale = tensors["offset"].to(dtype), tensors["scale"].to(dtype)
        return cls(weight.to(dtype), offset, scale, grid, limit)
