"""Edits between two texts."""

from __future__ import annotations

import sys

import pytest

from codecbench.errors import DataError
from codecbench.toolbox.speech import character_edits, word_edits


@pytest.mark.parametrize(
    ("said", "recognised", "edits"),
    [
        ("one two", "one two", (0, 2)),
        ("one two", "one", (1, 2)),
        ("one", "two one", (1, 1)),
        ("one two three", "one six three", (1, 3)),
        ("one", "", (1, 1)),
    ],
)
def test_words(said: str, recognised: str, edits: tuple[float, float]) -> None:
    pytest.importorskip("jiwer")
    assert word_edits(said, recognised) == edits


def test_characters() -> None:
    pytest.importorskip("jiwer")
    assert character_edits("a bc", "a c") == (1, 4)


def test_without_jiwer_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(DataError, match="need the package jiwer, which is not installed; run: pip install jiwer"):
        word_edits("a", "b")
