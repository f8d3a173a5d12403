"""Remarks and marks for numbers that were made with less isolation than the kernel's, or in mixed processes.

A remark stands alone where every cell of a table has the reservation. Where only some have it, they are marked, and the
mark's meaning counts and names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from codecbench.analysis.selection import Origin, origin_of
from codecbench.results.record import IsolationLevel, Record

_LESS_ISOLATION, _MIXED_PLUGIN = "°", "§"

_ALL: dict[IsolationLevel, str] = {
    "partial": "Isolation: a part of the kernel's only.",
    "audit": "Isolation: the audit hook alone.",
    "unknown": "Isolation unknown: made before schema 3.",
}
"""The remark of a table whose cells all have this level."""

_LEVELS: dict[IsolationLevel, str] = {
    "partial": "a part of the kernel's",
    "audit": "the audit hook alone",
    "unknown": "unknown, made before schema 3",
}

_MIXED = "codec's file also registers the workload, so it is loaded in the model's processes too"


@dataclass(frozen=True)
class Reservations:
    """The reservations of a table, from the origins of its measured cells."""

    cells: tuple[Origin, ...]

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """A sentence for each reservation that every cell has."""
        found = []
        if self._less and len(self._less) == len(self.cells):
            levels = {cell.isolation for cell in self._less}
            below = f"Isolation below the kernel's in all {len(self.cells)} cells: {_by_level(self._less)}."
            found.append(_ALL[levels.pop()] if len(levels) == 1 else below)
        if self._mixed and len(self._mixed) == len(self.cells):
            found.append(f"The {_MIXED}.")
        return tuple(found)

    @cached_property
    def marks(self) -> tuple[tuple[str, str], ...]:
        """The mark and the meaning of each reservation that some cells have and others do not."""
        found = []
        if 0 < len(self._less) < len(self.cells):
            text = f"isolation below the kernel's in {self._share(self._less)}: {_by_level(self._less)}"
            found.append((_LESS_ISOLATION, text))
        if 0 < len(self._mixed) < len(self.cells):
            found.append((_MIXED_PLUGIN, f"the {_MIXED}: {self._share(self._mixed)} ({_rows(self._mixed)})"))
        return tuple(found)

    @property
    def sentences(self) -> tuple[str, ...]:
        """All reservations as sentences, for places without marks."""
        return (*self.remarks, *(f"{meaning[0].upper()}{meaning[1:]}." for _, meaning in self.marks))

    def marks_of(self, *origins: Origin | None) -> str:
        """Returns the marks of a number that comes from these cells; None is no codec's cell."""
        used = [mark for mark, _ in self.marks]
        found = [origin for origin in origins if origin is not None]
        flags = (
            (_LESS_ISOLATION, any(_is_less(origin) for origin in found)),
            (_MIXED_PLUGIN, any(origin.mixed_plugin for origin in found)),
        )
        return "".join(mark for mark, flag in flags if flag and mark in used)

    @cached_property
    def _less(self) -> tuple[Origin, ...]:
        return tuple(cell for cell in self.cells if _is_less(cell))

    @cached_property
    def _mixed(self) -> tuple[Origin, ...]:
        return tuple(cell for cell in self.cells if cell.mixed_plugin)

    def _share(self, found: Sequence[Origin]) -> str:
        return f"{len(found)} of {len(self.cells)} cells"


def of_origins(origins: Iterable[Origin | None]) -> Reservations:
    """Returns the reservations of a table whose cells have these origins; None is no codec's cell."""
    return Reservations(tuple(origin for origin in origins if origin is not None))


def of_records(records: Iterable[Record]) -> Reservations:
    """Returns the reservations of a table of these records. Those without measurements do not count."""
    return of_origins(origin_of(record) for record in records if record.status == "ok")


def csv_values(origins: Sequence[Origin]) -> dict[str, Any]:
    """Returns the CSV columns `isolation` (the weakest) and `mixed_plugin` (of any) of a number from these cells."""
    order = ("kernel", *_LEVELS)
    return {
        "isolation": max((origin.isolation for origin in origins), key=order.index, default=None),
        "mixed_plugin": any(origin.mixed_plugin for origin in origins),
    }


def _is_less(origin: Origin) -> bool:
    return origin.isolation != "kernel"


def _by_level(cells: Sequence[Origin]) -> str:
    """Returns each level with its count and rows: `the audit hook alone: 3 (jpeg, raw); ...`."""
    by_level = {level: [cell for cell in cells if cell.isolation == level] for level in _LEVELS}
    return "; ".join(f"{_LEVELS[level]}: {len(found)} ({_rows(found)})" for level, found in by_level.items() if found)


def _rows(cells: Iterable[Origin]) -> str:
    return ", ".join(dict.fromkeys(cell.row for cell in cells))
