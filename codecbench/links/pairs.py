"""Measured pairs of message size and time, as a CSV file."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codecbench.errors import DataError
from codecbench.system.textfiles import lines_of, read_text

BYTES_COLUMNS = {"bytes": 1, "payload_bytes": 1, "kib": 1024, "payload_kib": 1024}
"""Names of columns with message sizes, and the bytes of their unit."""
MS_COLUMNS = ("ms", "network_ms")
DELIMITERS = (",", ";", "\t")
MAX_BYTES = 1e15
MAX_MS, MIN_MS = 1e12, 1e-6
"""Bounds of sizes and times. Values beyond them come from a wrong unit or a damaged file, and overflow in a fit."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?[0-9.]*,[0-9,.]*", re.ASCII)


@dataclass(frozen=True)
class _Header:
    """The line of the header, its delimiter, the number of its columns, and where sizes and times are."""

    line: int
    delimiter: str
    columns: int
    size: int
    size_name: str
    ms: int


def read_pairs(path: Path) -> tuple[list[float], list[float]]:
    """Read payload bytes and milliseconds from a CSV file with a header; other columns are ignored.

    Sizes are in the column `bytes` or `payload_bytes`, or in KiB in `kib` or `payload_kib`; times in `ms` or
    `network_ms`. Commas, semicolons or tabs part the columns; empty lines and lines that begin with # are left out.
    Raises DataError, with the line, for a header or values that are not of this form.
    """
    lines = lines_of(read_text(path))
    header = _header(path, lines)
    pairs = []
    for number, row in _rows(path, lines, header):
        while len(row) > header.columns and not row[-1]:
            row.pop()
        if len(row) > header.columns:
            raise DataError(
                f"{path}, line {number}: {len(row)} values for the {header.columns} columns of the header; write "
                "decimals with a point, and text with a delimiter in quotes"
            )
        size, ms = (row[column] if column < len(row) else None for column in (header.size, header.ms))
        pairs.append(_pair(f"{path}, line {number}", size, ms, BYTES_COLUMNS[header.size_name]))
    return [size for size, _ in pairs], [ms for _, ms in pairs]


def _header(path: Path, lines: Sequence[str]) -> _Header:
    """Return the header, the first line that is neither empty nor a comment. Raises DataError if it is none."""
    first = next((number for number, line in enumerate(lines, start=1) if _holds_values(line)), 0)
    for delimiter in DELIMITERS if first else ():
        names = [name.lower() for name in _cells(lines[first - 1], delimiter)]
        size = next((name for name in BYTES_COLUMNS if name in names), None)
        ms = next((name for name in MS_COLUMNS if name in names), None)
        if size is None or ms is None:
            continue
        twice = next((name for name in (size, ms) if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"{path}, line {first}: two columns are named {twice}; keep one of them")
        return _Header(first, delimiter, len(names), names.index(size), size, names.index(ms))
    place = f"{path}, line {first}: the file" if first else f"{path}"
    raise DataError(f"{place} needs a header with the columns bytes and ms, and a pair a line")


def _rows(path: Path, lines: Sequence[str], header: _Header) -> Iterator[tuple[int, list[str]]]:
    """Yield the line at which each row begins, and its values without the spaces around them."""
    # A line that is left out stays as an empty one, so that the lines are counted as in the file.
    below = [line if _holds_values(line) else "" for line in lines[header.line :]]
    reader = csv.reader((f"{line}\n" for line in below), delimiter=header.delimiter, skipinitialspace=True, strict=True)
    number = header.line + 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield number, [cell.strip() for cell in row]
            number = header.line + reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {number}: {error}; a row is one line, with all its quotes closed") from error


def _holds_values(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _cells(line: str, delimiter: str) -> list[str]:
    """Return the names in a header; those of an unclosed quote are one, and no known column."""
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]


def _pair(place: str, size: str | None, ms: str | None, unit_bytes: int) -> tuple[float, float]:
    """Return bytes and milliseconds. Raises DataError, with the place, for words that are none."""
    for word in (size, ms):
        if word is not None and _COMMA.fullmatch(word):
            raise DataError(f"{place}: {word!r} has a comma; write decimals with a point and no other separators")
    if size is not None and ms is not None and _NUMBER.fullmatch(size) and _NUMBER.fullmatch(ms):
        size_bytes, time_ms = float(size) * unit_bytes, float(ms)
        if size_bytes > MAX_BYTES or not (MIN_MS <= time_ms <= MAX_MS or time_ms <= 0):
            raise DataError(
                f"{place}: {size[:40]!r} and {ms[:40]!r} are beyond what a fit takes, {MAX_BYTES:g} bytes and "
                f"{MIN_MS:g} to {MAX_MS:g} ms; look at their units"
            )
        if size_bytes >= 0 and time_ms > 0:
            return size_bytes, time_ms
    shown = " and ".join("None" if word is None else repr(word[:40]) for word in (size, ms))
    raise DataError(f"{place}: {shown} are no size from 0 on and time above 0")
