"""The codes of `deepcod`'s symbols: a fixed number of bits each, or a prior of training symbols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from codecbench import PayloadError
from codecbench.toolbox.coding import ContextPrior, Prior, pack_bits, unpack_bits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

AnyPrior: TypeAlias = Prior | ContextPrior

MANY_COMPONENTS = 8192
"""From this number on, comparing all components with each threshold is faster than a search for each component."""


def symbols_of(components: Tensor, thresholds: Tensor) -> NDArray[np.int32]:
    """Return the number of thresholds below each component, for ascending thresholds. Same shape."""
    import torch

    if components.numel() < MANY_COMPONENTS:
        return torch.bucketize(components, thresholds, out_int32=True).numpy()
    symbols = torch.zeros(components.shape, dtype=torch.uint8)
    for threshold in thresholds:
        symbols += components > threshold
    return symbols.int().numpy()


@dataclass(frozen=True, eq=False)
class SymbolPrior:
    """A prior, with or without contexts, of symbols (latents, height, width) from 0 to `levels` - 1.

    It codes differences from the most frequent symbol of each latent, `commonest`, (latents,).
    """

    prior: AnyPrior
    commonest: NDArray[np.int32]
    levels: int

    def encode(self, symbols: NDArray[np.int32]) -> bytes:
        """Return the bitstream of symbols."""
        return self.prior.encode(self._differences(symbols))

    def bound_bytes(self, symbols: NDArray[np.int32]) -> float:
        """Return the Shannon bound of symbols, in bytes."""
        return self.prior.bound_bytes(self._differences(symbols))

    def decode(self, bitstream: memoryview, shape: tuple[int, int]) -> NDArray[np.int64]:
        """Return the symbols for a height and width; the inverse of `encode`. Raises PayloadError if invalid."""
        if isinstance(self.prior, ContextPrior):
            differences = self.prior.decode(bitstream, shape)
        else:
            differences = self.prior.decode(bitstream, shape[0] * shape[1]).reshape(len(self.commonest), *shape)
        symbols = (differences + self.commonest[:, None, None]).astype("int64")
        if not 0 <= symbols.min() <= symbols.max() < self.levels:
            raise PayloadError(f"a symbol is outside 0 to {self.levels - 1}")
        return symbols

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors for a state, which `from_tensors` takes."""
        import torch

        from codecbench.toolbox.learning import bytes_tensor

        return {
            "prior": bytes_tensor(self.prior.to_bytes()),
            "is_context": torch.tensor(isinstance(self.prior, ContextPrior)),
            "commonest": torch.from_numpy(self.commonest),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], levels: int) -> SymbolPrior:
        """Return the prior of these tensors; the inverse of `tensors`. Raises KeyError if one is missing."""
        from codecbench.toolbox.learning import tensor_bytes

        is_context = bool(tensors["is_context"])
        table = tensor_bytes(tensors["prior"])
        commonest = tensors["commonest"].numpy()
        return cls((ContextPrior if is_context else Prior).from_bytes(table), commonest, levels)

    def _differences(self, symbols: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return differences from the most frequent symbols; without contexts as one row for each latent."""
        differences = symbols - self.commonest[:, None, None]
        return differences if isinstance(self.prior, ContextPrior) else differences.reshape(len(differences), -1)


def pack(symbols: NDArray[np.int32], levels: int) -> bytes:
    """Return symbols below `levels` at ceil(log2 levels) bits each, the last byte padded with zeros."""
    return pack_bits(symbols, (levels - 1).bit_length())


def unpack(payload: bytes | memoryview, levels: int, count: int) -> NDArray[np.uint16]:
    """Return the symbols; the inverse of `pack`.

    Raises PayloadError for another size, a symbol that is not below `levels`, or nonzero padding bits.
    """
    width_bits = (levels - 1).bit_length()
    symbols = unpack_bits(payload, width_bits, count)
    if symbols.size and int(symbols.max()) >= levels:
        raise PayloadError(f"symbol {int(symbols.max())} is not below {levels}")
    if payload and payload[-1] & ((1 << -count * width_bits % 8) - 1):
        raise PayloadError("bits behind the last symbol")
    return symbols
