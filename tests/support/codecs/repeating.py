"""A plugin file of codecs whose second answer to a sample may be another one than the first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from codecbench import Codec, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class Same(Codec):
    """Behaves: the values as they are."""

    name = "same"
    points = ({},)

    def encode(self, x: Tensor) -> bytes:
        return x.numpy().tobytes()

    def decode(self, payload: bytes) -> Tensor:
        return self.spec.from_buffer(payload)


class OtherBytes(Same):
    """Encodes a sample alone to more bytes than in a batch, which decode to the same."""

    name = "other-bytes"

    def encode(self, x: Tensor) -> bytes:
        return super().encode(x) + b"alone"

    def encode_batch(self, xs: Sequence[Tensor]) -> list[bytes]:
        return [super(OtherBytes, self).encode(x) for x in xs]

    def decode(self, payload: bytes) -> Tensor:
        return super().decode(payload.removesuffix(b"alone"))


class OtherTensor(Same):
    """Decodes a payload alone to values that are a little greater than in a batch."""

    name = "other-tensor"
    added = 0.25

    def decode(self, payload: bytes) -> Tensor:
        return super().decode(payload) + self.added

    def decode_batch(self, payloads: Sequence[bytes]) -> list[Tensor]:
        return [super(OtherTensor, self).decode(payload) for payload in payloads]


class OtherRounding(OtherTensor):
    """The same by no more than rounding does: sums in another order."""

    name = "other-rounding"
    added = 2e-6


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register all of them."""
    return [Same, OtherBytes, OtherTensor, OtherRounding]
