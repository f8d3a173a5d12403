"""`raw`: the tensor's plain values, the reference of every table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from codecbench import Codec, PayloadError, TensorSpec, hookimpl
from codecbench.toolbox.coding import read_shape, write_shape
from codecbench.toolbox.transforms import from_pixels, to_pixels

if TYPE_CHECKING:
    from torch import Tensor


class Raw(Codec):
    """Plain values (`values` names the tensor's own dtype), or one byte a pixel for an image input (`uint8`).

    Both are exact. The length of a varying axis comes first, as a variable-length integer.
    """

    name = "raw"
    points = ({"values": "float32"},)
    tags = frozenset({"lossless"})
    rows_by = ("values",)

    values: str

    @classmethod
    def points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return the tensor's own dtype, and `uint8` first if the values are k/255."""
        own = {"values": spec.dtype}
        return ({"values": "uint8"}, own) if spec.image else (own,)

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: `values` must be the tensor's own dtype, or `uint8` for an image."""
        values = point.get("values", spec.dtype)
        if values == spec.dtype or (values == "uint8" and spec.image):
            return None
        if values == "uint8":
            return f"uint8 is exact at an image input only, got {spec.dtype} {spec.shape}"
        return f"values is {spec.dtype!r}, or 'uint8' at an image input, not {values!r}"

    def encode(self, x: Tensor) -> bytes:
        """Return the length of the varying axis, then the values, row-major and little-endian."""
        if self.values != self.spec.dtype:
            return to_pixels(x.numpy()).tobytes()
        values = x.numpy()
        return write_shape(self.spec, x.shape) + values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()

    def decode(self, payload: bytes) -> Tensor:
        """Return the same values."""
        if self.values != self.spec.dtype:
            return self.decode_batch([payload])[0]
        shape, body = read_shape(self.spec, payload)
        return self.spec.from_buffer(body, shape)

    def decode_batch(self, payloads: Sequence[bytes]) -> list[Tensor]:
        """Return the same values; the pixels of all samples are converted at once."""
        import numpy as np
        import torch

        if self.values == self.spec.dtype:
            return super().decode_batch(payloads)
        shape = self.spec.max_shape
        pixel_count = TensorSpec(shape, "uint8").nbytes
        if wrong := [len(payload) for payload in payloads if len(payload) != pixel_count]:
            raise PayloadError(f"{wrong[0]} bytes are no image of shape {shape}")
        pixels = np.frombuffer(b"".join(payloads), np.uint8).reshape(len(payloads), *shape)
        return list(torch.from_numpy(from_pixels(pixels)))


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [Raw]
