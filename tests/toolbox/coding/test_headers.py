"""Headers of payloads: whole numbers and shapes, there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench import PayloadError, TensorSpec
from codecbench.toolbox.coding import headers


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
    with pytest.raises(PayloadError, match="over the maximum"):
        headers.read_shape(TensorSpec((3, None), max_length=500), headers.write_varint(501))


@given(st.binary(max_size=300), st.binary(max_size=5), st.binary(max_size=5))
def test_two_states_in_one_there_and_back(first: bytes, second: bytes, before: bytes) -> None:
    assert headers.read_pair(before + headers.write_pair(first, second), len(before)) == (first, second)


@pytest.mark.parametrize("state", [b"", b"\x80", b"\x03ab", headers.write_pair(b"x" * 200, b"")[:-1]])
def test_two_states_that_are_cut_off_are_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="a state"):
        headers.read_pair(state)
