"""Canonical Huffman codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codecbench.errors import PayloadError
from codecbench.toolbox.coding.packing import pack_bits, three_octets, unpack_bits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

MAX_CODE_BITS = 15
"""The longest Huffman code word, in bits. A length fits four bits, and a decoding table has at most 32,768 entries."""


def code_lengths(counts: ArrayLike) -> NDArray[np.uint8]:
    """Return the code word lengths in bits that minimise the total size, at most MAX_CODE_BITS; 0 for an absent symbol.

    A single symbol gets one bit. Raises ValueError for more than 2^MAX_CODE_BITS symbols. Package-merge (Larmore and
    Hirschberg 1990, section 2): the list of each level holds the symbols and the pairs of the level below, by weight; a
    symbol's length is the number of levels in which it is among the items taken.
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
    """Return the code word of each symbol: consecutive numbers, shorter words first, then by symbol (RFC 1951, 3.2.2).

    Raises PayloadError for lengths that no prefix code has.
    """
    import numpy as np

    present = np.flatnonzero(lengths)
    order = present[np.argsort(lengths[present], kind="stable")]
    # A code word, left-aligned in MAX_CODE_BITS, is the sum of the shares of the words before it.
    shares = 1 << (MAX_CODE_BITS - lengths[order].astype(np.int64))
    if int(shares.sum()) > 1 << MAX_CODE_BITS:
        raise PayloadError("code lengths of no prefix code")
    codes = np.zeros(len(lengths), np.uint32)
    codes[order] = (np.cumsum(shares) - shares) >> (MAX_CODE_BITS - lengths[order])
    return codes


def write_code_lengths(lengths: NDArray[np.uint8]) -> bytes:
    """Return the code lengths of a whole alphabet, four bits each.

    A zero is followed by the number of further zeros, 0 to 15.
    """
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
    """Return the lengths for an alphabet of `symbols`, and the bytes read.

    Raises PayloadError if they are cut short.
    """
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
    """Return the symbols' canonical code words, most significant bit first, the last byte padded with zeros.

    Raises ValueError for a symbol without a code word.
    """
    import numpy as np

    codes = canonical_codes(lengths)
    bits = lengths[symbols].astype(np.int64)
    if not bits.all():
        raise ValueError("a symbol has no code word")
    ends = np.cumsum(bits)
    total_bits = int(ends[-1]) if len(ends) else 0
    starts = ends - bits
    # Each word lies in one 32-bit unit or extends into the next; bits never overlap, so sums in float64 are exact.
    unit = starts >> 5
    aligned = codes[symbols].astype(np.uint64) << (64 - (starts & 31) - bits).astype(np.uint64)
    units = total_bits // 32 + 2
    packed = np.bincount(unit, (aligned >> np.uint64(32)).astype(np.float64), units)
    packed += np.bincount(unit + 1, (aligned & np.uint64(0xFFFFFFFF)).astype(np.float64), units)
    return packed.astype(">u4").tobytes()[: (total_bits + 7) // 8]


def huffman_decode(payload: bytes | memoryview, lengths: NDArray[np.uint8], count: int) -> NDArray[np.uint16]:
    """Return `count` symbols; the inverse of `huffman_encode`.

    Each bit position is decoded as if a word began there, which gives its successor. The chain of successors from 0
    holds the actual words: every 16th is found one by one, then those between by doubling. Raises PayloadError if the
    payload is not exactly `count` words and less than a byte of zeros.
    """
    import numpy as np

    total_bits = 8 * len(payload)
    if not count <= total_bits <= count * MAX_CODE_BITS + 7:
        raise PayloadError(f"{len(payload)} bytes do not hold {count} Huffman words")
    width_bits = int(lengths.max(initial=1))
    symbol_of, bits_of = _decoding_tables(lengths, width_bits)
    windows = three_octets(payload)[:, None] >> np.arange(24 - width_bits, 16 - width_bits, -1, dtype=np.int32)
    windows = (windows & ((1 << width_bits) - 1)).reshape(-1)[: total_bits + 1]
    window_bits = bits_of[windows]
    # A window without a word, and the end itself, lead to the end. A chain that gets there too early ends beyond the
    # payload and is rejected below.
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
    """Return symbol and length of the word that begins each window of `width_bits`; the length 2^30 for no word."""
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
    """Return the first `count` members of 0, successor[0], successor[successor[0]], ..."""
    import numpy as np

    jumps = [successor]
    while len(jumps) < 5:
        jumps.append(jumps[-1][jumps[-1]])
    jump_16 = memoryview(jumps[-1].data)
    heads, at = [], 0
    for _ in range(-(-count // 16)):
        heads.append(at)
        at = jump_16[at]
    members = np.array(heads, np.int32)
    for jump in reversed(jumps[:-1]):
        members = np.stack([members, jump[members]], axis=1).reshape(-1)
    return members[:count]
