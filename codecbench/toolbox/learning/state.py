"""Fitted states as safetensors files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from codecbench.toolbox.transforms.tiling import Tiling

_PLANES = "planes of "
"""Prefix of the name of a float16 tensor in a state, where it is stored as two planes of bytes."""


@dataclass(frozen=True)
class State:
    """One side's state: JSON values (`about`) and tensors, in one safetensors file."""

    about: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the file that `from_bytes` reads."""
        from safetensors.torch import save

        about = torch.frombuffer(bytearray(json.dumps(self.about, sort_keys=True).encode()), dtype=torch.uint8)
        tensors = dict(_split(name, tensor.detach().cpu().contiguous()) for name, tensor in self.tensors.items())
        return save({"about": about, **tensors})

    @classmethod
    def from_bytes(cls, state: bytes) -> State:
        """Return the state in a file; the inverse of `to_bytes`. Raises ValueError for an invalid file."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            tensors = load(state)
            about = json.loads(tensors.pop("about").numpy().tobytes())
            found = dict(_joined(name, tensor) for name, tensor in tensors.items())
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise ValueError(f"no state of a learned codec: {error}") from error
        if not isinstance(about, dict):
            raise ValueError("no state of a learned codec: it says nothing about itself")
        return cls(about, found)


def _split(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """Return a float16 tensor as low bytes and high bytes, (2, *shape), which deflate better; others unchanged."""
    if tensor.dtype != torch.float16:
        return name, tensor
    planes = tensor.flatten().view(torch.uint8).reshape(tensor.numel(), 2).T
    return f"{_PLANES}{name}", planes.reshape(2, *tensor.shape).contiguous()


def _joined(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """Return the tensor; the inverse of `_split`."""
    if not name.startswith(_PLANES):
        return name, tensor
    if tensor.dtype != torch.uint8 or tensor.ndim < 1 or len(tensor) != 2:
        raise ValueError(f"{name!r} are no planes of bytes")
    pairs = torch.stack([tensor[0].flatten(), tensor[1].flatten()], 1)
    return name.removeprefix(_PLANES), pairs.view(torch.float16).reshape(tensor.shape[1:])


def tensor_bytes(tensor: Tensor) -> bytes:
    """Return the bytes in a tensor of `bytes_tensor`."""
    return tensor.numpy().tobytes()


def bytes_tensor(values: bytes) -> Tensor:
    """Return bytes as a uint8 tensor, to store them in a `State`."""
    return torch.frombuffer(bytearray(values), dtype=torch.uint8) if values else torch.zeros(0, dtype=torch.uint8)


def halved(network: nn.Module) -> dict[str, Tensor]:
    """Round a network's weights to float16 in place, and return them for a state, named "network." and their name.

    Single numbers, and tensors with values beyond float16's range, keep float32.
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
    """Load weights of `halved` into a network and set it to evaluation.

    Raises ValueError if they are of another network.
    """
    own = {name.partition(".")[2]: t.float() for name, t in tensors.items() if name.startswith("network.")}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(f"the weights are of another network: {error}") from error
    network.eval()


def tiling_to_json(tiling: Tiling) -> list[list[int]]:
    """Return a tiling as JSON values."""
    return [list(tiling.axes), list(tiling.sizes)]


def tiling_from_json(values: Sequence[Sequence[int]]) -> Tiling:
    """Return the tiling; the inverse of `tiling_to_json`."""
    axes, sizes = values
    return Tiling(tuple(axes), tuple(sizes))
