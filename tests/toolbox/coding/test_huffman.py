"""Huffman coding: round trips, optimality, and damaged payloads."""

import heapq
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench import PayloadError
from codecbench.toolbox.coding import huffman


@st.composite
def symbol_streams(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Symbols and their alphabet's size, from even to as skewed as one symbol alone."""
    alphabet = draw(st.integers(1, 256))
    count = draw(st.integers(0, 3000))
    skew = draw(st.floats(0, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weights = np.exp(-skew * rng.permutation(alphabet) / alphabet * 4)
    return rng.choice(alphabet, count, p=weights / weights.sum()).astype(np.uint8), alphabet


def huffman_cost_bits(counts: list[int]) -> int:
    """Total bits of an optimal prefix code: the sum of all merged weights (Huffman 1952)."""
    heap = [count for count in counts if count]
    if len(heap) == 1:
        return heap[0]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


def entropy_bits(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def decodes_or_refuses(decode: Callable[[], Any]) -> Any:
    """What a decoder gives, or None where it refuses as it should; any other exception fails the test."""
    try:
        return decode()
    except PayloadError:
        return None


@given(symbol_streams())
def test_huffman_round_trip_within_a_bit_of_the_entropy(stream: tuple[np.ndarray, int]) -> None:
    symbols, alphabet = stream
    counts = np.bincount(symbols, minlength=alphabet)
    lengths = huffman.code_lengths(counts)
    words = huffman.huffman_encode(symbols, lengths)
    assert (huffman.huffman_decode(words, lengths, len(symbols)) == symbols).all()
    if len(symbols):
        assert 8 * len(words) < len(symbols) * (entropy_bits(counts) + 1) + 8


@given(symbol_streams())
def test_a_huffman_table_round_trip(stream: tuple[np.ndarray, int]) -> None:
    symbols, alphabet = stream
    lengths = huffman.code_lengths(np.bincount(symbols, minlength=alphabet))
    table = huffman.write_code_lengths(lengths)
    restored, table_bytes = huffman.read_code_lengths(table + b"behind", alphabet)
    assert (restored == lengths).all()
    assert table_bytes == len(table) <= alphabet + 1


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=256))
def test_code_lengths_are_optimal(counts: list[int]) -> None:
    # These weights never need a word longer than the limit: a word of 16 bits takes 2,584 occurrences of the rest.
    lengths = huffman.code_lengths(counts).astype(int)
    assert int(lengths @ np.array(counts)) >= huffman_cost_bits(counts)
    if lengths.max() < huffman.MAX_CODE_BITS:
        assert int(lengths @ np.array(counts)) == huffman_cost_bits(counts)
    assert ((lengths > 0) == (np.array(counts) > 0)).all()


def test_code_lengths_keep_to_the_limit() -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 40:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = huffman.code_lengths(fibonacci)
    assert lengths.max() == huffman.MAX_CODE_BITS
    assert float((0.5 ** lengths.astype(float)).sum()) <= 1
    symbols = np.arange(40, dtype=np.uint8)
    assert (huffman.huffman_decode(huffman.huffman_encode(symbols, lengths), lengths, 40) == symbols).all()


def test_words_are_canonical() -> None:
    # The example of RFC 1951, section 3.2.2.
    codes = huffman.canonical_codes(np.array([3, 3, 3, 3, 3, 2, 4, 4], np.uint8))
    assert codes.tolist() == [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]


def test_a_symbol_without_a_word_is_refused() -> None:
    with pytest.raises(ValueError, match="no code word"):
        huffman.huffman_encode(np.array([2]), np.array([1, 1, 0], np.uint8))


def test_lengths_of_no_prefix_code_are_refused() -> None:
    with pytest.raises(PayloadError, match="no prefix code"):
        huffman.huffman_decode(b"\0", np.array([1, 1, 1], np.uint8), 1)


@pytest.mark.parametrize(
    ("payload", "count"),
    [(b"", 1), (b"\x80", 9), (b"\x80\0", 7), (b"\xff", 8), (b"\x01", 3), (b"\0" * 4, 1)],
    ids=["empty", "too few bits", "a byte over", "no such word", "bits behind", "much over"],
)
def test_words_that_do_not_fit_are_refused(payload: bytes, count: int) -> None:
    with pytest.raises(PayloadError):
        huffman.huffman_decode(payload, np.array([1, 2], np.uint8), count)  # words 0 and 10; 11 is none


@given(symbol_streams(), st.data())
def test_damaged_words_decode_to_symbols_or_are_refused(stream: tuple[np.ndarray, int], data: st.DataObject) -> None:
    symbols, alphabet = stream
    lengths = huffman.code_lengths(np.bincount(symbols, minlength=alphabet))
    words = bytearray(huffman.write_code_lengths(lengths) + huffman.huffman_encode(symbols, lengths))
    if data.draw(st.booleans(), "cut"):
        del words[data.draw(st.integers(0, len(words) - 1)) :]
    else:
        words[data.draw(st.integers(0, len(words) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    def decode() -> np.ndarray:
        read, table_bytes = huffman.read_code_lengths(words, alphabet)
        return huffman.huffman_decode(bytes(words[table_bytes:]), read, len(symbols))

    decoded = decodes_or_refuses(decode)
    assert decoded is None or (len(decoded) == len(symbols) and (decoded < alphabet).all())


def test_the_count_is_checked_before_anything_is_allocated_by_it() -> None:
    with pytest.raises(PayloadError):
        huffman.huffman_decode(b"1234", np.array([1, 1], np.uint8), 2**50)
