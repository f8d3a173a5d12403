"""Edits between what was said and what was recognised, counted by jiwer, and what they are divided by."""

from __future__ import annotations

from typing import Any

from codecbench.errors import DataError


def word_edits(said: str, recognised: str) -> tuple[float, float]:
    """Return the substituted, missing and additional words, and the words that were said.

    Raises DataError where jiwer is not installed.
    """
    return _edits(_jiwer().process_words(said, recognised))


def character_edits(said: str, recognised: str) -> tuple[float, float]:
    """Return the same for characters, spaces included."""
    return _edits(_jiwer().process_characters(said, recognised))


def _edits(counted: Any) -> tuple[float, float]:
    edits = counted.substitutions + counted.deletions + counted.insertions
    return float(edits), float(counted.hits + counted.substitutions + counted.deletions)


def _jiwer() -> Any:
    try:
        import jiwer
    except ModuleNotFoundError as error:
        raise DataError(
            "word error rates need the package jiwer, which is not installed; run: pip install jiwer"
        ) from error
    return jiwer
