"""Frames between processes: fields, byte strings and arrays cross as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench.workers.protocol import pack_arrays, pack_frame, unpack_arrays, unpack_frame

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text().filter(lambda key: key != "blob_bytes"), JSON, max_size=3), st.lists(st.binary()))
def test_frames_carry_fields_and_byte_strings(fields: dict[str, Any], blobs: list[bytes]) -> None:
    reply = unpack_frame(pack_frame(fields, blobs))
    assert (reply.fields, reply.blobs) == (fields, blobs)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int64", "uint8"])
def test_arrays_cross_as_they_are(shape: tuple[int, ...], dtype: str) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    (again,) = unpack_arrays(*pack_arrays([array]))
    assert again.dtype == array.dtype
    assert np.array_equal(again, array)
