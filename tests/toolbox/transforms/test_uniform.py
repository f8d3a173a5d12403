"""Bit packing, quantisation and Huffman coding: round trips, optimality, and damaged payloads."""

import heapq
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from codecbench import PayloadError, TensorSpec
from codecbench.toolbox.coding import headers, huffman, packing
from codecbench.toolbox.transforms import uniform

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


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


# --- headers


@given(st.integers(0, 2**63 - 1), st.binary(max_size=3))
def test_varint_round_trip(value: int, behind: bytes) -> None:
    written = headers.write_varint(value)
    assert headers.read_varint(written + behind) == (value, len(written))


@pytest.mark.parametrize("payload", [b"", b"\x80", b"\xff" * 10])
def test_varint_refuses_what_does_not_end(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        headers.read_varint(payload)


def test_varint_refuses_a_negative_number() -> None:
    with pytest.raises(ValueError, match="negative"):
        headers.write_varint(-1)


def test_only_the_varying_length_travels() -> None:
    fixed, varying = TensorSpec((3, 4)), TensorSpec((3, None), max_length=500)
    assert headers.write_shape(fixed, (3, 4)) == b""
    assert headers.read_shape(fixed, b"rest") == ((3, 4), b"rest")
    assert headers.write_shape(varying, (3, 300)) == b"\xac\x02"
    assert headers.read_shape(varying, b"\xac\x02rest") == ((3, 300), b"rest")


def test_a_length_over_the_greatest_is_refused() -> None:
    with pytest.raises(PayloadError, match="over the greatest"):
        headers.read_shape(TensorSpec((3, None), max_length=500), headers.write_varint(501))


# --- pixels and quantisation


def test_pixels_are_exact() -> None:
    levels = np.arange(256, dtype=np.uint8)
    image = levels.astype(np.float32) / np.float32(255)
    assert (uniform.to_pixels(image) == levels).all()
    assert (uniform.from_pixels(levels) == image).all()


def test_pixels_outside_go_to_the_nearest() -> None:
    image = np.array([-1, 2, 1e30, -np.inf, np.inf], np.float32)
    assert uniform.to_pixels(image).tolist() == [0, 255, 255, 0, 255]


def test_a_pixel_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not numbers"):
        uniform.to_pixels(np.array([0.5, np.nan], np.float32))


@given(arrays(np.float32, st.integers(0, 50), elements=FLOATS), st.integers(2, 256))
def test_quantised_values_are_within_half_a_step(values: np.ndarray, levels: int) -> None:
    header, indices = uniform.quantise_uniform(values, levels)
    restored = uniform.dequantise_uniform(header, indices, levels)
    assert len(header) == uniform.RANGE_BYTES
    assert np.isfinite(restored).all()
    if values.size:
        low, high = float(values.min()), float(values.max())
        half_step = (high - low) / (levels - 1) / 2
        rounding = 1e-6 * max(abs(low), abs(high)) + 1e-44
        assert (np.abs(restored.astype(np.float64) - values) <= half_step + rounding).all()


def test_the_zeros_of_a_rectified_tensor_stay_zeros() -> None:
    values = np.array([0, 0.1, 0, 7.3, 0.02], np.float32)
    header, indices = uniform.quantise_uniform(values, 4)
    restored = uniform.dequantise_uniform(header, indices, 4)
    assert (restored[values == 0] == 0).all()
    assert restored[3] == values[3]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        uniform.quantise_uniform(np.array([1.0, bad], np.float32), 8)


def test_a_double_beyond_float32_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite in float32"):
        uniform.quantise_uniform(np.array([1e300, 0.0]), 8)


@pytest.mark.parametrize(
    "header", [b"", b"short", struct.pack("<ff", 1, 0), struct.pack("<ff", np.nan, 1), struct.pack("<ff", 0, np.inf)]
)
def test_a_range_that_is_none_is_refused(header: bytes) -> None:
    with pytest.raises(PayloadError):
        uniform.dequantise_uniform(header, np.zeros(3, np.uint8), 4)


def test_a_level_too_high_is_refused() -> None:
    with pytest.raises(PayloadError, match="level 4 of 4"):
        uniform.dequantise_uniform(struct.pack("<ff", 0, 1), np.array([4], np.uint8), 4)


# --- bit packing


@given(st.integers(1, 16), st.data())
def test_packed_bits_round_trip(width_bits: int, data: st.DataObject) -> None:
    symbols = data.draw(arrays(np.uint16, st.integers(0, 100), elements=st.integers(0, 2**width_bits - 1)))
    packed = packing.pack_bits(symbols, width_bits)
    text = "".join(f"{symbol:0{width_bits}b}" for symbol in symbols.tolist())
    assert "".join(f"{byte:08b}" for byte in packed) == text + "0" * (-len(text) % 8)
    assert (packing.unpack_bits(packed, width_bits, len(symbols)) == symbols).all()


def test_packed_bits_of_another_size_are_refused() -> None:
    with pytest.raises(PayloadError):
        packing.unpack_bits(b"12", 3, 100)


# --- Huffman


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
    with pytest.raises(PayloadError):
        packing.unpack_bits(b"1234", 4, 2**50)
