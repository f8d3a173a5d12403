"""Digests of payloads and of decoded tensors."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench.errors import DataError
from codecbench.results.digests import PayloadChain, sample_digest

payload_lists = st.lists(st.binary(max_size=12), max_size=12)


def chain_of(payloads: list[bytes]) -> PayloadChain:
    chain = PayloadChain()
    for payload in payloads:
        chain.add(payload)
    return chain


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_the_chain_is_as_the_page_says() -> None:
    assert PayloadChain().hex == "00" * 32
    assert chain_of([b"a"]).hex == sha256(bytes(32) + sha256(b"a")).hex()
    assert chain_of([b"a", b""]).hex == sha256(sha256(bytes(32) + sha256(b"a")) + sha256(b"")).hex()


@given(payload_lists, payload_lists)
def test_a_chain_that_is_continued_anywhere_gives_the_same_digest(before: list[bytes], after: list[bytes]) -> None:
    continued = PayloadChain.from_hex(chain_of(before).hex)
    for payload in after:
        continued.add(payload)
    assert continued.hex == chain_of(before + after).hex


@given(payload_lists, payload_lists)
def test_only_equal_payloads_in_equal_order_have_equal_digests(some: list[bytes], others: list[bytes]) -> None:
    assert (chain_of(some).hex == chain_of(others).hex) == (some == others)


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n", "g" * 64])
def test_what_is_no_digest_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(DataError, match="a digest of payloads has 64 hexadecimal digits, not ") as caught:
        PayloadChain.from_hex(text)
    assert "\n" not in str(caught.value)


def test_a_sample_has_digests_of_its_payload_and_of_its_decoded_values() -> None:
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    found = sample_digest("choice", 7, b"abc", values)
    assert (found.subset, found.sample_id) == ("choice", 7)
    assert found.payload == sha256(b"abc").hex()
    assert found.tensor == sha256(values.tobytes()).hex()


@pytest.mark.parametrize("dtype", ["f4", "f2", "i8", "u1"])
def test_the_layout_in_memory_does_not_count(dtype: str) -> None:
    values = np.arange(12).reshape(3, 4).astype(f"<{dtype}")
    expected = sample_digest("test", 0, b"", values)
    assert sample_digest("test", 0, b"", values.astype(f">{dtype}")) == expected
    assert sample_digest("test", 0, b"", np.asfortranarray(values)) == expected
    assert sample_digest("test", 0, b"", np.repeat(values, 2, axis=1)[:, ::2]) == expected
