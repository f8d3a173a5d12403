"""Headers of payloads: integers of any size, and the length of an axis that varies.

Reading checks the sizes that it finds in a payload.
"""

from __future__ import annotations

from collections.abc import Sequence

from codecbench.codec import TensorSpec
from codecbench.errors import PayloadError


def write_varint(value: int) -> bytes:
    """A non-negative integer in base 128, least significant first, the high bit set on all bytes but the last."""
    if value < 0:
        raise ValueError(f"a varint holds no negative number: {value}")
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(payload: bytes | memoryview, offset: int = 0) -> tuple[int, int]:
    """The varint at `offset` and the offset behind it. Raises PayloadError where it is cut short or over 63 bits."""
    value = 0
    for shift in range(0, 63, 7):
        if offset >= len(payload):
            raise PayloadError("payload ends within a number")
        byte = payload[offset]
        offset += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, offset
    raise PayloadError("a number in the payload is over 63 bits")


def write_shape(spec: TensorSpec, shape: Sequence[int]) -> bytes:
    """The part of a sample's shape that has to travel: the length of the None axis as a varint, or nothing."""
    return b"".join(write_varint(n) for n, known in zip(shape, spec.shape, strict=True) if known is None)


def read_shape(spec: TensorSpec, payload: bytes) -> tuple[tuple[int, ...], memoryview]:
    """The sample's shape, and the payload behind its header. Raises PayloadError over the spec's max_length."""
    view = memoryview(payload)
    if None not in spec.shape:
        return spec.max_shape, view
    length, offset = read_varint(view)
    if length > (spec.max_length or 0):
        raise PayloadError(f"length {length} is over the greatest, {spec.max_length}")
    return tuple(length if n is None else n for n in spec.shape), view[offset:]
