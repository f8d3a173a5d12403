"""Networks and differentiable pieces that learned codecs share: the blocks of a tiling as planes, quantisers, rates.

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from codecbench.toolbox.coding.context_prior import MAX_MAGNITUDE, group_sizes
from codecbench.toolbox.learning.tail_copy import TailCopy
from codecbench.toolbox.transforms.tiling import Tiling

FIRST_THRESHOLD = 0.6
"""In steps: smaller values are sent as zero, and all thresholds lie a tenth of a step beyond half-way. A symbol nearer
to zero costs fewer bits, which is worth the greater error (Sullivan 1996, section IV)."""


LEAST_SCALE, SLOPE_UNIT = 0.02, 0.2
"""Of a context's scales, in steps, and of what it multiplies magnitudes by."""


class Geometry:
    """How samples of a shape become the blocks of a `Tiling`, their latents a grid, and planes for convolutions.

    Samples are (n, *shape). Blocks are (n, places, values), places in the order of `Tiling.split`, of values the
    channels first; `order` says where in a block of `Tiling.split` each of them stands. A grid is
    (n, latents, height, width), of height 1 where one axis is tiled and 1 x 1 where none is or all are. Planes are
    (n, channels, height, width), padded to whole blocks by edge values.

    `whole` says that one block is the sample, whatever its size: none of its axes is tiled, or all of several. The only
    axis of a vector is tiled where it varies, so that its samples may have one block or many.
    """

    def __init__(self, tiling: Tiling, shape: Sequence[int]) -> None:
        self.tiling, self.shape = tiling, tuple(shape)
        is_block = len(self.shape) > 1 and len(tiling.axes) == len(self.shape) and tiling.count(shape) == 1
        self.whole = not tiling.axes or is_block
        axes = () if self.whole else tiling.axes
        self.axes = axes
        sizes = dict(zip(tiling.axes, tiling.sizes, strict=True))
        pairs = [(self.shape[axis], sizes[axis]) for axis in axes]
        pairs = [(1, 1)] * (2 - len(pairs)) + pairs
        self.block = tuple(size for _, size in pairs)
        self.grid = tuple(-(-extent // size) for extent, size in pairs)
        self.sides = tuple(extent for extent, _ in pairs)
        self.channels = math.prod(n for axis, n in enumerate(self.shape) if axis not in axes)
        self._order = [axis for axis in range(len(self.shape)) if axis not in axes] + list(axes)

    @property
    def values(self) -> int:
        """Values of a block."""
        return self.channels * math.prod(self.block)

    @property
    def order(self) -> Tensor:
        """(values,) integers; ascending where the tiled axes come last."""
        sizes = {**dict(enumerate(self.shape)), **dict(zip(self.tiling.axes, self.tiling.sizes, strict=True))}
        places = torch.arange(self.values).reshape([sizes[axis] for axis in range(len(self.shape))])
        return places.permute(self._order).flatten()

    def planes(self, xs: Tensor) -> Tensor:
        """Samples to padded planes."""
        planes = xs.permute(0, *(axis + 1 for axis in self._order)).reshape(len(xs), self.channels, *self.sides)
        margins = [grid * size - side for grid, size, side in zip(self.grid, self.block, self.sides, strict=True)]
        if not any(margins):
            return planes
        return F.pad(planes.float(), (0, margins[1], 0, margins[0]), mode="replicate").to(planes.dtype)

    def samples(self, planes: Tensor) -> Tensor:
        """Padded planes to samples; the inverse of `planes`."""
        cut = planes[:, :, : self.sides[0], : self.sides[1]]
        ordered = cut.reshape(len(planes), *(self.shape[axis] for axis in self._order))
        return ordered.permute(0, *(self._order.index(axis) + 1 for axis in range(len(self.shape))))

    def blocks(self, planes: Tensor) -> Tensor:
        """Padded planes to blocks."""
        return self._cut(planes).permute(0, 2, 4, 1, 3, 5).reshape(len(planes), math.prod(self.grid), self.values)

    def columns(self, planes: Tensor) -> Tensor:
        """Padded planes to blocks as columns, (n, values, places)."""
        return self._cut(planes).permute(0, 1, 3, 5, 2, 4).reshape(len(planes), self.values, math.prod(self.grid))

    def _cut(self, planes: Tensor) -> Tensor:
        """(n, channels, places, rows of a block, places, columns of a block)."""
        (high, wide), (rows, columns) = self.grid, self.block
        return planes.reshape(len(planes), self.channels, high, rows, wide, columns)

    def unblock(self, blocks: Tensor) -> Tensor:
        """Blocks to padded planes; the inverse of `blocks`."""
        (high, wide), (rows, columns) = self.grid, self.block
        cut = blocks.reshape(len(blocks), high, wide, self.channels, rows, columns)
        return cut.permute(0, 3, 1, 4, 2, 5).reshape(len(blocks), self.channels, high * rows, wide * columns)

    def to_grid(self, latents: Tensor) -> Tensor:
        """(n, places, latents) to a grid."""
        return latents.transpose(1, 2).reshape(len(latents), latents.shape[2], *self.grid)

    def from_grid(self, grid: Tensor) -> Tensor:
        """The inverse of `to_grid`."""
        return grid.flatten(2).transpose(1, 2)


@lru_cache(maxsize=64)
def geometry_of(tiling: Tiling, shape: tuple[int, ...]) -> Geometry:
    """A geometry that is kept: an encoder asks for that of the same shape over and over."""
    return Geometry(tiling, shape)


def quantise(y: Tensor) -> Tensor:
    """Values in steps to the nearest integers, those just beyond half-way to the one nearer zero."""
    return torch.add(y, torch.sign(y), alpha=1 - FIRST_THRESHOLD).trunc_()


def straight_through(y: Tensor) -> Tensor:
    """`quantise`, with the gradient of the identity (Bengio, Leonard and Courville 2013, section 4)."""
    return y + (quantise(y) - y).detach()


def with_noise(y: Tensor, generator: torch.Generator) -> Tensor:
    """Values with uniform noise of a step, whose rate stands for that of the symbols (Balle et al. 2017, section 3)."""
    noise = torch.rand(y.shape, generator=generator).to(y.device)
    return y + noise - 0.5


def laplace_bits(y: Tensor, scale: Tensor) -> Tensor:
    """-log2 of the probability that the Laplace distribution of a scale gives to the step about y. Same shape."""
    upper = -(y.abs() - 0.5)
    lower = -(y.abs() + 0.5)
    half = 0.5 * torch.exp(-upper.abs() / scale)
    inside = torch.where(upper > 0, 1 - half, half)
    probability = inside - 0.5 * torch.exp(lower / scale)
    return -torch.log2(probability.clamp(min=1e-9))


class ScaleContext(nn.Module):
    """The scale of each latent, predicted from the magnitudes of the groups before it as `ContextPrior` does.

    Trained as floating-point numbers, with magnitudes of noisy values; `weights` are what the integers are made of.
    """

    _members: Tensor
    _mask: Tensor

    def __init__(self, deviations: Tensor) -> None:
        """`deviations` (channels,) are those of the latents in steps, from which the scales start."""
        super().__init__()
        channels = len(deviations)
        sizes = group_sizes(channels)
        group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        start = (0.6 * deviations).clamp(0.05, 50.0)
        self.base = nn.Parameter(torch.log(torch.expm1(start)))
        self.slopes = nn.Parameter(torch.full((channels, 3 * len(sizes)), -4.0))
        mask = (torch.arange(len(sizes)) < group[:, None]).float()
        self.register_buffer("_members", F.one_hot(group, len(sizes)).float(), persistent=False)
        self.register_buffer("_mask", mask.repeat(1, 3), persistent=False)

    @classmethod
    def of_weights(cls, weights: NDArray[np.float64], finer: float) -> ScaleContext:
        """The context that has these `weights`, for steps so many times as fine."""
        context = cls(torch.ones(len(weights)))
        given = torch.from_numpy(weights).float()
        share = context._share()
        with torch.no_grad():
            constant = ((given[:, 0] * finer - LEAST_SCALE) / share).clamp(1e-3, 80.0)  # e^89 is beyond float32
            context.base.copy_(torch.log(torch.expm1(constant)))
            context.slopes.copy_(torch.log(torch.expm1((given[:, 1:] / SLOPE_UNIT).clamp(1e-4, 50.0))))
        return context

    def _share(self) -> Tensor:
        """Where there is something to learn from, a part of the constant is left to it."""
        return torch.where(self._mask.any(1), 0.5, 1.0)

    def _factors(self) -> tuple[Tensor, Tensor]:
        constant = F.softplus(self.base)
        return constant * self._share() + LEAST_SCALE, SLOPE_UNIT * F.softplus(self.slopes) * self._mask

    def forward(self, y: Tensor) -> Tensor:
        """Scales, in steps, of a grid of latents."""
        constant, slopes = self._factors()
        magnitudes = torch.einsum("nchw,cg->nghw", y.abs().clamp(max=MAX_MAGNITUDE), self._members)
        around = F.avg_pool2d(F.pad(magnitudes, (1, 1, 1, 1), mode="replicate"), 3, 1)
        everywhere = magnitudes.mean((2, 3), keepdim=True).expand_as(magnitudes)
        features = torch.cat([magnitudes, around, everywhere], 1)
        return torch.einsum("nfhw,cf->nchw", features, slopes) + constant[:, None, None]

    def weights(self) -> Tensor:
        """(channels, 1 + 3 groups) float64, in steps, for `ContextPrior.fitted`."""
        with torch.no_grad():
            constant, slopes = self._factors()
            return torch.cat([constant[:, None], slopes], 1).double()


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))), 3 x 3, the last convolution starting at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        assert self.second.bias is not None
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        y: Tensor = self.second(F.relu(self.first(F.relu(x))))
        return x + y


class Synthesis(nn.Module):
    """Latents to samples: the transposed transform, and a network that mends what quantisation took.

    The transform starts at `matrix` (values, latents) and `mean` (values,), in values for a step. Where blocks tile
    the tensor, the network works on cells of at most 2 x 2 values in `width` channels and, between, on cells twice as
    long in twice the channels, with `depth` residual blocks there (Ronneberger, Fischer and Brox 2015). `tail`, a copy
    of the tail that is trained as well, looks at what the transform gives, and its features and output come in where
    their size fits: so the network starts with what the tail knows. `answer` is the copy's output of the last call.
    `given_tail` stays the tail as it was given, for `steered`.

    Where one block is the tensor, the network is one of 1 x 1 convolutions on the latents.
    """

    unit: Tensor
    spread: Tensor

    def __init__(
        self, geometry: Geometry, matrix: Tensor, mean: Tensor, width: int, depth: int, tail: TailCopy | None = None
    ) -> None:
        super().__init__()
        latents = matrix.shape[1]
        # In units in which weights are about 1, one learning rate suits all.
        self.register_buffer("unit", _positive(matrix.square().mean().sqrt()))
        self.register_buffer("spread", _positive(matrix.square().sum(1).mean().sqrt()))
        self.matrix = nn.Parameter(matrix / self.unit)
        self.mean = nn.Parameter(mean / self.unit)
        self.is_vector = geometry.whole
        self.tail = None if self.is_vector else tail
        self.given_tail = copy.deepcopy(self.tail)
        if self.given_tail is not None:
            self.given_tail.requires_grad_(False)
        self.answer: Tensor | None = None
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
                self._look_at(tail, geometry, width)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def _look_at(self, tail: TailCopy, geometry: Geometry, width: int) -> None:
        """Layers that bring the copy's features and output to `hidden` and `deep`, where their sizes fit."""
        with torch.no_grad():
            features, answer = tail(torch.zeros(1, *geometry.shape))
        fine = tuple(side // cell for side, cell in zip(self._padded(geometry), self.cell, strict=True))
        coarse = tuple(n // stride for n, stride in zip(fine, self.narrow.stride, strict=True))
        self.lifts = nn.ModuleDict()
        for i, feature in enumerate(features):
            for size, channels in ((fine, width), (coarse, 2 * width)):
                if tuple(feature.shape[2:]) == size:
                    self.lifts[f"{i}"] = nn.Conv2d(feature.shape[1], channels, 1)
        self.ask = nn.Linear(answer.flatten(1).shape[1], 2 * width)

    @torch.no_grad()
    def rescale(self, factor: float) -> None:
        """Make it read latents whose steps are `factor` times as long."""
        self.matrix.mul_(factor)
        self.up.weight.mul_(factor)
        if self.is_vector:  # there the network mends the latents themselves
            assert self.out.bias is not None
            self.out.weight.div_(factor)
            self.out.bias.div_(factor)

    @staticmethod
    def _padded(geometry: Geometry) -> tuple[int, ...]:
        return tuple(count * size for count, size in zip(geometry.grid, geometry.block, strict=True))

    def forward(self, grid: Tensor, geometry: Geometry) -> Tensor:
        """A grid of symbols to samples."""
        hidden = self.up(grid)
        if self.is_vector:
            for layer in self.inner:
                hidden = layer(F.relu(hidden))
            return geometry.samples(self._linear(grid + self.out(F.relu(hidden)), geometry))
        linear = self._linear(grid, geometry)
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        features: list[Tensor] = []
        if self.tail is not None:
            features, self.answer = self._asked(self.tail, linear, geometry)
            hidden = self._lifted(hidden, features)
        hidden = self.first(hidden)
        deep = self.narrow(F.relu(hidden))
        if self.answer is not None:
            deep = self._lifted(deep, features) + self.ask(self.answer.flatten(1))[:, :, None, None]
        for block in self.inner:
            deep = block(deep)
        hidden = self.last(hidden + self.widen(F.relu(deep)))
        mended = _from_cells(self.out(F.relu(hidden)), geometry.channels, self.cell)
        return geometry.samples(linear + 0.1 * self.spread * mended)

    def steered(self, grid: Tensor, geometry: Geometry, limits: tuple[float, float], *, mirrored: bool) -> Tensor:
        """Samples of a grid within limits, moved so that the tail says the mean of what it and its copy say of them.

        `mirrored` has the copy look at what the transform gives along its last axis backwards, too, and say the mean.
        """
        samples: Tensor = self(grid, geometry).clamp(*limits)
        if self.tail is None or self.given_tail is None or self.answer is None:
            return samples
        wanted = self.answer
        if mirrored:
            _, other = self.tail(geometry.samples(self._linear(grid, geometry)).flip(-1))
            wanted = (wanted + other) / 2
        return self.given_tail.steered(samples, wanted).clamp(*limits)

    def answered(self, grid: Tensor, geometry: Geometry) -> Tensor:
        """What the copy of the tail says of the transform alone. Only where there is a copy."""
        assert self.tail is not None
        return self._asked(self.tail, self._linear(grid, geometry), geometry)[1]

    def _asked(self, tail: TailCopy, planes: Tensor, geometry: Geometry) -> tuple[list[Tensor], Tensor]:
        asked: tuple[list[Tensor], Tensor] = tail(
            geometry.samples(planes).contiguous(memory_format=torch.channels_last)
        )
        return asked

    def _lifted(self, x: Tensor, features: list[Tensor]) -> Tensor:
        for i, feature in enumerate(features):
            if f"{i}" in self.lifts and feature.shape[2:] == x.shape[2:]:
                x = x + self.lifts[f"{i}"](feature)
        return x

    def _linear(self, grid: Tensor, geometry: Geometry) -> Tensor:
        """Padded planes."""
        return geometry.unblock((geometry.from_grid(grid) @ self.matrix.T + self.mean) * self.unit)


def _positive(value: Tensor) -> Tensor:
    """The value, 1 where it is zero."""
    return torch.where(value > 0, value, torch.ones_like(value))


def _from_cells(x: Tensor, channels: int, cell: tuple[int, int]) -> Tensor:
    """(n, channels * rows * columns, h, w) to (n, channels, h * rows, w * columns)."""
    n, _, high, wide = x.shape
    rows, columns = cell
    cut = x.reshape(n, channels, rows, columns, high, wide)
    return cut.permute(0, 1, 4, 2, 5, 3).reshape(n, channels, high * rows, wide * columns)
