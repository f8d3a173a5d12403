"""Files of links: links as JSON, Mahimahi traces and measured pairs. Finds a link by name or file."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from codecbench.errors import DataError, UsageError
from codecbench.files import read_text, without_mark, write_file
from codecbench.links.model import BackgroundLink, FixedRateLink, Link, TcpRampLink, TraceLink
from codecbench.names import pick, suggestion

KINDS: dict[str, type[Any]] = {
    "fixed-rate": FixedRateLink, "tcp-ramp": TcpRampLink, "trace": TraceLink, "background": BackgroundLink,
}  # fmt: skip
TRACE_ENDINGS = (".trace", ".mahimahi")
BYTES_COLUMNS = {"bytes": 1, "payload_bytes": 1, "kib": 1024, "payload_kib": 1024}
"""Names of columns with message sizes, and the bytes of their unit."""
MS_COLUMNS = ("ms", "network_ms")


def to_json(link: Link) -> str:
    """Return a link of this package as JSON: its kind and its fields. Raises UsageError for a class of a plugin."""
    return json.dumps(_plain(link), indent=1) + "\n"


def from_json(text: str, label: str = "link") -> Link:
    """Return the link that `to_json` wrote. Raises DataError, starting with the label, for any other text."""
    try:
        document = json.loads(without_mark(text))
    except ValueError as error:
        raise DataError(f"{label} is no JSON ({error}); make it with `codecbench link fit --out`") from error
    return _built(document, label)


def load_link(path: Path) -> Link:
    """Read a link from a file, a Mahimahi trace by its ending or else JSON. Raises DataError with the file's name."""
    if path.suffix in TRACE_ENDINGS:
        return TraceLink.read(path)
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"link file {path} cannot be read: {reason}") from error
    return from_json(text, str(path))


def pick_link(text: str, registered: Mapping[str, Link]) -> Link:
    """Return the registered link of this name, or the link of a file: .json, .trace or .mahimahi.

    Raises UsageError, with the nearest name, if there is no such link; DataError if the file is not a link.
    """
    if text not in registered and text.endswith((".json", *TRACE_ENDINGS)):
        return load_link(Path(text))
    return pick(registered, text, "link")


def read_pairs(path: Path) -> tuple[list[float], list[float]]:
    """Read payload bytes and milliseconds from a CSV file with a header; other columns are ignored.

    Sizes are in the column `bytes` or `payload_bytes`, or in KiB in `kib` or `payload_kib`; times in `ms` or
    `network_ms`. Raises DataError, with the line, for invalid numbers.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline=""), skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path} cannot be read: {reason}") from error
    header = list(rows[0]) if rows else []
    size_column = next((column for column in BYTES_COLUMNS if column in header), None)
    ms_column = next((column for column in MS_COLUMNS if column in header), None)
    if size_column is None or ms_column is None:
        raise DataError(f"{path} needs a header with the columns bytes and ms, and a pair a line")
    pairs = []
    for number, row in enumerate(rows, start=2):
        try:
            size, ms = float(row[size_column]), float(row[ms_column])
        except (TypeError, ValueError):
            size, ms = math.nan, math.nan
        if not (math.isfinite(size) and math.isfinite(ms) and size >= 0 and ms > 0):
            shown = f"{row[size_column]!r} and {row[ms_column]!r}"
            raise DataError(f"{path}, line {number}: {shown} are no size from 0 on and time above 0")
        pairs.append((size * BYTES_COLUMNS[size_column], ms))
    return [size for size, _ in pairs], [ms for _, ms in pairs]


def write_pairs(path: Path, payload_bytes: Sequence[int], ms: Sequence[float]) -> None:
    """Write pairs as a CSV file for `read_pairs`. Raises UsageError if it cannot be written."""
    lines = ["bytes,ms", *(f"{size},{time:.4f}" for size, time in zip(payload_bytes, ms, strict=True))]
    write_file(path, "\n".join(lines) + "\n")


def _plain(link: Link) -> dict[str, Any]:
    kind = next((kind for kind, built in KINDS.items() if type(link) is built), None)
    if kind is None:
        raise UsageError(f"link {link.name!r} is a {type(link).__name__}, which has no JSON; name it by its plugin")
    values = {f.name: getattr(link, f.name) for f in fields(link) if f.init}  # type: ignore[arg-type]
    return {"kind": kind} | {k: _plain(v) if isinstance(v, Link) else v for k, v in values.items()}


def _built(document: Any, label: str) -> Link:
    if not isinstance(document, dict) or document.get("kind") not in KINDS:
        found = document.get("kind") if isinstance(document, dict) else document
        known = ", ".join(KINDS)
        raise DataError(f"{label}: a link is an object whose kind is one of {known}, not {str(found)[:40]!r}")
    kind = KINDS[document["kind"]]
    values = {key: value for key, value in document.items() if key != "kind"}
    known_keys = [f.name for f in fields(kind) if f.init]
    for key in values:
        if key not in known_keys:
            near = suggestion(key, known_keys) or f"; there are: {', '.join(known_keys)}"
            raise DataError(f"{label}: {document['kind']} has no {key!r}{near}")
    if "link" in known_keys and "link" in values:
        values["link"] = _built(values["link"], label)
    try:
        link: Link = kind(**values)
    except (UsageError, TypeError) as error:
        reason = str(error).partition("__init__() ")[2] or str(error)
        raise DataError(f"{label}: {reason}") from error
    return link
