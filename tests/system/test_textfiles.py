"""Texts that users write: read with or without a mark at the beginning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench.system.textfiles import read_text


@given(text=st.text(st.characters(exclude_characters="\0", codec="utf-8")), mark=st.booleans())
def test_a_byte_order_mark_is_passed_over(tmp_path_factory: pytest.TempPathFactory, text: str, mark: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "marked"
    text = text.removeprefix("\ufeff")
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + text.encode())
    assert read_text(path) == text
