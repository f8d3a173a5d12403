"""The points of one table row at one split among which a search chooses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codecbench.descriptions.codec_info import Point
from codecbench.experiment.cells import PlannedCell
from codecbench.results.cell import digest, row_label


@dataclass(frozen=True)
class Candidates:
    """The cells of a row at a split, from coarse to fine, that can be measured.

    `start` is where a search begins, `own` are the numbers of the codec's own points.
    """

    cells: tuple[PlannedCell, ...]
    start: int
    own: tuple[int, ...] = ()

    @property
    def points_sha256(self) -> str:
        """The hash of all points, in order."""
        return digest([dict(cell.key.point) for cell in self.cells])


def row_of(cell: PlannedCell) -> tuple[str, str]:
    """Return the split and the table row of a cell."""
    return cell.key.split, row_label(cell.key.codec, cell.codec.rows_by, cell.key.point)


def by_row(cells: Sequence[PlannedCell]) -> dict[tuple[str, str], list[PlannedCell]]:
    """Return the cells of each split and row, in the order of the cells."""
    found: dict[tuple[str, str], list[PlannedCell]] = {}
    for cell in cells:
        found.setdefault(row_of(cell), []).append(cell)
    return found


def candidates_of(cells: Sequence[PlannedCell], begin: Sequence[Point], own: Sequence[Point] = ()) -> Candidates | None:
    """Return the cells of one row that can be measured; None if there are fewer than two.

    The search begins at the one that is nearest to a point of `begin`, or else in the middle. `own` are points of the
    codec, some of which are among the cells.
    """
    runnable = tuple(cell for cell in cells if cell.is_runnable)
    if len(runnable) < 2:
        return None
    middle = len(runnable) // 2
    distances = [min((_distance(cell.key.point, point) for point in begin), default=0.0) for cell in runnable]
    nearest = min(range(len(runnable)), key=lambda at: (distances[at], abs(at - middle)))
    numbers = tuple(at for at, cell in enumerate(runnable) if dict(cell.key.point) in [dict(point) for point in own])
    return Candidates(runnable, nearest, numbers)


def _distance(point: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Return how far apart two points are: numbers by their ratio, and infinity where another value differs."""
    total = 0.0
    for key, value in point.items():
        near = other.get(key, value)
        if value == near:
            continue
        if isinstance(value, str | bool) or isinstance(near, str | bool):
            return math.inf
        low, high = sorted((abs(value), abs(near)))
        total += math.log((high + 1) / (low + 1)) if isinstance(value, int) else math.log(high / low) if low else 1e3
    return total
