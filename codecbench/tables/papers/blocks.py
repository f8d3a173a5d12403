"""Sheets as blocks that fit: as many splits side by side as the width allows, or only some columns of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from codecbench.tables.document import Cell, Document, Group, TableBlock, markdown, text_width
from codecbench.tables.formats import batches
from codecbench.tables.papers.columns import Column
from codecbench.tables.papers.sheet import Line, Sheet

MARKDOWN_WIDTH = 120
"""The characters of the widest row in Markdown, which fit a page."""


@dataclass(frozen=True)
class Part:
    """Some splits side by side with some columns each; a row holds the line of each split, None where it has none."""

    splits: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Line | None, ...]], ...]

    @property
    def lines(self) -> list[Line]:
        """The lines of all splits."""
        return [line for _, lines in self.rows for line in lines if line is not None]

    def lines_of(self, place: int) -> list[Line]:
        """Returns the lines of the split at this place that have numbers."""
        return [line for _, lines in self.rows if (line := lines[place]) is not None and not line.status]


def parts_that_fit(sheet: Sheet, fits: Callable[[Part], bool]) -> list[Part]:
    """Returns the sheet in parts that fit, with as many splits side by side as possible.

    Where one split is too wide, the interval of the value is left out if that of its change is shown, then only the
    brief columns are shown; where columns were asked for, they are stacked, one a part where no layout fits.
    """
    splits = tuple(dict.fromkeys(line.split for line in sheet.lines))
    columns = sheet.visible
    brief = [sheet.named(sheet.brief)] if sheet.brief else []
    for shown in (columns, _without_value_interval(columns), *brief):
        for count in range(len(splits) if sheet.side_by_side else 1, 0, -1):
            found = [_part(sheet, tuple(some), shown) for some in batches(splits, count)]
            if all(map(fits, found)):
                return _with_rows(found)
    for count in range(len(columns) - 1, 0, -1):
        found = [_part(sheet, (split,), tuple(some)) for split in splits for some in batches(columns, count)]
        if all(map(fits, found)):
            break
    return _with_rows(found)


def _without_value_interval(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    if not any(column.name == "change" and column.interval for column in columns):
        return columns
    return tuple(replace(column, interval=None) if column.name == "value" else column for column in columns)


def _with_rows(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if part.rows]


def _part(sheet: Sheet, splits: tuple[str, ...], columns: tuple[Column, ...]) -> Part:
    """Returns some splits and columns. Rows without a number at any of the splits are left out, failed ones are not."""
    by_place = {(line.label, line.split): line for line in sheet.lines}
    labels = dict.fromkeys(line.label for line in sheet.lines)
    rows = ((label, tuple(by_place.get((label, split)) for split in splits)) for label in labels)
    shown = (
        (label, lines) for label, lines in rows if any(line and (line.status != "-" or line.notes) for line in lines)
    )
    return Part(splits, columns, tuple(shown))


def block_of(part: Part, stub: str, notes: dict[str, int], best: str = "{}") -> TableBlock:
    """Returns a part as a block of formatted cells; `notes` are the numbers of the footnotes, `best` a form of text."""
    headings = tuple(column.heading for column in part.columns)
    alignments = tuple("left" if column.is_text or column.interval else "right" for column in part.columns)
    groups = tuple(Group(split, headings, alignments) for split in part.splits)
    rows = tuple(
        (label, tuple(cell for line in lines for cell in _cells(line, part.columns, notes, best)))
        for label, lines in part.rows
    )
    return TableBlock(stub, groups, rows)


def _cells(line: Line | None, columns: Sequence[Column], notes: dict[str, int], best: str) -> list[Cell]:
    numbers = tuple(notes[note] for note in line.notes) if line else ()
    if line is None or line.status:
        status = line.status if line else "-"
        return [Cell(status, notes=numbers), *(Cell() for _ in columns[1:])]
    judged = [(_text(column, line), column.name in line.best) for column in columns]
    cells = [Cell(best.format(text) if is_best else text, strong=is_best) for text, is_best in judged]
    last = cells[-1]
    return [*cells[:-1], Cell(last.text, line.marks, numbers, last.strong)]


def _text(column: Column, line: Line) -> str:
    return " ".join(filter(None, (column.number(line.fields), column.ends(line.fields))))


def document_of(sheet: Sheet, format_: str, width: int | None) -> Document:
    """Returns the sheet as a document for `text`, of at most `width` columns, `md` or `html`."""
    notes, best = sheet.notes, "*{}*" if format_ == "text" else "{}"

    def fits(part: Part) -> bool:
        block = block_of(part, sheet.stub, notes, best)
        if format_ == "md":
            return max(map(len, markdown(Document("", (block,))).splitlines())) <= MARKDOWN_WIDTH
        return width is None or text_width(block) <= width

    blocks = tuple(block_of(part, sheet.stub, notes, best) for part in parts_that_fit(sheet, fits))
    return Document(
        title=sheet.title,
        blocks=blocks,
        remarks=tuple(remark.text for remark in sheet.remarks),
        marks=tuple((mark.symbol, mark.meaning) for mark in sheet.used_marks),
        notes=tuple(notes),
    )
