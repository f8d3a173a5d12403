"""Sheets: tables before their layout, as lines of named fields. Options choose, sort and drop columns and lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from codecbench.errors import UsageError
from codecbench.names import suggestion
from codecbench.tables.papers.columns import Column

PAGE_PT, COLUMN_PT = 320.0, 220.0
"""The widths of tables in LaTeX: the text of the class article at 10, 11 or 12 pt, and one of two columns at 10 pt."""
_NARROWEST_PT = 100.0

BY_NAME = "row"
"""The value of --sort for rows by name."""


INTERVALS = "intervals"
"""The column of remarks on intervals, which belong to no single one."""


@dataclass(frozen=True)
class Mark:
    """A mark and its meaning; it is shown beside one of the `columns`, or beside any where there are none.

    `without_intervals` is True for a mark that stands for an interval that is not shown.
    """

    symbol: str
    meaning: str
    columns: tuple[str, ...] = ()
    without_intervals: bool = False


@dataclass(frozen=True)
class Remark:
    """A sentence on the table; it is shown with one of the `columns`, or always where there are none."""

    text: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """One row at one split, or one of its operating points there; `label` is its name in the table.

    `fields` holds the values by the names of columns. `status` stands in place of the numbers of a line without. Only a
    `candidate`, a line within the budget, can be the best of a column; `best` names those in which it is.
    """

    row: str
    label: str
    split: str
    fields: Mapping[str, Any]
    status: str = ""
    marks: str = ""
    notes: tuple[str, ...] = ()
    candidate: bool = True
    best: frozenset[str] = frozenset()
    pareto: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table as lines: all columns that it has, and the names of those that are shown.

    `keys` are the fields of CSV before the columns. `front` names the column whose number, beside the loss, makes a
    line Pareto-optimal, "" where none does. `brief` are the columns that are shown where the usual ones are too wide.
    `side_by_side` is True if several splits may stand in one block.
    """

    title: str
    columns: tuple[Column, ...]
    shown: tuple[str, ...]
    lines: tuple[Line, ...]
    keys: tuple[str, ...]
    stub: str = "codec"
    remarks: tuple[Remark, ...] = ()
    details: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    front: str = ""
    brief: tuple[str, ...] = ()
    side_by_side: bool = True

    @property
    def visible(self) -> tuple[Column, ...]:
        """The columns that are shown, in their order."""
        return self.named(self.shown)

    def named(self, names: Iterable[str]) -> tuple[Column, ...]:
        """Returns the columns of these names."""
        known = {column.name: column for column in self.columns}
        return tuple(known[name] for name in names)

    @property
    def notes(self) -> dict[str, int]:
        """The numbers of the footnotes, from 1, by text."""
        texts = dict.fromkeys(note for line in self.lines for note in line.notes)
        return {text: number for number, text in enumerate(texts, 1)}

    @property
    def used_marks(self) -> tuple[Mark, ...]:
        """The marks that some line has."""
        used = set("".join(line.marks for line in self.lines if not line.status))
        return tuple(mark for mark in self.marks if mark.symbol in used)


@dataclass(frozen=True)
class PaperOptions:
    """The columns and rows of a table in this order (none means the usual ones), its intervals, the best in bold.

    `sort` is a column, with a leading hyphen for the highest first, or "row". `width_pt` is that of a table in LaTeX.
    """

    columns: Sequence[str] = ()
    rows: Sequence[str] = ()
    intervals: bool = True
    best: bool = False
    sort: str = ""
    width_pt: float = PAGE_PT

    @property
    def names(self) -> frozenset[str]:
        """The columns that are shown or sorted by, where they were chosen."""
        return frozenset((*self.columns, self.sort.removeprefix("-")))

    @property
    def are_usual(self) -> bool:
        """True if nothing is chosen but the width."""
        return not (self.columns or self.rows or self.best or self.sort) and self.intervals


def width_of(text: str) -> float:
    """Returns a width in points: of "page", "column", or a number. Raises UsageError for another."""
    known = {"page": PAGE_PT, "column": COLUMN_PT}
    try:
        found = known[text] if text in known else float(text)
    except ValueError:
        found = 0.0
    if not _NARROWEST_PT <= found < float("inf"):
        raise UsageError(
            f"no width {text!r}; it is page ({PAGE_PT:g} pt), column ({COLUMN_PT:g} pt), or points from "
            f"{_NARROWEST_PT:g} on, such as those of \\textwidth"
        )
    return found


def chosen(sheets: Iterable[Sheet], options: PaperOptions) -> list[Sheet]:
    """Returns the sheets with the columns and lines of the options, sorted. Those left without lines are dropped.

    Raises UsageError for a column or a row that no sheet has.
    """
    found = list(sheets)
    columns = tuple(dict.fromkeys(column.name for sheet in found for column in sheet.columns))
    rows = tuple(dict.fromkeys(line.row for sheet in found for line in sheet.lines))
    labels = {line.label for sheet in found for line in sheet.lines}
    for name in options.columns:
        _check(name, columns, "column")
    for name in options.rows:
        if name not in labels:
            _check(name, rows, "row")
    if options.sort:
        _check(options.sort.removeprefix("-"), (BY_NAME, *columns), "column to sort by")
    return [_chosen(sheet, options) for sheet in found if _lines(sheet, options)]


def _check(name: str, known: Sequence[str], kind: str) -> None:
    if name not in known:
        near = suggestion(name, known).removeprefix("; ")
        raise UsageError(f"no {kind} {name!r}{f'; {near}' if near else ''}; there are: {', '.join(known)}")


def _chosen(sheet: Sheet, options: PaperOptions) -> Sheet:
    known = {column.name: column for column in sheet.columns}
    names = tuple(dict.fromkeys(name for name in options.columns if name in known)) or sheet.shown
    intervals = options.intervals and any(known[name].interval for name in names)
    shown = {*names, *((INTERVALS,) if intervals else ())}
    marks = tuple(
        mark
        for mark in sheet.marks
        if (not mark.columns or shown & set(mark.columns)) and not (mark.without_intervals and options.intervals)
    )
    symbols = {mark.symbol for mark in marks}
    lines = [
        replace(line, marks="".join(symbol for symbol in line.marks if symbol in symbols))
        for line in _lines(sheet, options)
    ]
    return replace(
        sheet,
        columns=sheet.columns if options.intervals else tuple(replace(each, interval=None) for each in sheet.columns),
        shown=names,
        brief=() if options.columns else sheet.brief,
        lines=tuple(_sorted(lines, known, options.sort)),
        marks=marks,
        remarks=tuple(remark for remark in sheet.remarks if not remark.columns or shown & set(remark.columns)),
        side_by_side=sheet.side_by_side and not options.sort,
    )


def _lines(sheet: Sheet, options: PaperOptions) -> list[Line]:
    """Returns the lines of the rows asked for, split by split; the label of a point asks for this point alone."""
    if not options.rows:
        return list(sheet.lines)
    order = {name: place for place, name in reversed(list(enumerate(options.rows)))}

    def place(line: Line) -> int:
        return min(order.get(name, len(order)) for name in (line.row, line.label))

    splits = list(dict.fromkeys(line.split for line in sheet.lines))
    lines = [line for line in sheet.lines if line.row in order or line.label in order]
    return sorted(lines, key=lambda line: (splits.index(line.split), place(line)))


def _sorted(lines: list[Line], columns: Mapping[str, Column], sort: str) -> list[Line]:
    """Returns the lines sorted within each split; those without a value come last, equal ones keep their order."""
    name, sign = sort.removeprefix("-"), -1 if sort.startswith("-") else 1
    splits = list(dict.fromkeys(line.split for line in lines))
    if name == BY_NAME:
        lines = sorted(lines, key=lambda line: line.label, reverse=sign < 0)
    elif name in columns:
        column = columns[name]
        with_value = [line for line in lines if _sort_value(column, line) is not None]
        rest = [line for line in lines if _sort_value(column, line) is None]
        if column.is_text:
            lines = sorted(with_value, key=lambda line: str(line.fields[name]), reverse=sign < 0) + rest
        else:
            lines = sorted(with_value, key=lambda line: sign * (column.value(line.fields) or 0.0)) + rest
    return sorted(lines, key=lambda line: splits.index(line.split))


def _sort_value(column: Column, line: Line) -> Any:
    value = line.fields.get(column.name)
    return None if line.status or value == "" or value != value else value  # NaN is no value
