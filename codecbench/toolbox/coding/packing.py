"""Packing of symbols with a fixed number of bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codecbench.errors import PayloadError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def pack_bits(symbols: NDArray[Any], width_bits: int) -> bytes:
    """Return symbols of 1 to 16 bits each as bytes, most significant bit first, the last byte padded with zeros."""
    import numpy as np

    if width_bits > 8:
        bits = np.unpackbits(symbols.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)
        return np.packbits(bits[:, 16 - width_bits :]).tobytes()
    # Eight symbols of w bits fill w octets, and for w <= 8 they fit a word of 64 bits.
    eights = np.zeros((-(-symbols.size // 8), 8), np.uint8)
    eights.reshape(-1)[: symbols.size] = symbols.reshape(-1)
    words = eights[:, 0].astype(np.uint64)
    for symbol in eights.T[1:]:
        words <<= np.uint64(width_bits)
        words |= symbol
    octets = words.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - width_bits :]
    return octets.tobytes()[: -(-symbols.size * width_bits // 8)]


def unpack_bits(payload: bytes | memoryview, width_bits: int, count: int) -> NDArray[np.uint16]:
    """Return `count` symbols; the inverse of `pack_bits`. Raises PayloadError if the payload has another size."""
    import numpy as np

    if len(payload) != (count * width_bits + 7) // 8:
        raise PayloadError(f"{len(payload)} bytes do not hold {count} symbols of {width_bits} bits")
    starts = np.arange(count, dtype=np.int64) * width_bits
    symbols: NDArray[np.int32] = three_octets(payload)[starts >> 3] >> (24 - width_bits - (starts & 7))
    return (symbols & ((1 << width_bits) - 1)).astype(np.uint16)


def three_octets(payload: bytes | memoryview) -> NDArray[np.int32]:
    """Return, for each octet of the payload and for its end, the number formed with the two octets after it."""
    import numpy as np

    octets = np.frombuffer(bytes(payload) + bytes(3), np.uint8).astype(np.int32)
    return octets[:-2] << 16 | octets[1:-1] << 8 | octets[2:]
