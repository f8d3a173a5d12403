"""Bit packing: round trips, and sizes that cannot be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from codecbench import PayloadError
from codecbench.toolbox.coding import packing


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


def test_the_count_is_checked_before_anything_is_allocated_by_it() -> None:
    with pytest.raises(PayloadError):
        packing.unpack_bits(b"1234", 4, 2**50)
