"""`quant-huffman`: uniform quantisation and canonical Huffman coding, the paper's baseline for features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from codecbench import Codec, RateKnob, TensorSpec, hookimpl
from codecbench.toolbox.codecs import range_factor
from codecbench.toolbox.coding import (
    code_lengths,
    huffman_decode,
    huffman_encode,
    pack_bits,
    read_code_lengths,
    read_shape,
    unpack_bits,
    write_code_lengths,
    write_shape,
)
from codecbench.toolbox.transforms import RANGE_BYTES, dequantise_uniform, quantise_uniform, to_pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

IMAGE_RANGE = bytes.fromhex("00000000 0000803f")  # 0.0 and 1.0: known for an image, so it is not sent


class QuantHuffman(Codec):
    """Evenly spaced levels from the tensor's lowest to its highest value, and a Huffman code for each tensor.

    Payload: the length of the varying axis; the range, 8 bytes (not for an image, whose range is 0 to 1); the code
    lengths, four bits each with runs of zeros; the words. If that is not smaller than levels of a fixed width, the
    levels are sent with a fixed width; the decoder recognises this by the size.

    The range is not clipped, because the outliers' levels cost almost nothing after Huffman coding. On features of a
    ResNet-20, clipping at the smallest squared error needs 0 to 10 % more bytes for the same error.
    """

    name = "quant-huffman"
    points = tuple({"levels": levels} for levels in (4, 6, 8, 12, 16, 24, 32, 64, 128, 256))

    levels: int

    @classmethod
    def points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return `points`, and the quick point if it is none of them."""
        levels = {point["levels"] for point in (*cls.points, *cls.quick_points_for(spec))}
        return tuple({"levels": each} for each in sorted(levels))

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return a point of little loss: images tolerate less than features, some features less than others."""
        return ({"levels": 32 if spec.image else min(round(12 * range_factor(spec)), 256)},)

    @classmethod
    def rate_knob(cls, spec: TensorSpec) -> RateKnob:
        """Return the number of levels."""
        return RateKnob("levels", 2, 256, integer=True)

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: levels are not 2 to 256, or the values are no floats."""
        levels = point.get("levels", 2)
        if not isinstance(levels, int) or not 2 <= levels <= 256:
            return f"levels is a number from 2 to 256, not {levels!r}"
        return None if spec.dtype.startswith("float") else f"needs floating-point values, got {spec.dtype}"

    def encode(self, x: Tensor) -> bytes:
        """Return shape, range, then the shorter of Huffman and fixed-width words.

        Raises ValueError for values that are not finite.
        """
        value_range, indices = self._quantised(x.numpy())
        return write_shape(self.spec, x.shape) + value_range + self._pack(indices)

    def decode(self, payload: bytes) -> Tensor:
        """Return the values of the levels."""
        import torch

        shape, body = read_shape(self.spec, payload)
        value_range, words = (IMAGE_RANGE, body) if self.spec.image else (body[:RANGE_BYTES], body[RANGE_BYTES:])
        indices = self._unpack(words, math.prod(shape))
        values = dequantise_uniform(value_range, indices, self.levels)
        return torch.from_numpy(values.reshape(shape).astype(self.spec.dtype, copy=False))

    def _quantised(self, values: NDArray[Any]) -> tuple[bytes, NDArray[np.uint8]]:
        """Return the range to send, and the flat levels."""
        import numpy as np

        if not self.spec.image:
            value_range, indices = quantise_uniform(values, self.levels)
            return value_range, indices.reshape(-1)
        nearest = np.rint(np.arange(256) * ((self.levels - 1) / 255)).astype(np.uint8)
        return b"", nearest[to_pixels(values)].reshape(-1)

    @property
    def _width_bits(self) -> int:
        return (self.levels - 1).bit_length()

    def _pack(self, indices: NDArray[np.uint8]) -> bytes:
        import numpy as np

        counts = np.bincount(indices, minlength=self.levels)
        lengths = code_lengths(counts)
        table = write_code_lengths(lengths)
        words_bytes = (int(counts @ lengths) + 7) // 8
        if len(table) + words_bytes < (len(indices) * self._width_bits + 7) // 8:
            return table + huffman_encode(indices, lengths)
        return pack_bits(indices, self._width_bits)

    def _unpack(self, words: memoryview, count: int) -> NDArray[np.integer[Any]]:
        if len(words) == (count * self._width_bits + 7) // 8:
            return unpack_bits(words, self._width_bits, count)
        lengths, table_bytes = read_code_lengths(words, self.levels)
        return huffman_decode(words[table_bytes:], lengths, count)


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [QuantHuffman]
