"""The texts of errors, as records and the kit show them."""

from __future__ import annotations

import pytest

from codecbench.errors import one_line, without_folders


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("open of '/home/me/data/test.png': no", "open of 'test.png': no"),
        ("none in ['/tmp/a b/home', '/var/tmp']", "none in ['a b/home', 'tmp']"),
        ("/a/b.py, line 3: (/c/d)", "b.py, line 3: (d)"),
        ("run --data imagefolder:/home/me/pictures", "run --data imagefolder:pictures"),
        ("see https://example.org/a/b or 1/2/3 or a/b", "see https://example.org/a/b or 1/2/3 or a/b"),
    ],
)
def test_files_are_named_without_their_folders(text: str, shown: str) -> None:
    assert without_folders(text) == shown


def test_an_error_is_one_line() -> None:
    assert one_line(OSError("two\n  lines")) == "OSError: two lines"
    assert one_line(OSError()) == "OSError"


def test_a_long_text_is_cut() -> None:
    assert len(one_line(ValueError("x" * 1000))) == 300
