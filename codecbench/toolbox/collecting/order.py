"""An order of files that their names decide: random but fixed, and the same wherever the files lie."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NameOrder:
    """The order of hashes of names; another one for each `workload`."""

    workload: str

    def digest(self, purpose: str, name: str) -> bytes:
        """Return 32 bytes that follow from a name, for one purpose."""
        return hashlib.sha256(f"{self.workload}\0{purpose}\0{name}".encode(errors="surrogateescape")).digest()

    def sorted(self, paths: Iterable[str]) -> list[str]:
        """Return paths in the order of hashes of their last parts."""
        return sorted(paths, key=lambda path: (self.digest("order", path.rpartition("/")[2]), path))


def files_below(folder: Path, endings: Collection[str]) -> list[str]:
    """Return the paths of all files below a folder with one of these endings, relative to it; no hidden ones."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in endings)
    return [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]


def view_names(found: Sequence[str], views: int) -> list[str]:
    """Return identifiers of views, `NAME#VIEW`: the first of every file, then the second of every file, and so on."""
    return [f"{name}#{view}" for view in range(views) for name in found]
