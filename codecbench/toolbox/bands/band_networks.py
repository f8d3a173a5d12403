"""The networks on frequency bands that are trained: the encoder's matrices, and a decoder with a copy of the tail.

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from codecbench.toolbox.bands.adapted_tail import unchanged
from codecbench.toolbox.bands.frequency_bands import BlockCosines
from codecbench.toolbox.learning.geometry import Geometry
from codecbench.toolbox.learning.steering import mean_of_looks, steered
from codecbench.toolbox.learning.tail_copy import TailCopy


class BandMatrices(nn.Module):
    """A trained matrix over channels for each band, (components, channels) or (channels, components).

    In its unit a matrix has values of about 1, so that one learning rate suits all.
    """

    units: Tensor

    def __init__(self, matrices: Sequence[Tensor]) -> None:
        super().__init__()
        units = torch.tensor([_deviation(matrix) for matrix in matrices])
        self.register_buffer("units", units)
        self.scaled = nn.ParameterList([matrix / unit for matrix, unit in zip(matrices, units, strict=True)])

    def matrices(self) -> list[Tensor]:
        """Return the matrices."""
        return [scaled * unit for scaled, unit in zip(self.scaled, self.units, strict=True)]


class BandEncoder(nn.Module):
    """Samples to a grid of latents, in steps: coefficients less their mean, times the matrices of their bands."""

    mean: Tensor
    kept: Tensor

    def __init__(self, cosines: BlockCosines, matrices: Sequence[Tensor], mean: Tensor, kept: Tensor) -> None:
        super().__init__()
        self.cosines = cosines
        self.bands = BandMatrices(matrices)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("kept", kept, persistent=False)

    def forward(self, samples: Tensor, geometry: Geometry) -> Tensor:
        """Return the grid (n, latents, height, width)."""
        components = self.cosines.components(self.cosines(samples, geometry) - self.mean, self.bands.matrices())
        return geometry.to_grid(components[..., self.kept])


class BandDecoder(nn.Module):
    """A grid of symbols to samples, with a copy of the tail that is trained to understand them.

    Its matrices start as the encoder's inverse. `tail` reads the samples they give, within `limits`; `fixed_tail` keeps
    its weights before training, for `steered`.
    """

    mean: Tensor
    kept: Tensor

    def __init__(
        self,
        cosines: BlockCosines,
        matrices: Sequence[Tensor],
        mean: Tensor,
        kept: Tensor,
        limits: tuple[float, float],
        tail: TailCopy | None = None,
    ) -> None:
        super().__init__()
        self.cosines = cosines
        self.bands = BandMatrices(matrices)
        self.mean = nn.Parameter(mean)
        self.register_buffer("kept", kept, persistent=False)
        self.limits = limits
        self.tail = tail
        self.fixed_tail = None if tail is None else unchanged(tail)

    def take_over(self, other: BandDecoder) -> None:
        """Take mean and copy of the tail from a decoder for the same tail and the same blocks."""
        with torch.no_grad():
            self.mean.copy_(other.mean)
        if self.tail is not None and other.tail is not None:
            self.tail.load_state_dict(other.tail.state_dict())

    def samples(self, grid: Tensor, geometry: Geometry) -> Tensor:
        """Return the samples of a grid by the matrices alone."""
        latents = geometry.from_grid(grid)
        matrices = self.bands.matrices()
        sizes = [matrix.shape[1] * len(members) for matrix, members in zip(matrices, self.cosines.bands, strict=True)]
        possible = latents.new_zeros(*latents.shape[:2], sum(sizes)).index_copy(2, self.kept, latents)
        parts = [
            matrix @ part.reshape(*part.shape[:2], matrix.shape[1], len(members))
            for matrix, members, part in zip(matrices, self.cosines.bands, torch.split(possible, sizes, 2), strict=True)
        ]
        order = torch.cat(self.cosines.bands).argsort()
        coefficients = torch.cat(parts, 3)[..., order] + self.mean
        samples: Tensor = self.cosines.inverse(coefficients, geometry).clamp(*self.limits)
        return samples

    def forward(self, grid: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor | None]:
        """Return the samples of a grid, and the output of the copy of the tail (None without a copy)."""
        samples = self.samples(grid, geometry)
        return samples, None if self.tail is None else self._asked(self.tail, samples)

    def tail_output(self, grid: Tensor, geometry: Geometry) -> Tensor:
        """Return the copy's output. Needs a copy of the tail."""
        assert self.tail is not None
        return self._asked(self.tail, self.samples(grid, geometry))

    def _asked(self, tail: TailCopy, samples: Tensor) -> Tensor:
        with in_bfloat16(samples.device) if self.training else nullcontext():
            output: Tensor = tail(samples)[1]
        return output.float()

    def steered(self, grid: Tensor, geometry: Geometry, limits: tuple[float, float], *, mirrored: bool) -> Tensor:
        """Return samples within limits, moved so that the tail's output approaches the copy's output.

        With `mirrored`, that is the mean of the copy's outputs for the samples and for their mirror images.
        """
        samples: Tensor
        samples, target = self(grid, geometry)
        if self.tail is None or self.fixed_tail is None or target is None:
            return samples
        if mirrored and target.ndim == 2:
            target = mean_of_looks(self.tail, samples, target)
        return steered(self.fixed_tail, samples, target, limits)


def in_bfloat16(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context for products in bfloat16 on a CPU that has it, which halves the time of training."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    fast = device.type == "cpu" and supported is not None and bool(supported())
    return torch.autocast("cpu", torch.bfloat16, enabled=fast)


def _deviation(matrix: Tensor) -> float:
    return float(matrix.square().mean().sqrt()) if matrix.numel() else 1.0
