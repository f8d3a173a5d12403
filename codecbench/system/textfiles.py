"""Text and JSON that users write or edit: read strictly, with errors of one line that name the file and the line."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from codecbench.errors import DataError

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""The marks at the beginning of UTF-16, low and high byte first."""
_MAX_DIGITS = 400
"""Longer integers are no quantity of anything, and Python refuses to read those of some thousand digits."""


def read_text(path: Path, label: str = "") -> str:
    """Return a file's text: UTF-8 with or without a mark at its beginning, or UTF-16 with one.

    Raises DataError, with the label or else the path, for a file that cannot be read or is no such text.
    """
    label = label or str(path)
    try:
        content = path.read_bytes()
        return decoded(content)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{label} cannot be read: line {line} is not UTF-8; save the file as UTF-8") from error
    except OSError as error:
        raise DataError(f"{label} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{label} cannot be read: {error}") from error


def decoded(content: bytes) -> str:
    """Return the text of a file's content, see `read_text`. Raises ValueError for other content."""
    text = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
    if "\0" in text:
        raise ValueError("it has bytes of value 0, so it is no text or UTF-16 without a mark; save it as UTF-8")
    return text


def without_mark(text: str) -> str:
    """Return a text without the byte-order mark that it may begin with."""
    return text.removeprefix("\ufeff")


def lines_of(text: str) -> list[str]:
    """Return the lines of a text as editors count them: they end with LF, CRLF or CR."""
    return [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]


def parse_json(text: str, label: str, cure: str) -> Any:
    """Return the value of a JSON text. Raises DataError, which begins with the label and ends with the cure.

    Stricter than Python: no key is there twice, and a number is finite. A byte-order mark is passed over.
    """

    def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
            raise ValueError(f"the key {twice!r} is there twice{_lines_with(twice, text)}")
        return found

    try:
        return json.loads(
            without_mark(text),
            object_pairs_hook=once,
            parse_constant=_not_finite,
            parse_float=_float,
            parse_int=_integer,
        )
    except RecursionError as error:
        raise DataError(f"{label} is nested too deeply; {cure}") from error
    except ValueError as error:
        raise DataError(f"{label} is no JSON ({error}); {cure}") from error


def _lines_with(key: str, text: str) -> str:
    """Return the lines in which a key stands, as the end of an error; empty if it is written with escapes."""
    pattern = re.compile(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:")
    numbers = [str(number) for number, line in enumerate(lines_of(text), start=1) if pattern.search(line)]
    return f", line {' and '.join(numbers[:4])}" if numbers else ""


def _not_finite(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")


def _float(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"the number {word[:40]} is too large")
    return value


def _integer(word: str) -> int:
    if len(word) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(word)} digits is too large")
    return int(word)
