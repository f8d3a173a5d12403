"""The networks of `deepcod` (section 4 there): a measurement under spectral norm, learned centres, and the decoder.

Importing this module imports torch, so the codec imports it inside methods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codecbench.toolbox.learning import Geometry

FULL_POOL, REDUCED_POOL = 4, 8
"""Sides of the windows over which an attention takes the maximum of keys and values."""

KEY_SHARE, VALUE_SHARE = 8, 4
"""A reduced attention has an eighth of the width for queries and keys, and a quarter for values."""

MIN_WIDTH, MAX_WIDTH = 32, 64
"""Width of a decoder's last block: the number of the tensor's channels, within these limits."""

FIRST_ITERATIONS = 5

MAX_ATTENDED = 80_000_000
"""About the most weights of one attention in a batch; training takes some 16 bytes for each."""


class SpectralKernel(nn.Module):
    """A kernel as a matrix (outputs, inputs), divided by its largest singular value.

    The singular value is estimated by one power iteration a step (Miyato et al. 2018, algorithm 1). The matrix starts
    orthogonal. `fix_norm` divides permanently and ends the iteration.
    """

    direction: Tensor

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(nn.init.orthogonal_(torch.empty(outputs, inputs)))
        self.register_buffer("direction", F.normalize(torch.randn(outputs), dim=0))
        self.refresh()

    def refresh(self) -> None:
        """Estimate the singular value anew, after the matrix was replaced."""
        for _ in range(FIRST_ITERATIONS):
            self._iterate()

    def fix_norm(self) -> None:
        """Divide the matrix by its norm permanently."""
        with torch.no_grad():
            self.matrix.copy_(self())
        del self._buffers["direction"]

    def forward(self) -> Tensor:
        """Return the matrix divided by its norm."""
        if "direction" not in self._buffers:
            return self.matrix
        if self.training:
            self._iterate()
        left = self.direction.clone()  # the next iteration writes into it
        right = F.normalize(self.matrix.detach().T @ left, dim=0)
        return self.matrix / torch.dot(left, self.matrix @ right).clamp(min=1e-12)

    def penalty(self) -> Tensor:
        """Return half of ||W W^T - I||^2, with W^T W instead if the matrix has more rows than columns."""
        rows, columns = self.matrix.shape
        gram = self.matrix @ self.matrix.T if rows <= columns else self.matrix.T @ self.matrix
        return 0.5 * (gram - torch.eye(len(gram), device=gram.device)).square().sum()

    @torch.no_grad()
    def _iterate(self) -> None:
        right = F.normalize(self.matrix.T @ self.direction, dim=0)
        self.direction.copy_(F.normalize(self.matrix @ right, dim=0))


class Convolution(nn.Module):
    """A convolution under spectral norm, transposed if its stride is over 1. The grid grows by the stride."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], stride: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.kernel = SpectralKernel(outputs, inputs * size[0] * size[1])
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._shape = (outputs, inputs, *size)
        self._stride = stride
        self._padding = (size[0] // 2, size[1] // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h * stride, w * stride)."""
        weight = self.kernel().view(self._shape)
        if self._stride == (1, 1):
            return F.conv2d(x, weight, self.bias, padding=self._padding)
        more = (self._stride[0] - 1, self._stride[1] - 1)
        return F.conv_transpose2d(x, weight.transpose(0, 1), self.bias, self._stride, self._padding, more)


class Attention(nn.Module):
    """Self-attention (Zhang et al. 2019, section 3) to max-pooled keys and values, in windows of `pool` x `pool`.

    Its contribution starts at zero. A window is no larger than the grid: on a grid of 1 x 1 it is a convolution.
    """

    def __init__(self, width: int, pool: int, *, reduced: bool) -> None:
        super().__init__()
        keys, values = (max(1, width // share) if reduced else width for share in (KEY_SHARE, VALUE_SHARE))
        self.queries = Convolution(width, keys, (1, 1))
        self.keys = Convolution(width, keys, (1, 1))
        self.values = Convolution(width, values, (1, 1))
        self.widen = Convolution(values, width, (1, 1)) if reduced else nn.Identity()
        self.share = nn.Parameter(torch.zeros(()))
        self._pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        keys, values = (self._pooled(part(x)).flatten(2) for part in (self.keys, self.values))
        weights = torch.softmax(self.queries(x).flatten(2).transpose(1, 2) @ keys, -1)
        seen = (values @ weights.transpose(1, 2)).view(len(x), -1, *x.shape[2:])
        widened: Tensor = self.widen(seen)
        return x + self.share * widened

    def _pooled(self, x: Tensor) -> Tensor:
        window = [min(self._pool, side) for side in x.shape[2:]]
        return F.max_pool2d(x, window, ceil_mode=True)


class UpBlock(nn.Module):
    """Batch normalisation, ReLU and convolution, twice, the first with the stride; plus a skip convolution."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.first = Convolution(inputs, outputs, size, stride)
        self.second = Convolution(outputs, outputs, size)
        self.skip = Convolution(inputs, outputs, size, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h * stride, w * stride)."""
        y: Tensor = self.first(F.relu(self.first_norm(x)))
        y = self.second(F.relu(self.second_norm(y)))
        skipped: Tensor = self.skip(x)
        return y + skipped


class Decoder(nn.Module):
    """Grids of centres to planes: attention, blocks that double the grid with attention between, and a convolution.

    `strides` are those of the blocks, whose widths halve down to `width`. `size` is the kernel size of the
    convolutions, 1 along an axis of length 1. The result is `mean` (channels,) plus `deviation` times the network's
    output, which goes through tanh if `bounded`.
    """

    relative_mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        latents: int,
        strides: Sequence[tuple[int, int]],
        size: tuple[int, int],
        width: int,
        mean: Tensor,
        deviation: Tensor,
        *,
        bounded: bool,
    ) -> None:
        super().__init__()
        widths = [latents, *(width << (len(strides) - 1 - i) for i in range(len(strides)))]
        layers: list[nn.Module] = [Attention(latents, FULL_POOL, reduced=False)]
        for at, stride in enumerate(strides):
            if at:
                layers.append(Attention(widths[at], REDUCED_POOL, reduced=True))
            layers.append(UpBlock(widths[at], widths[at + 1], size, stride))
        self.layers = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(width)
        self.last = Convolution(width, len(mean), size)
        # Relative, so that float16 holds it however small the tensor's values are.
        self.register_buffer("relative_mean", (mean / deviation)[:, None, None])
        self.register_buffer("deviation", deviation.clone())
        self._bounded = bounded

    def forward(self, grid: Tensor) -> Tensor:
        """Map (n, latents, h, w) to (n, channels, h * strides, w * strides)."""
        channels_last = grid.contiguous(memory_format=torch.channels_last)  # convolutions on CPUs are faster
        planes: Tensor = self.last(F.relu(self.norm(self.layers(channels_last))))
        return self.deviation * (self.relative_mean + (torch.tanh(planes) if self._bounded else planes))

    def fix_norm(self) -> Decoder:
        """Divide all kernels by their norms permanently, and return the decoder."""
        for kernel in kernels(self):
            kernel.fix_norm()
        return self

    def start_at(self, weights: Mapping[str, Tensor]) -> None:
        """Load the weights, by parameter name, whose shape fits; other parameters keep their start."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                found = weights.get(name)
                if found is not None and found.shape == parameter.shape:
                    parameter.copy_(found)
        for kernel in kernels(self):
            kernel.refresh()


class Model(nn.Module):
    """The networks that are trained: the measurement, the centres and the decoder.

    Blocks are (n, positions, values). A component is `gain` times the measurement of (block - `mean`) / `deviation`;
    the gain gives components a deviation of about 1 at the start.
    """

    mean: Tensor
    deviation: Tensor
    gain: Tensor

    def __init__(
        self, directions: Tensor, mean: Tensor, deviation: Tensor, gain: Tensor, centres: Tensor, temperature: float,
        decoder: Decoder,
    ) -> None:  # fmt: skip
        super().__init__()
        self.measurement = SpectralKernel(*directions.shape)
        with torch.no_grad():
            self.measurement.matrix.copy_(directions)
        self.measurement.refresh()
        self.centres = nn.Parameter(centres.clone())
        self.decoder = decoder
        self.register_buffer("mean", mean.clone())
        self.register_buffer("deviation", deviation.clone())
        self.register_buffer("gain", gain.clone())
        self._temperature = temperature

    def components(self, blocks: Tensor) -> Tensor:
        """Map blocks (n, positions, values) to components (n, positions, latents)."""
        measured: Tensor = ((blocks - self.mean) / self.deviation) @ self.measurement().T
        return self.gain * measured

    def quantised(self, components: Tensor) -> Tensor:
        """Return the nearest centres, with the gradient of the soft assignment."""
        squares = (components[..., None] - self.centres).square()
        soft = torch.softmax(-squares / self._temperature, -1) @ self.centres
        nearest = self.centres[squares.argmin(-1)]
        return soft + (nearest - soft).detach()

    def penalty(self) -> Tensor:
        """Return the sum of the orthogonality penalties of all kernels."""
        return torch.stack([kernel.penalty() for kernel in kernels(self)]).sum()

    @torch.no_grad()
    def folded(self) -> Tensor:
        """Return the measurement with gain and deviation folded in, (latents, values), for blocks less `mean`."""
        measurement: Tensor = self.measurement()
        return measurement * (self.gain / self.deviation)


def decoder_for(
    geometry: Geometry, latents: int, mean: Tensor | None = None, deviation: Tensor | None = None, *, bounded: bool
) -> Decoder:
    """Return a decoder to planes of this geometry.

    If mean and deviation are not given, they are loaded with its weights.
    """
    rows, columns = geometry.block
    stride = (min(2, rows), min(2, columns))
    doublings = max(rows, columns).bit_length() - 1
    size = (3 if geometry.sides[0] > 1 else 1, 3 if geometry.sides[1] > 1 else 1)
    width = min(max(MIN_WIDTH, geometry.channels), MAX_WIDTH)
    mean = torch.zeros(geometry.channels) if mean is None else mean
    deviation = torch.ones(()) if deviation is None else deviation
    return Decoder(latents, [stride] * max(1, doublings), size, width, mean, deviation, bounded=bounded)


def batch_for(geometry: Geometry, limit: int) -> int:
    """Return the samples of a batch: `limit`, or fewer where an attention would have over MAX_ATTENDED weights."""
    attended = 1
    for at in range(max(1, max(geometry.block).bit_length() - 1)):
        sides = [cells * min(1 << at, size) for cells, size in zip(geometry.grid, geometry.block, strict=True)]
        pool = REDUCED_POOL if at else FULL_POOL
        attended = max(attended, math.prod(sides) * math.prod(-(-side // pool) for side in sides))
    return max(1, min(limit, MAX_ATTENDED // attended))


def kernels(network: nn.Module) -> list[SpectralKernel]:
    """Return every kernel of a network."""
    return [module for module in network.modules() if isinstance(module, SpectralKernel)]


def clipped_gradient(x: Tensor, max_norm: float) -> Tensor:
    """Return the tensor itself; the gradient that flows back through it is clipped to a norm of `max_norm`."""
    branch = x.view_as(x)
    if branch.requires_grad:
        # torch declares no types for it.
        branch.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: gradient * (max_norm / gradient.norm().clamp(min=max_norm))
        )
    return branch
