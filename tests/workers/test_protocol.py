"""Frames between processes: fields, byte strings and arrays cross as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench.errors import CodecFailure, DataError, FailureCode, PayloadError, PluginError, UsageError
from codecbench.locations import MAX_FRAME_CHARS, MAX_FRAMES
from codecbench.workers.protocol import pack_arrays, pack_error, pack_frame, unpack_arrays, unpack_error, unpack_frame

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


@pytest.mark.parametrize(
    "error",
    [
        CodecFailure("a", code=FailureCode.NOT_BYTES),
        PayloadError("b"),
        DataError("c"),
        PluginError("d"),
        UsageError("e"),
    ],
)
def test_errors_cross_with_the_lines_of_the_plugin(error: Any) -> None:
    error.frames = ("mine.py:3 encode: return 1 / 0",)
    found = unpack_error(unpack_frame(pack_error(error)))
    assert type(found) is type(error)
    assert found is not None
    assert found.frames == error.frames


@pytest.mark.parametrize("sent", [None, "text", 5, {"a": 1}, [1, None]])
def test_lines_that_make_no_sense_are_dropped(sent: Any) -> None:
    found = unpack_error(unpack_frame(pack_frame({"error": "data", "message": "m", "frames": sent})))
    assert found is not None
    assert found.frames == ()


def test_lines_are_limited_in_number_and_length() -> None:
    frame = pack_frame({"error": "data", "message": "m", "frames": ["two\nlines " + "x" * 1000] * 1000})
    found = unpack_error(unpack_frame(frame))
    assert found is not None
    assert len(found.frames) == MAX_FRAMES
    assert {len(line) for line in found.frames} == {MAX_FRAME_CHARS}
    assert found.frames[0].startswith("two lines x")
