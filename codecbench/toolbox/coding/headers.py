"""Payload headers: integers of any size, and the length of a varying axis.

Functions that read check every size that they find in a payload.
"""

from __future__ import annotations

from collections.abc import Sequence

from codecbench.codec import TensorSpec
from codecbench.errors import PayloadError


def write_varint(value: int) -> bytes:
    """Return a non-negative integer in base 128, least significant byte first, the high bit set on all but the last.

    Raises ValueError for a negative number.
    """
    if value < 0:
        raise ValueError(f"a varint holds no negative number: {value}")
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_pair(first: bytes, second: bytes) -> bytes:
    """Return two byte strings as one, the length of the first before it; `read_pair` takes them apart."""
    return write_varint(len(first)) + first + second


def read_pair(state: bytes, offset: int = 0) -> tuple[bytes, bytes]:
    """Return the two byte strings of `write_pair`, found at `offset`. Raises ValueError if they are cut off."""
    try:
        length, at = read_varint(state, offset)
    except PayloadError as error:
        raise ValueError(f"a state does not begin with a length: {error}") from None
    if at + length > len(state):
        raise ValueError(f"a state is cut off: {len(state) - at} of {length} bytes")
    return state[at : at + length], state[at + length :]


def read_varint(payload: bytes | memoryview, offset: int = 0) -> tuple[int, int]:
    """Return the varint at `offset` and the offset after it. Raises PayloadError if it is cut short or over 63 bits."""
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
    """Return the part of a sample's shape that must be sent: the length of the None axis as a varint, or nothing."""
    return b"".join(write_varint(n) for n, known in zip(shape, spec.shape, strict=True) if known is None)


def read_shape(spec: TensorSpec, payload: bytes) -> tuple[tuple[int, ...], memoryview]:
    """Return the sample's shape and the payload after its header.

    Raises PayloadError if a length is over max_length.
    """
    view = memoryview(payload)
    if None not in spec.shape:
        return spec.max_shape, view
    length, offset = read_varint(view)
    if length > (spec.max_length or 0):
        raise PayloadError(f"length {length} is over the maximum, {spec.max_length}")
    return tuple(length if n is None else n for n in spec.shape), view[offset:]
