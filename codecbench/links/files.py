"""Files of links: links as JSON and Mahimahi traces. Finds a link by name or file. Writes measured pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from codecbench.errors import DataError, UsageError
from codecbench.links.model import BackgroundLink, FixedRateLink, Link, TcpRampLink, TraceLink
from codecbench.links.pairs import read_pairs
from codecbench.names import pick, suggestion
from codecbench.system.files import write_file
from codecbench.system.textfiles import parse_json, read_text

__all__ = [
    "KINDS", "TRACE_ENDINGS", "from_json", "load_link", "pick_link", "read_pairs", "to_json", "write_pairs",
]  # fmt: skip

KINDS: dict[str, type[Any]] = {
    "fixed-rate": FixedRateLink, "tcp-ramp": TcpRampLink, "trace": TraceLink, "background": BackgroundLink,
}  # fmt: skip
TRACE_ENDINGS = (".trace", ".mahimahi")
DEEPEST = 16
"""The most links that may stand within each other, as background traffic on a link does."""


def to_json(link: Link) -> str:
    """Return a link of this package as JSON: its kind and its fields. Raises UsageError for a class of a plugin."""
    return json.dumps(_plain(link), indent=1) + "\n"


def from_json(text: str, label: str = "link") -> Link:
    """Return the link that `to_json` wrote. Raises DataError, starting with the label, for any other text."""
    return _built(parse_json(text, label, "make it with `codecbench link fit --out`"), label)


def load_link(path: Path) -> Link:
    """Read a link from a file, a Mahimahi trace by its ending or else JSON. Raises DataError with the file's name."""
    if path.suffix in TRACE_ENDINGS:
        return TraceLink.read(path)
    return from_json(read_text(path, f"link file {path}"), str(path))


def pick_link(text: str, registered: Mapping[str, Link]) -> Link:
    """Return the registered link of this name, or the link of a file: .json, .trace or .mahimahi.

    Raises UsageError, with the nearest name, if there is no such link; DataError if the file is not a link.
    """
    if text not in registered and text.endswith((".json", *TRACE_ENDINGS)):
        return load_link(Path(text))
    return pick(registered, text, "link")


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


def _built(document: Any, label: str, depth: int = 1) -> Link:
    name = document.get("kind") if isinstance(document, dict) else document
    if not isinstance(document, dict) or not isinstance(name, str) or name not in KINDS:
        known = ", ".join(KINDS)
        raise DataError(f"{label}: a link is an object whose kind is one of {known}, not {str(name)[:40]!r}")
    kind = KINDS[name]
    values = {key: value for key, value in document.items() if key != "kind"}
    known_keys = [f.name for f in fields(kind) if f.init]
    for key in values:
        if key not in known_keys:
            near = suggestion(key, known_keys) or f"; there are: {', '.join(known_keys)}"
            raise DataError(f"{label}: {name} has no {key[:40]!r}{near}")
    if "link" in known_keys and "link" in values:
        if depth == DEEPEST:
            raise DataError(f"{label}: more than {DEEPEST} links stand within each other; add their shares up")
        values["link"] = _built(values["link"], label, depth + 1)
    try:
        link: Link = kind(**values)
    except (UsageError, TypeError) as error:
        reason = str(error).partition("__init__() ")[2] or str(error)
        raise DataError(f"{label}: {reason}") from error
    return link
