"""Bit packing, headers, uniform quantisation and Huffman coding that plugins may use.

All of it is exact integer arithmetic beyond the quantiser, works on whole arrays, and checks the sizes that it finds
in a payload before it allocates by them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from codecbench.codec import PayloadError, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

MAX_CODE_BITS = 15
"""Longest Huffman code word: a length fits four bits, and a decoding table 32,768 entries."""

RANGE_BYTES = 8
"""Bytes of the header that `quantise` writes: the least and the greatest value as float32."""


# --- headers -------------------------------------------------------------------------------------------------------


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
    """What of a sample's shape has to travel: the length of the None axis as a varint, or nothing."""
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


# --- pixels and uniform quantisation -------------------------------------------------------------------------------


def to_pixels(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The integers k of an image of values k/255; anything else goes to the nearest of them.

    Raises ValueError where a value is not a number.
    """
    import numpy as np

    with np.errstate(over="ignore"):
        scaled: NDArray[np.float32] = np.rint(image * np.float32(255))
    if not 0 <= scaled.min(initial=0) <= scaled.max(initial=0) <= 255:  # false for a NaN, too
        if np.isnan(scaled).any():
            raise ValueError("the image holds values that are not numbers")
        scaled = scaled.clip(0, 255)
    return scaled.astype(np.uint8)


def from_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The values k/255 of integers k, equal to those of an image input bit for bit."""
    import numpy as np

    return np.divide(pixels, np.float32(255), dtype=np.float32, order="C")


def quantise(values: NDArray[Any], levels: int) -> tuple[bytes, NDArray[np.uint8]]:
    """Header of RANGE_BYTES, and the index of the nearest of `levels` values evenly spaced from least to greatest.

    The least and the greatest value are themselves levels, so the zeros of a rectified tensor stay zeros.
    Raises ValueError for more than 256 levels and for values that are not finite as float32.
    """
    import numpy as np

    if not 2 <= levels <= 256:
        raise ValueError(f"levels is 2 to 256, not {levels}")
    with np.errstate(over="ignore"):
        low, high = np.float32(values.min(initial=np.inf)), np.float32(values.max(initial=-np.inf))
    if values.size == 0:
        low = high = np.float32(0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("the tensor holds values that are not finite in float32; they cannot be quantised")
    # In float64, because the distance of two float32 values can be over the greatest float32.
    span = float(high) - float(low)
    steps = (values.astype(np.float64) - float(low)) * ((levels - 1) / span if span else 0.0)
    return struct.pack("<ff", low, high), np.rint(steps).astype(np.uint8)


def dequantise(header: bytes | memoryview, indices: NDArray[Any], levels: int) -> NDArray[np.float32]:
    """The values of the levels at `indices`. Raises PayloadError for a header that is no range or a level too high."""
    import numpy as np

    low, high = read_range(header)
    if indices.size and int(indices.max()) >= levels:
        raise PayloadError(f"level {int(indices.max())} of {levels}")
    # Convex weights: no value leaves the range, even where the range is over the greatest float32.
    weights = np.arange(levels, dtype=np.float64) / (levels - 1)
    return (low * (1 - weights) + high * weights).astype(np.float32).take(indices)


def read_range(header: bytes | memoryview) -> tuple[float, float]:
    """Least and greatest value of a header written by `quantise`. Raises PayloadError where it is none."""
    if len(header) != RANGE_BYTES:
        raise PayloadError("payload ends within its range")
    low, high = struct.unpack("<ff", header)
    if not -float("inf") < low <= high < float("inf"):
        raise PayloadError(f"a range from {low} to {high}")
    return low, high


# --- prediction from neighbours ------------------------------------------------------------------------------------


def neighbours_mean(levels: NDArray[np.int32]) -> NDArray[np.int32]:
    """For each level of planes (planes, height, width), the mean of that to its left and that above, rounded down.

    On the rim it is the one there is, and in the corner 0. `levels - neighbours_mean(levels)` has fewer bits where
    planes are smooth.
    """
    import numpy as np

    left, above = np.zeros_like(levels), np.zeros_like(levels)
    left[..., 1:], above[:, 1:] = levels[..., :-1], levels[:, :-1]
    left[..., :1], above[:, :1] = above[..., :1], left[:, :1]
    return (left + above) >> 1


def restore_from_differences(differences: NDArray[np.int32], mask: int = -1) -> NDArray[np.int32]:
    """The levels from `(levels - neighbours_mean(levels)) & mask`, where all levels are within the mask (-1: any).

    Goes from one diagonal to the next. With a rim of a row above and a column to the left, neighbours along a diagonal
    lie `width` apart in memory.
    """
    import numpy as np

    planes, height, width = differences.shape
    padded = np.zeros((planes, height + 1, width + 1), np.int32)
    padded[:, 1:, 1:] = differences
    stride = width + 1
    flat = padded.reshape(planes, (height + 1) * stride)
    for diagonal in range(height + width - 1 if differences.size else 0):
        top, bottom = max(1, diagonal - width + 2), min(height, diagonal + 1)
        if diagonal and top == 1:
            padded[:, 0, diagonal + 1] = padded[:, 1, diagonal]
        if diagonal and bottom == diagonal + 1:
            padded[:, bottom, 0] = padded[:, bottom - 1, 1]
        first = top * stride + diagonal - top + 2
        end = first + (bottom - top) * width + 1
        left, above = flat[:, first - 1 : end - 1 : width], flat[:, first - stride : end - stride : width]
        flat[:, first:end:width] = (flat[:, first:end:width] + ((left + above) >> 1)) & mask
    return padded[:, 1:, 1:]


# --- bit packing ---------------------------------------------------------------------------------------------------


def pack_bits(symbols: NDArray[Any], width_bits: int) -> bytes:
    """Symbols of a fixed width of 1 to 16 bits, most significant bit first, the last byte filled with zeros."""
    import numpy as np

    if width_bits > 8:
        bits = np.unpackbits(symbols.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)
        return np.packbits(bits[:, 16 - width_bits :]).tobytes()
    # Eight symbols fill as many octets as one has bits, and have room in a word of 64 bits.
    eights = np.zeros((-(-symbols.size // 8), 8), np.uint8)
    eights.reshape(-1)[: symbols.size] = symbols.reshape(-1)
    words = eights[:, 0].astype(np.uint64)
    for symbol in eights.T[1:]:
        words <<= np.uint64(width_bits)
        words |= symbol
    octets = words.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - width_bits :]
    return octets.tobytes()[: -(-symbols.size * width_bits // 8)]


def unpack_bits(payload: bytes | memoryview, width_bits: int, count: int) -> NDArray[np.uint16]:
    """The inverse of `pack_bits` for `count` symbols. Raises PayloadError where the payload has another size."""
    import numpy as np

    if len(payload) != (count * width_bits + 7) // 8:
        raise PayloadError(f"{len(payload)} bytes do not hold {count} symbols of {width_bits} bits")
    starts = np.arange(count, dtype=np.int64) * width_bits
    symbols: NDArray[np.int32] = _three_octets(payload)[starts >> 3] >> (24 - width_bits - (starts & 7))
    return (symbols & ((1 << width_bits) - 1)).astype(np.uint16)


def _three_octets(payload: bytes | memoryview) -> NDArray[np.int32]:
    """For each octet of the payload, and its end, the number that it makes with the two behind it."""
    import numpy as np

    octets = np.frombuffer(bytes(payload) + bytes(3), np.uint8).astype(np.int32)
    return octets[:-2] << 16 | octets[1:-1] << 8 | octets[2:]


# --- canonical Huffman coding --------------------------------------------------------------------------------------


def code_lengths(counts: ArrayLike) -> NDArray[np.uint8]:
    """Code word lengths in bits that minimise the total size, none over MAX_CODE_BITS; 0 for a symbol that is absent.

    A symbol that is alone gets one bit. Package-merge (Larmore and Hirschberg 1990, section 2): the list of each level
    holds the symbols and the pairs of the level below, by weight; a symbol's length is the number of levels in which
    it is among the items taken.
    """
    import numpy as np

    weights = np.asarray(counts, dtype=np.int64)
    lengths = np.zeros(len(weights), np.uint8)
    present = np.flatnonzero(weights)
    if len(present) > 1 << MAX_CODE_BITS:
        raise ValueError(f"{len(present)} symbols do not fit code words of {MAX_CODE_BITS} bits")
    if len(present) < 2:
        lengths[present] = 1
        return lengths
    order = present[np.argsort(weights[present], kind="stable")]
    leaves = weights[order]
    level, is_leaf_by_level = leaves, [np.ones(len(order), bool)]
    for _ in range(MAX_CODE_BITS - 1):
        pairs = level[: len(level) // 2 * 2].reshape(-1, 2).sum(axis=1)
        merged = np.concatenate([leaves, pairs])
        by_weight = np.argsort(merged, kind="stable")
        level = merged[by_weight]
        is_leaf_by_level.append(by_weight < len(leaves))
    taken = 2 * len(order) - 2
    for is_leaf in reversed(is_leaf_by_level):
        leaf_count = int(is_leaf[:taken].sum())
        lengths[order[:leaf_count]] += 1
        taken = 2 * (min(taken, len(is_leaf)) - leaf_count)
    return lengths


def canonical_codes(lengths: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The code word of each symbol: consecutive numbers, shorter words first, then by symbol (RFC 1951, 3.2.2).

    Raises PayloadError for lengths that no prefix code has.
    """
    import numpy as np

    present = np.flatnonzero(lengths)
    order = present[np.argsort(lengths[present], kind="stable")]
    # The code of a word, left-aligned in MAX_CODE_BITS, is the sum of the shares of those before it.
    shares = 1 << (MAX_CODE_BITS - lengths[order].astype(np.int64))
    if int(shares.sum()) > 1 << MAX_CODE_BITS:
        raise PayloadError("code lengths of no prefix code")
    codes = np.zeros(len(lengths), np.uint32)
    codes[order] = (np.cumsum(shares) - shares) >> (MAX_CODE_BITS - lengths[order])
    return codes


def write_code_lengths(lengths: NDArray[np.uint8]) -> bytes:
    """Code lengths of a whole alphabet, four bits each; a zero is followed by how many more zeros follow, 0 to 15."""
    import numpy as np

    nibbles: list[int] = []
    at, values = 0, lengths.tolist()
    while at < len(values):
        nibbles.append(values[at])
        at += 1
        if not nibbles[-1]:
            run = 0
            while run < 15 and at < len(values) and not values[at]:
                run += 1
                at += 1
            nibbles.append(run)
    return pack_bits(np.array(nibbles, np.uint8), 4)


def read_code_lengths(payload: bytes | memoryview, symbols: int) -> tuple[NDArray[np.uint8], int]:
    """Lengths for an alphabet of `symbols`, and the bytes that they took. Raises PayloadError where they are cut."""
    import numpy as np

    lengths: list[int] = []
    nibbles = 0
    stream = unpack_bits(payload[: symbols + 1], 4, 2 * len(payload[: symbols + 1])).tolist()
    while len(lengths) < symbols:
        if nibbles + 2 > len(stream):
            raise PayloadError("payload ends within a Huffman table")
        lengths.append(stream[nibbles])
        nibbles += 1
        if not lengths[-1]:
            lengths += [0] * stream[nibbles]
            nibbles += 1
    if len(lengths) > symbols:
        raise PayloadError("a Huffman table for a larger alphabet")
    return np.array(lengths, np.uint8), (nibbles + 1) // 2


def huffman_encode(symbols: NDArray[Any], lengths: NDArray[np.uint8]) -> bytes:
    """The symbols' canonical code words, most significant bit first, the last byte filled with zeros."""
    import numpy as np

    codes = canonical_codes(lengths)
    bits = lengths[symbols].astype(np.int64)
    if not bits.all():
        raise ValueError("a symbol has no code word")
    ends = np.cumsum(bits)
    total_bits = int(ends[-1]) if len(ends) else 0
    starts = ends - bits
    # Each word lies in one 32-bit unit or runs into the next; bits never overlap, so adding in float64 is exact.
    unit = starts >> 5
    aligned = codes[symbols].astype(np.uint64) << (64 - (starts & 31) - bits).astype(np.uint64)
    units = total_bits // 32 + 2
    packed = np.bincount(unit, (aligned >> np.uint64(32)).astype(np.float64), units)
    packed += np.bincount(unit + 1, (aligned & np.uint64(0xFFFFFFFF)).astype(np.float64), units)
    return packed.astype(">u4").tobytes()[: (total_bits + 7) // 8]


def huffman_decode(payload: bytes | memoryview, lengths: NDArray[np.uint8], count: int) -> NDArray[np.uint16]:
    """The inverse of `huffman_encode` for `count` symbols.

    Every bit position is looked up as if a word began there, which makes a chain of successors; the chain's members
    are found by doubling: first every 16th one by one, then those between. Raises PayloadError where the payload is
    not exactly `count` words and less than a byte of zeros.
    """
    import numpy as np

    total_bits = 8 * len(payload)
    if not count <= total_bits <= count * MAX_CODE_BITS + 7:
        raise PayloadError(f"{len(payload)} bytes do not hold {count} Huffman words")
    width_bits = int(lengths.max(initial=1))
    symbol_of, bits_of = _decoding_tables(lengths, width_bits)
    windows = _three_octets(payload)[:, None] >> np.arange(24 - width_bits, 16 - width_bits, -1, dtype=np.int32)
    windows = (windows & ((1 << width_bits) - 1)).reshape(-1)[: total_bits + 1]
    window_bits = bits_of[windows]
    # A window that begins no word, and the end, lead to the end; a chain that gets there too soon ends behind it.
    successor = np.minimum(np.arange(total_bits + 1, dtype=np.int32) + window_bits, total_bits)
    starts = _chain(successor, count)
    end = int(starts[-1] + window_bits[starts[-1]]) if count else 0
    if not 0 <= total_bits - end < 8:
        raise PayloadError("the Huffman words do not end where the payload does")
    if end < total_bits and payload[-1] & ((1 << total_bits - end) - 1):
        raise PayloadError("bits behind the last Huffman word")
    symbols: NDArray[np.uint16] = symbol_of[windows[starts]]
    return symbols


def _decoding_tables(lengths: NDArray[np.uint8], width_bits: int) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    """Symbol and length of the word that begins each window of `width_bits`; a great length where none does."""
    import numpy as np

    canonical_codes(lengths)  # checks that the lengths are those of a prefix code
    present = np.flatnonzero(lengths)
    order = present[np.argsort(lengths[present], kind="stable")]
    shares = 1 << (width_bits - lengths[order].astype(np.int64))
    symbol_of = np.zeros(1 << width_bits, np.uint16)
    bits_of = np.full(1 << width_bits, 1 << 30, np.int32)
    used = int(shares.sum())
    symbol_of[:used] = np.repeat(order, shares)
    bits_of[:used] = np.repeat(lengths[order], shares)
    return symbol_of, bits_of


def _chain(successor: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """The first `count` members of 0, successor[0], successor[successor[0]], ..."""
    import numpy as np

    jumps = [successor]
    while len(jumps) < 5:
        jumps.append(jumps[-1][jumps[-1]])
    far = memoryview(jumps[-1].data)
    heads, at = [], 0
    for _ in range(-(-count // 16)):
        heads.append(at)
        at = far[at]
    members = np.array(heads, np.int32)
    for jump in reversed(jumps[:-1]):
        members = np.stack([members, jump[members]], axis=1).reshape(-1)
    return members[:count]
