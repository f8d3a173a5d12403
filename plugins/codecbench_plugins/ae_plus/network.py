"""The networks of `ae-plus`: a convolutional encoder that can be pruned and rounded to 8 bits, and its decoder.

Importing this module imports torch, so the codec imports it inside methods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codecbench.toolbox.learning import Geometry, quantise_dead_zone

MAX_WEIGHT, MAX_VALUE = 127, 255
"""Limits of weights (8 bits with their sign) and of hidden values (8 bits)."""

EXACT = (1 << 24) - 1
"""Integers up to this are exact in float32."""

START_DEVIATION = 2.0
"""The standard deviation of the latents, in steps, before training."""


def strides(geometry: Geometry) -> list[tuple[int, int]]:
    """Return the strides of the encoder's layers: 2 until a block is one position; 1, 1, 1 for a whole sample."""
    if geometry.is_one_block:
        return [(1, 1)] * 3
    found, (rows, columns) = [], geometry.block
    while rows > 1 or columns > 1:
        step = (2 if rows % 2 == 0 else rows, 2 if columns % 2 == 0 else columns)
        found.append(step)
        rows, columns = rows // step[0], columns // step[1]
    return found or [(1, 1)]


def widths(geometry: Geometry, first: int, latents: int) -> list[int]:
    """Return the numbers of channels: input, between the layers (doubling), and output."""
    count = len(strides(geometry))
    return [geometry.channels, *(first << i for i in range(count - 1)), latents]


def rounded(x: Tensor) -> Tensor:
    """Return the nearest integers, with the gradient of the identity."""
    return x + (torch.round(x) - x).detach()


class Encoder(nn.Module):
    """Strided 3 x 3 convolutions with ReLU between, to a grid of latents in steps.

    `compress` prunes hidden channels. From then on, weights and hidden values are rounded to 8 bits as on the device,
    with straight-through gradients (Jacob et al. 2018, section 3).
    """

    mean: Tensor
    deviation: Tensor
    compressed: Tensor

    def __init__(self, geometry: Geometry, channels: Sequence[int], mean: float, deviation: float) -> None:
        """Make layers for `channels`: input, between the layers, and output, as `widths` returns them."""
        super().__init__()
        self.strides = strides(geometry)
        side = 1 if geometry.is_one_block else 3
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, side, stride, side // 2)
            for a, b, stride in zip(channels[:-1], channels[1:], self.strides, strict=True)
        )
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))
        self.register_buffer("compressed", torch.tensor(0.0))
        for i, width in enumerate(channels[1:-1]):
            self.register_buffer(f"kept{i}", torch.ones(width))
            self.register_buffer(f"peak{i}", torch.tensor(0.0))

    def forward(self, xs: Tensor, geometry: Geometry) -> Tensor:
        """Return the latents of samples."""
        x = (geometry.planes(xs) - self.mean) / self.deviation
        x = x.contiguous(memory_format=torch.channels_last)
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Conv2d)
            x = F.conv2d(x, self._weight(layer), layer.bias, layer.stride, layer.padding)
            if i < last:
                x = self._hidden(F.relu(x), i)
        return x

    def _weight(self, layer: nn.Conv2d) -> Tensor:
        if not self.compressed:
            return layer.weight
        unit = _weight_unit(layer.weight)
        return rounded(layer.weight / unit) * unit

    def _hidden(self, x: Tensor, at: int) -> Tensor:
        peak, kept = self.get_buffer(f"peak{at}"), self.get_buffer(f"kept{at}")
        if self.training and not self.compressed:
            peak.copy_(torch.maximum(peak * 0.99, x.detach().amax()))
        x = x * kept[:, None, None]
        if not self.compressed:
            return x
        unit = (peak / MAX_VALUE).clamp(min=1e-12)
        return rounded((x / unit).clamp(max=MAX_VALUE)) * unit

    @torch.no_grad()
    def scale_output(self, xs: Tensor, geometry: Geometry) -> None:
        """Scale the last layer so that these samples' latents have START_DEVIATION."""
        latents = self(xs, geometry)
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        last.weight.mul_(START_DEVIATION / latents.std().clamp(min=1e-6))
        last.bias.zero_()

    @torch.no_grad()
    def compress(self, share: float) -> None:
        """Keep this share of the hidden channels: those whose incoming and outgoing weights have the largest norms.

        Structured pruning by magnitude (Li et al. 2017, section 3.1, with the next layer's norms as well).
        """
        for i, (layer, following) in enumerate(zip(self.layers[:-1], self.layers[1:], strict=True)):
            assert isinstance(layer, nn.Conv2d)
            assert isinstance(following, nn.Conv2d)
            norms = layer.weight.square().sum((1, 2, 3)) * following.weight.square().sum((0, 2, 3))
            kept = max(1, math.ceil(share * len(norms)))
            mask = torch.zeros_like(norms)
            mask[norms.argsort(descending=True, stable=True)[:kept]] = 1
            self.get_buffer(f"kept{i}").copy_(mask)
        self.compressed.fill_(1.0)

    @torch.no_grad()
    def integers(self, spec_is_image: bool, max_magnitude: float) -> IntegerEncoder:
        """Return the encoder for the device: pruned channels removed, weights and values as integers."""
        layers = [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]
        fan_in = layers[0].weight[0].numel()
        limit = 255.0 if spec_is_image else float(max(255, min(32_767, EXACT // (MAX_WEIGHT * fan_in) - 1)))
        grid = 255.0 if spec_is_image else limit / max_magnitude if 1e-30 < max_magnitude < 1e30 else 1.0
        found: list[IntegerLayer] = []
        unit_in, kept_in = torch.tensor(1.0 / grid), torch.ones(layers[0].weight.shape[1])
        for i, layer in enumerate(layers):
            hidden = i < len(layers) - 1
            kept = self.get_buffer(f"kept{i}") if hidden else torch.ones(len(layer.weight))
            assert layer.bias is not None
            weight, bias = layer.weight, layer.bias
            unit = _weight_unit(weight)
            integers = torch.round(weight / unit)[kept > 0][:, kept_in > 0]
            unit, bias = unit.reshape(-1)[kept > 0], bias[kept > 0]
            if i == 0:  # the mean is subtracted from the input, so that zeros of the padding stand for the mean
                unit = unit / self.deviation
            unit_out = (self.get_buffer(f"peak{i}") / MAX_VALUE).clamp(min=1e-12) if hidden else torch.tensor(1.0)
            factor = unit * unit_in / unit_out
            offset = torch.round(bias / (unit * unit_in).clamp(min=1e-30)).clamp(-EXACT / 4, EXACT / 4)
            found.append(
                IntegerLayer(
                    integers,
                    offset,
                    factor,
                    self.strides[i],
                    layer.padding[0] if isinstance(layer.padding, tuple) else 0,
                )
            )
            unit_in, kept_in = unit_out, kept
        return IntegerEncoder(found, grid, limit, float(torch.round(self.mean * grid)))


def _weight_unit(weight: Tensor) -> Tensor:
    """Return the unit in which the largest weight of an output channel is MAX_WEIGHT, (out, 1, 1, 1)."""
    return (weight.detach().abs().amax((1, 2, 3), keepdim=True) / MAX_WEIGHT).clamp(min=1e-12)


@dataclass
class IntegerLayer:
    """A convolution of integers: `weight` up to 127, `offset`, and the `factor` to the next layer's unit."""

    weight: Tensor
    offset: Tensor
    factor: Tensor
    stride: tuple[int, int]
    padding: int


class IntegerEncoder(nn.Module):
    """The encoder in integers. Sums are exact, so its symbols do not depend on batch, threads or machine."""

    def __init__(self, layers: Sequence[IntegerLayer], grid: float, limit: float, mean: float) -> None:
        super().__init__()
        self.grid, self.limit, self.mean = grid, limit, mean
        self.plan = [(layer.stride, layer.padding) for layer in layers]
        self.weights = nn.ParameterList(nn.Parameter(layer.weight, requires_grad=False) for layer in layers)
        self.offsets = nn.ParameterList(nn.Parameter(layer.offset, requires_grad=False) for layer in layers)
        self.factors = nn.ParameterList(nn.Parameter(layer.factor, requires_grad=False) for layer in layers)

    def forward(self, xs: Tensor, geometry: Geometry, image: bool) -> Tensor:
        """Return symbols (n, latents, height, width) of samples (n, *shape).

        Raises ValueError for values not finite.
        """
        if not bool(torch.isfinite(xs).all()):
            raise ValueError("the tensor holds values that are not finite; they cannot be quantised")
        integers = torch.round(xs.double() * self.grid).clamp(0 if image else -self.limit, self.limit)
        x = geometry.planes((integers - self.mean).float())
        max_input = self.limit + abs(self.mean)
        for i, (stride, padding) in enumerate(self.plan):
            weight, offset = self.weights[i], self.offsets[i]
            fan_in = weight[0].numel()
            exact = fan_in * MAX_WEIGHT * max_input <= EXACT
            kind = torch.float32 if exact else torch.float64
            y = F.conv2d(x.to(kind), weight.to(kind), None, stride, padding) + offset.to(kind)[:, None, None]
            y = y.float() * self.factors[i][:, None, None]
            x = y if i == len(self.plan) - 1 else torch.round(y).clamp(0, MAX_VALUE)
            max_input = MAX_VALUE
        return quantise_dead_zone(x)

    @torch.no_grad()
    def trainable(self, geometry: Geometry, deviation: float) -> Encoder:
        """Return a trainable encoder with about these integers: compressed already, without the removed channels.

        `deviation` is that of the training values. The unit of a hidden value is not stored, and any unit gives the
        same function. Each is chosen so that the weights before it are as large as those of a new layer (He et al.
        2015, section 2.2).
        """
        channels = [self.weights[0].shape[1], *(len(weight) for weight in self.weights)]
        encoder = Encoder(geometry, channels, self.mean / self.grid, deviation)
        unit_in = 1 / self.grid
        last = len(encoder.layers) - 1
        for i, layer in enumerate(encoder.layers):
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            weight = self.weights[i] * self.factors[i][:, None, None, None] / unit_in
            if i == 0:
                weight = weight * deviation
            unit_out = (
                1.0 if i == last else math.sqrt(2 / weight[0].numel()) / max(1e-12, float(weight.std(correction=0)))
            )
            layer.weight.copy_(weight * unit_out)
            layer.bias.copy_(self.offsets[i] * self.factors[i] * unit_out)
            if i < last:
                encoder.get_buffer(f"peak{i}").fill_(MAX_VALUE * unit_out)
            unit_in = unit_out
        encoder.compressed.fill_(1.0)
        return encoder

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that `from_tensors` takes."""
        numbers = [self.grid, self.limit, self.mean, *(float(n) for s, p in self.plan for n in (*s, p))]
        found = {"numbers": torch.tensor(numbers, dtype=torch.float64)}
        for i in range(len(self.plan)):
            found[f"weight{i}"] = self.weights[i].to(torch.int8)
            found[f"offset{i}"] = self.offsets[i].to(torch.int32)
            found[f"factor{i}"] = self.factors[i].float()
        return found

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> IntegerEncoder:
        """Return the encoder of these tensors; the inverse of `tensors`. Raises KeyError if one is missing."""
        grid, limit, mean, *rest = tensors["numbers"].tolist()
        layers = [
            IntegerLayer(
                tensors[f"weight{i}"].float(), tensors[f"offset{i}"].float(), tensors[f"factor{i}"],
                (int(rest[3 * i]), int(rest[3 * i + 1])), int(rest[3 * i + 2]),
            )
            for i in range(len(rest) // 3)
        ]  # fmt: skip
        return cls(layers, grid, limit, mean)


class Decoder(nn.Module):
    """The mirrored encoder: strided transposed convolutions with ReLU between, unpruned.

    `mean` and `deviation` are those of the training values.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, geometry: Geometry, first: int, latents: int, mean: float, deviation: float) -> None:
        super().__init__()
        channels = widths(geometry, first, latents)[::-1]
        side = 1 if geometry.is_one_block else 3
        layers: list[nn.Module] = []
        for a, b, stride in zip(channels[:-1], channels[1:], strides(geometry)[::-1], strict=True):
            layers.append(
                nn.ConvTranspose2d(a, b, side, stride, side // 2, output_padding=(stride[0] - 1, stride[1] - 1))
            )
        self.layers = nn.ModuleList(layers)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))

    def forward(self, grid: Tensor, geometry: Geometry) -> tuple[Tensor, None]:
        """Return the samples of symbols, and None, because this decoder has no copy of the tail."""
        x = grid.contiguous(memory_format=torch.channels_last)
        for i, layer in enumerate(self.layers):
            x = layer(x if i == 0 else F.relu(x))
        return geometry.samples(x * self.deviation + self.mean), None
