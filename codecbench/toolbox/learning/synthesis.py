"""The network of a decoder: a transposed transform, residual blocks, and a copy of the tail.

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codecbench.toolbox.learning.geometry import Geometry
from codecbench.toolbox.learning.steering import mean_of_looks, steered
from codecbench.toolbox.learning.tail_copy import TailCopy


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))), 3 x 3; the last convolution starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        assert self.second.bias is not None
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        y: Tensor = self.second(F.relu(self.first(F.relu(x))))
        return x + y


class SynthesisNetwork(nn.Module):
    """Latents to samples: the transposed transform, plus a network that corrects the quantisation error.

    The transform starts at `matrix` (values, latents) and `mean` (values,), in values for each step. If blocks tile the
    tensor, the network works on cells of at most 2 x 2 values in `width` channels. Between, it works at half the
    resolution in twice the channels, with `depth` residual blocks (Ronneberger, Fischer and Brox 2015). `tail` is a
    copy of the tail that is trained as well. It runs on the transform's result, and its features and output are added
    to hidden layers of matching size, so the network starts with the tail's knowledge. `fixed_tail` keeps the weights
    of `tail` before training, for `steered`.

    If one block is the tensor, the network consists of 1 x 1 convolutions on the latents.
    """

    unit: Tensor
    spread: Tensor

    def __init__(
        self, geometry: Geometry, matrix: Tensor, mean: Tensor, width: int, depth: int, tail: TailCopy | None = None
    ) -> None:
        super().__init__()
        latents = matrix.shape[1]
        # In this unit the weights are about 1, so one learning rate suits all layers.
        self.register_buffer("unit", _positive(matrix.square().mean().sqrt()))
        self.register_buffer("spread", _positive(matrix.square().sum(1).mean().sqrt()))
        self.matrix = nn.Parameter(matrix / self.unit)
        self.mean = nn.Parameter(mean / self.unit)
        self.is_vector = geometry.is_one_block
        self.tail = None if self.is_vector else tail
        # States hold the names of modules, so "given_tail" and "ask" stay; properties give them readable names.
        self.add_module("given_tail", copy.deepcopy(self.tail))
        if self.fixed_tail is not None:
            self.fixed_tail.requires_grad_(False)
        if self.is_vector:
            self.up: nn.Conv2d | nn.ConvTranspose2d = nn.Conv2d(latents, width, 1)
            self.inner = nn.ModuleList([nn.Conv2d(width, width, 1) for _ in range(depth)])
            self.out = nn.Conv2d(width, latents, 1)
        else:
            rows, columns = geometry.block
            self.cell = (math.gcd(rows, 2), math.gcd(columns, 2))
            up = (rows // self.cell[0], columns // self.cell[1])
            down = (math.gcd(up[0], 2), math.gcd(up[1], 2))
            self.up = nn.ConvTranspose2d(latents, width, up, up)
            self.first = ResidualBlock(width)
            self.narrow = nn.Conv2d(width, 2 * width, down, down)
            self.inner = nn.ModuleList([ResidualBlock(2 * width) for _ in range(depth)])
            self.widen = nn.ConvTranspose2d(2 * width, width, down, down)
            self.last = ResidualBlock(width)
            self.out = nn.Conv2d(width, geometry.channels * math.prod(self.cell), 3, padding=1)
            if tail is not None:
                self._add_lifts(tail, geometry, width)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def _add_lifts(self, tail: TailCopy, geometry: Geometry, width: int) -> None:
        """Add layers that map the copy's features and output to the hidden layers whose size they have."""
        with torch.no_grad():
            features, output = tail(torch.zeros(1, *geometry.shape))
        fine = tuple(side // cell for side, cell in zip(self._padded(geometry), self.cell, strict=True))
        coarse = tuple(n // stride for n, stride in zip(fine, self.narrow.stride, strict=True))
        self.lifts = nn.ModuleDict()
        for i, feature in enumerate(features):
            for size, channels in ((fine, width), (coarse, 2 * width)):
                if tuple(feature.shape[2:]) == size:
                    self.lifts[f"{i}"] = nn.Conv2d(feature.shape[1], channels, 1)
                    break
        self.add_module("ask", nn.Linear(output.flatten(1).shape[1], 2 * width))

    @property
    def fixed_tail(self) -> TailCopy | None:
        """The copy of the tail before training."""
        fixed = self._modules["given_tail"]
        assert fixed is None or isinstance(fixed, TailCopy)
        return fixed

    @property
    def output_projection(self) -> nn.Module:
        """The layer that maps the copy's output to the inner blocks."""
        return self.get_submodule("ask")

    @torch.no_grad()
    def rescale(self, factor: float) -> None:
        """Adapt the network to latents whose steps are longer by `factor`."""
        self.matrix.mul_(factor)
        self.up.weight.mul_(factor)
        if self.is_vector:  # then the network's output is added to the latents
            assert self.out.bias is not None
            self.out.weight.div_(factor)
            self.out.bias.div_(factor)

    @staticmethod
    def _padded(geometry: Geometry) -> tuple[int, ...]:
        return tuple(count * size for count, size in zip(geometry.grid, geometry.block, strict=True))

    def forward(self, grid: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor | None]:
        """Return the samples of a grid of symbols, and the output of the copy of the tail (None without a copy)."""
        hidden = self.up(grid)
        if self.is_vector:
            for layer in self.inner:
                hidden = layer(F.relu(hidden))
            return geometry.samples(self._linear(grid + self.out(F.relu(hidden)), geometry)), None
        linear = self._linear(grid, geometry)
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        features: list[Tensor] = []
        copy_output: Tensor | None = None
        if self.tail is not None:
            features, copy_output = self._run_copy(self.tail, linear, geometry)
            hidden = self._lifted(hidden, features)
        hidden = self.first(hidden)
        deep = self.narrow(F.relu(hidden))
        if copy_output is not None:
            deep = self._lifted(deep, features) + self.output_projection(copy_output.flatten(1))[:, :, None, None]
        for block in self.inner:
            deep = block(deep)
        hidden = self.last(hidden + self.widen(F.relu(deep)))
        correction = _from_cells(self.out(F.relu(hidden)), geometry.channels, self.cell)
        return geometry.samples(linear + 0.1 * self.spread * correction), copy_output

    def steered(self, grid: Tensor, geometry: Geometry, limits: tuple[float, float], *, mirrored: bool) -> Tensor:
        """Return samples within limits, moved so that the tail's output approaches its mean with the copy's output.

        With `mirrored`, the copy also reads the transform's result reversed along its last axis, and its two outputs
        are averaged, if they are scores of classes: outputs at places are mirrored with the samples.
        """
        decoded, copy_output = self(grid, geometry)
        samples: Tensor = decoded.clamp(*limits)
        if self.tail is None or self.fixed_tail is None or copy_output is None:
            return samples
        target = copy_output
        if mirrored and target.ndim == 2:
            target = mean_of_looks(self.tail, geometry.samples(self._linear(grid, geometry)), target)
        return steered(self.fixed_tail, samples, target, limits)

    def tail_output(self, grid: Tensor, geometry: Geometry) -> Tensor:
        """Return the copy's output for the transform's result alone. Needs a copy of the tail."""
        assert self.tail is not None
        return self._run_copy(self.tail, self._linear(grid, geometry), geometry)[1]

    def _run_copy(self, tail: TailCopy, planes: Tensor, geometry: Geometry) -> tuple[list[Tensor], Tensor]:
        samples = geometry.samples(planes).contiguous(memory_format=torch.channels_last)
        result: tuple[list[Tensor], Tensor] = tail(samples)
        return result

    def _lifted(self, x: Tensor, features: list[Tensor]) -> Tensor:
        for i, feature in enumerate(features):
            if f"{i}" in self.lifts and feature.shape[2:] == x.shape[2:]:
                lifted = self.lifts[f"{i}"](feature)
                # Where a cell is one position, both hidden layers have its size, and a feature goes to the first.
                x = x + lifted if lifted.shape[1] == x.shape[1] else x
        return x

    def _linear(self, grid: Tensor, geometry: Geometry) -> Tensor:
        """Return the transform's result as padded planes."""
        return geometry.unblock((geometry.from_grid(grid) @ self.matrix.T + self.mean) * self.unit)


def _positive(value: Tensor) -> Tensor:
    """Return the value, or 1 if it is zero."""
    return torch.where(value > 0, value, torch.ones_like(value))


def _from_cells(x: Tensor, channels: int, cell: tuple[int, int]) -> Tensor:
    """Rearrange (n, channels * rows * columns, h, w) to (n, channels, h * rows, w * columns)."""
    n, _, high, wide = x.shape
    rows, columns = cell
    cut = x.reshape(n, channels, rows, columns, high, wide)
    return cut.permute(0, 1, 4, 2, 5, 3).reshape(n, channels, high * rows, wide * columns)
