"""What learned codecs have in common: an exact integer transform for the device, and a base class around it.

A learned encoder is a matrix on blocks, a convolution whose stride is its kernel. Its weights and inputs are integers
so small that float32 (float64 for long blocks) holds every sum exactly: symbols depend neither on batches, nor on
threads, nor on the machine.

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from codecbench.codec import TensorSpec
from codecbench.toolbox.coding.headers import to_pixels
from codecbench.toolbox.learning.synthesis import Geometry
from codecbench.toolbox.transforms.tiling import Tiling

LONG_BLOCK = 1024
"""Values of the longest block that float32 serves; the sums of longer ones are exact in float64."""

_PLANES = "planes of "
"""What the name of a float16 tensor begins with in a state, where it is two planes of bytes."""

INPUT_BITS = 10
"""Values of features are rounded to so many bits and a sign, of the greatest value in training."""


class IntegerTransform(nn.Module):
    """Blocks to components: (x W^T - c) / s in whole numbers, s being a power of two for each component.

    `weight` (components, values), `offset` and `scale` (components,). An image's pixels are its integers; other values
    are multiples of 1/`grid` and clipped at `limit` of these.
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
    def of(cls, matrix: Tensor, mean: Tensor, spec: TensorSpec, greatest: float) -> IntegerTransform:
        """For components `matrix` (x - `mean`), of which a step is 1. `greatest` is the greatest magnitude in training.

        Each component's weights are as fine as exact sums allow.
        """
        long = matrix.shape[1] > LONG_BLOCK
        bits, dtype = (50, torch.float64) if long else (24, torch.float32)
        limit = 255.0 if spec.image else float(2 ** (20 if long else INPUT_BITS) - 1)
        grid = 255.0 if spec.image else limit / greatest if 1e-30 < greatest < 1e30 else 1.0
        weight = matrix.double() / grid
        # Half of the room is for the weights, a quarter for the offset, and rounding has the rest.
        most = 2.0 ** (bits - 1) / limit - weight.shape[1]
        room = most / weight.abs().sum(1).clamp(min=1e-30)
        scale = torch.exp2(torch.floor(torch.log2(room.clamp(2.0**-60, 2.0**60))))
        offset = torch.round((weight @ (mean.double() * grid)) * scale).clamp(-(2.0 ** (bits - 2)), 2.0 ** (bits - 2))
        return cls((weight * scale[:, None]).round().to(dtype), offset.to(dtype), scale.to(dtype), grid, limit)

    def integers(self, xs: Tensor, image: bool) -> Tensor:
        """Samples as whole numbers. Raises ValueError for values that are not finite."""
        if image:
            return torch.from_numpy(to_pixels(xs.numpy())).to(self.weight.dtype)
        whole = xs.to(self.weight.dtype) * self.grid
        # A sum is quicker than a look at every value; it may overflow, but is no number where a value is none.
        if not math.isfinite(float(whole.sum())) and not bool(torch.isfinite(xs).all()):
            raise ValueError("the tensor holds values that are not finite; they cannot be quantised")
        return whole.round_().clamp_(-self.limit, self.limit)

    def forward(self, columns: Tensor) -> Tensor:
        """Whole numbers (values, places) to components (components, places), in steps."""
        return torch.addmm(self._constant, self.weight, columns).div_(self.scale[:, None])

    def components(self, x: Tensor, geometry: Geometry, image: bool) -> Tensor:
        """A sample to a grid of components (components, height, width), in steps. Raises ValueError as `integers`."""
        columns = geometry.columns(geometry.planes(self.integers(x[None], image)))[0]
        found: Tensor = self(columns)
        return found.view(-1, *geometry.grid)

    def matrix(self) -> Tensor:
        """(components, values), in steps for a value: what the whole numbers stand for."""
        return (self.weight.double() * (self.grid / self.scale.double())[:, None]).float()

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` takes, as integers of 32 bits or, for long blocks, floating-point numbers."""
        return {
            "weight": self.weight if self.weight.dtype == torch.float64 else self.weight.to(torch.int32),
            "offset": self.offset.double(), "scale": self.scale.double(),
            "grid": torch.tensor([self.grid, self.limit], dtype=torch.float64),
        }  # fmt: skip

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> IntegerTransform:
        """The inverse of `tensors`. Raises KeyError where one is missing."""
        weight = tensors["weight"]
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        grid, limit = tensors["grid"].tolist()
        offset, scale = tensors["offset"].to(dtype), tensors["scale"].to(dtype)
        return cls(weight.to(dtype), offset, scale, grid, limit)


@dataclass(frozen=True)
class State:
    """One side's state: plain values and tensors, in one safetensors file."""

    about: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The state that `from_bytes` takes."""
        from safetensors.torch import save

        about = torch.frombuffer(bytearray(json.dumps(self.about, sort_keys=True).encode()), dtype=torch.uint8)
        tensors = dict(_split(name, tensor.detach().cpu().contiguous()) for name, tensor in self.tensors.items())
        return save({"about": about, **tensors})

    @classmethod
    def from_bytes(cls, state: bytes) -> State:
        """The inverse of `to_bytes`. Raises ValueError for anything else."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            tensors = load(state)
            about = json.loads(tensors.pop("about").numpy().tobytes())
            return cls(about, dict(_joined(name, tensor) for name, tensor in tensors.items()))
        except (SafetensorError, KeyError, ValueError) as error:
            raise ValueError(f"no state of a learned codec: {error}") from error


def _split(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """Of float16, a plane of low bytes and one of high bytes, (2, *shape): they deflate better than numbers."""
    if tensor.dtype != torch.float16:
        return name, tensor
    planes = tensor.flatten().view(torch.uint8).reshape(tensor.numel(), 2).T
    return f"{_PLANES}{name}", planes.reshape(2, *tensor.shape).contiguous()


def _joined(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """The inverse of `_split`."""
    if not name.startswith(_PLANES):
        return name, tensor
    if tensor.dtype != torch.uint8 or tensor.ndim < 1 or len(tensor) != 2:
        raise ValueError(f"{name!r} are no planes of bytes")
    pairs = torch.stack([tensor[0].flatten(), tensor[1].flatten()], 1)
    return name.removeprefix(_PLANES), pairs.view(torch.float16).reshape(tensor.shape[1:])


def as_bytes(tensor: Tensor) -> bytes:
    """The bytes that a tensor of `State` stands for."""
    return tensor.numpy().tobytes()


def from_bytes(values: bytes) -> Tensor:
    """Bytes as a tensor for `State`."""
    return torch.frombuffer(bytearray(values), dtype=torch.uint8) if values else torch.zeros(0, dtype=torch.uint8)


def halved(network: nn.Module) -> dict[str, Tensor]:
    """A network's weights as float16, for a state, by name below "network."; they are rounded in the network too.

    Single numbers, and weights beyond float16's range, keep float32.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        half = tensor.half()
        if tensor.ndim == 0 or not bool(torch.isfinite(half).all()):
            half = tensor.float()
        tensor.copy_(half.to(tensor.dtype))
        found[f"network.{name}"] = half
    return found


def load_halved(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put weights of `halved` into a network. Raises ValueError where they are not its own."""
    own = {name.partition(".")[2]: t.float() for name, t in tensors.items() if name.startswith("network.")}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(f"the weights are of another network: {error}") from error
    network.eval()


def tiling_to_json(tiling: Tiling) -> list[list[int]]:
    """A tiling as plain values."""
    return [list(tiling.axes), list(tiling.sizes)]


def tiling_from_json(values: Sequence[Sequence[int]]) -> Tiling:
    """The inverse of `tiling_to_json`."""
    axes, sizes = values
    return Tiling(tuple(axes), tuple(sizes))
