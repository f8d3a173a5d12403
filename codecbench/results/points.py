"""Operating points as text: `quality=50,tables=shared`, and the values that such a text stands for.

A value is a number, `True` or `False` (or as in JSON, `true` and `false`), `None`, or text. Text that would be read as
something else stands in double quotes, as in JSON: `mode="1"`, `window="a,b"`, `mode="true"`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from codecbench.errors import UsageError

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ARGUMENT = re.compile(rf"\s*(?:({_QUOTED})|([^\",=][^,=]*?))\s*=\s*({_QUOTED}|(?!\")[^,]*?)\s*(?:,|$)", re.DOTALL)
_INTEGER = re.compile(r"-?[0-9]+", re.ASCII)
_NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_WORDS: Mapping[str, Any] = {
    "true": True, "True": True, "false": False, "False": False, "inf": math.inf, "-inf": -math.inf, "nan": math.nan,
    "None": None,
}  # fmt: skip
_KINDS: Mapping[type, str] = {bool: "true or false", int: "a number", float: "a number", str: "text"}


def label_of(point: Mapping[str, Any]) -> str:
    """Return a point as text, of which `guessed` makes an equal point; empty for the empty point."""
    return ",".join(f"{_key_label(key)}={_value_label(value)}" for key, value in point.items())


def read_arguments(text: str, label: str) -> dict[str, str]:
    """Return the arguments of a text `key=value,key=value`, each value as it is written, with its quotes.

    Raises UsageError, with the label, where a part of the text is not key=value or a key is there twice.
    """
    arguments: dict[str, str] = {}
    position = 0
    while position < len(text):
        found = _ARGUMENT.match(text, position)
        if found is None:
            part, _, rest = text[position:].partition(",")
            if part.strip():
                raise UsageError(f"{label}: {part.strip()!r} is not key=value; write NAME:key=value,key=value")
            position = len(text) - len(rest)
            continue
        key = _unquoted(found[1], label) if found[1] else found[2].strip()
        if key in arguments:
            raise UsageError(f"{label}: {key!r} is there twice; keep one")
        arguments[key] = found[3]
        position = found.end()
    return arguments


def guessed(word: str, label: str) -> Any:
    """Return the value of a word as it is written: text if it is quoted, else a number, a truth value or text.

    Raises UsageError, with the label, for a number that is too large.
    """
    if word.startswith('"'):
        return _unquoted(word, label)
    if word in _WORDS:
        return _WORDS[word]
    if not _NUMBER.fullmatch(word):
        return word
    try:
        value = int(word) if _INTEGER.fullmatch(word) else float(word)
        if math.isfinite(value):
            return value
    except (ValueError, OverflowError):
        pass
    raise UsageError(f"{label}: {word[:40]} is too large for a number")


def typed(word: str, own: Iterable[Any], label: str) -> Any:
    """Return the value of a word for an argument that takes values like `own`, the codec's default first.

    An argument whose own values are all text takes every word as text; whole numbers become floats where the default
    is one, and floats without a fraction become integers where all its own values are. Raises UsageError, with the
    label, for a value of another type than all of them.
    """
    kinds = [type(value) for value in own]
    if set(kinds) == {str}:
        return _unquoted(word, label) if word.startswith('"') else word
    value = guessed(word, label)
    if set(kinds) <= set(_KINDS) and _KINDS.get(type(value)) not in {_KINDS[kind] for kind in kinds}:
        takes = " or ".join(dict.fromkeys(_KINDS[kind] for kind in kinds))
        raise UsageError(f"{label} takes {takes}, not {_value_label(value)}")
    if type(value) is float and set(kinds) == {int} and value.is_integer():
        return int(value)
    return as_default(value, kinds[0] if kinds else str)


def as_default(value: Any, kind: type) -> Any:
    """Return the value as a float if the default's type is float: 1 and 1.0 are the same operating point."""
    return float(value) if kind is float and type(value) is int else value


def _key_label(key: str) -> str:
    plain = re.fullmatch(r'[^",=\s](?:[^",=]*[^",=\s])?', key) and key.isprintable()
    return key if plain else _quoted(key)


def _value_label(value: Any) -> str:
    """Return a value as text, in quotes if it would otherwise be read as another one."""
    if not isinstance(value, str):
        return str(value)
    ambiguous = value in _WORDS or _NUMBER.fullmatch(value) or "," in value or value.startswith('"')
    plain = value and value.isprintable() and value == value.strip() and not ambiguous
    return value if plain else _quoted(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _unquoted(word: str, label: str) -> str:
    try:
        return str(json.loads(word, strict=False))
    except ValueError as error:
        raise UsageError(f"{label}: {word[:80]} is no text in quotes ({error})") from error
