"""Zstandard: frames there and back, foreign ones refused, and no more written than is asked for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench import PayloadError
from codecbench.toolbox.coding.zstandard import zstd_compress, zstd_decompress


@pytest.fixture(autouse=True, scope="module")
def zstandard() -> Any:
    """Imported before the first test: that takes longer than hypothesis lets an example take."""
    return pytest.importorskip("zstandard", reason="needs the extra codecs")


@given(st.binary(max_size=300), st.sampled_from([b"", b"some bytes that both sides know"]))
def test_frames_give_their_data_back(data: bytes, dictionary: bytes) -> None:
    frame = zstd_compress(data, 19, dictionary)
    assert len(frame) <= len(data) + 8
    assert zstd_decompress(frame, len(data), dictionary) == data
    with pytest.raises(PayloadError, match="more than"):
        zstd_decompress(zstd_compress(data + b"x", 3), len(data))
    with pytest.raises(PayloadError, match="fewer than"):
        zstd_decompress(frame, len(data) + 1, dictionary)


@given(st.binary(max_size=40))
def test_bytes_that_are_no_frame_are_refused(frame: bytes) -> None:
    with pytest.raises(PayloadError):
        zstd_decompress(frame, 10_000)


@pytest.mark.parametrize(("inflated", "match"), [(1 << 15, "more than 100 bytes"), (1 << 24, "too much memory")])
def test_a_bomb_goes_no_further_than_its_size(inflated: int, match: str) -> None:
    with pytest.raises(PayloadError, match=match):
        zstd_decompress(zstd_compress(bytes(inflated), 19), 100)
