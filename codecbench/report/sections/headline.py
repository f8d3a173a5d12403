"""The report's headline: a sentence, a picture and a short table, for each choice that the page offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from codecbench.devices.profile import HOST, DeviceProfile
from codecbench.figures.style import PARTS
from codecbench.headlines.headline import Headline
from codecbench.report.choices import Choices
from codecbench.report.views import unbroken
from codecbench.tables.document import Cell, Document

PART_NAMES = tuple(PARTS)
"""The parts of a bar, in order."""


@dataclass(frozen=True)
class RowView:
    """One row of the table and its bar: the split and codec, the operating point, the cells, and each part's length.

    Lengths are in percent of the picture's width.
    """

    name: str
    point: str
    cells: tuple[Cell, ...]
    lengths: tuple[float, ...]

    @property
    def bar(self) -> list[tuple[str, float, float]]:
        """The name, the start and the length of each part."""
        starts = [round(sum(self.lengths[:i]), 1) for i in range(len(self.lengths))]
        return list(zip(PART_NAMES, starts, self.lengths, strict=True))


def headline(choices: Choices) -> dict[str, object]:
    """Returns the values of `headline.html`: the headline of the default choice, and those of all."""
    subject, found = choices.subject, list(choices.headlines())
    device, edge, link, budget = choices.default
    number = ((device * len(choices.edges) + edge) * len(choices.links) + link) * len(choices.budgets) + budget
    shown = found[number]
    table = shown.document(points=False)
    return {
        "place": subject.place("headline"),
        "level": subject.level,
        "sentence": shown.sentence,
        "rows": _rows(shown, table),
        "headings": table.blocks[0].groups[0].headings,
        "parts": PART_NAMES,
        "remarks": _remarks(table),
        "data": _embedded(choices, found),
    }


def _rows(shown: Headline, table: Document) -> list[RowView]:
    """Returns the rows of a headline's table, with their bars; the longest bar is as wide as the picture."""
    parts_s = [[found.latency.step_median_s(*steps) for steps, _, _ in PARTS.values()] for found in shown.rows]
    longest_s = max(map(sum, parts_s)) or 1.0
    (block,) = table.blocks
    return [
        RowView(found.place, found.point, _shown(cells), tuple(round(100 * part_s / longest_s, 1) for part_s in parts))
        for found, (_, cells), parts in zip(shown.rows, block.rows, parts_s, strict=True)
    ]


def _shown(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Returns the cells for narrow columns: no line break in intervals, and marks close to single numbers."""
    spaced = (replace(cell, marks=f" {cell.marks}") if cell.marks and " " in cell.text else cell for cell in cells)
    return tuple(map(unbroken, spaced))


def _remarks(table: Document) -> list[str]:
    return [*table.remarks, *(f"{mark} {meaning}" for mark, meaning in table.marks)]


def _embedded(choices: Choices, found: Sequence[Headline]) -> Mapping[str, Any]:
    """Returns what the page's script shows: the values to choose from, and the headline of each choice.

    Names, points and remarks stand once in `texts`, and elsewhere as their numbers there. A strong cell is a list.
    """
    texts: dict[str, int] = {}

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    headlines = []
    for each in found:
        table = each.document(points=False)
        rows = [
            [number(row.name), number(row.point), [_cell(cell) for cell in row.cells], row.lengths]
            for row in _rows(each, table)
        ]
        headlines.append([each.sentence, rows, [number(remark) for remark in _remarks(table)]])
    return {
        "workload": choices.subject.workload,
        "lists": [
            ["device", [_machine(each) for each in choices.devices]],
            ["edge", [_machine(each) for each in choices.edges]],
            ["link", [[link.name, link.description] for link in choices.links]],
            ["budget", [[f"{budget:g}", ""] for budget in choices.budgets]],
        ],
        "chosen": choices.default,
        "metric": choices.subject.metric,
        "parts": PART_NAMES,
        "texts": list(texts),
        "headlines": headlines,
    }


def _machine(profile: DeviceProfile | None) -> list[str]:
    """Returns the machine's name and description."""
    return [profile.name, profile.description] if profile else [HOST, "the machine of the records, measured"]


def _cell(cell: Cell) -> str | list[str]:
    """Returns the text of a cell, in a list if it is strong."""
    return [cell.text, cell.marks] if cell.strong else cell.text + cell.marks
