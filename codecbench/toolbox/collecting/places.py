"""Where collected data lies: a file in a workload's folder of data that names folders used where they are."""

from __future__ import annotations

import json
from pathlib import Path

PLACES = "places.json"
"""The file that says where data of each kind lies."""


def kept_places(folder: Path) -> dict[str, Path]:
    """Return where data lies, by kind, as `keep_place` wrote it; empty if it has not."""
    try:
        return {str(kind): folder / place for kind, place in json.loads((folder / PLACES).read_bytes()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def keep_place(folder: Path, kind: str, place: Path) -> None:
    """Keep where data of one kind lies; relative to the folder if it is in it."""
    known = {**kept_places(folder), kind: place}
    shown = {
        each: path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
        for each, path in known.items()
    }
    aside = folder / f"{PLACES}.new"
    aside.write_text(json.dumps(shown, indent=1) + "\n", encoding="utf-8")
    aside.replace(folder / PLACES)
