"""Turns tables and documents into values for templates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from codecbench.report import page
from codecbench.report.page import Ids
from codecbench.tables.document import Cell, Document, Group, TableBlock, html_caption, html_table

_INTERVAL = re.compile(r"\[([^][, ]+), ([^][, ]+)\]")

MAX_NARROW_COLUMNS = 4
"""The number of columns beside the labels that fit into the width of a telephone."""


@dataclass(frozen=True)
class TableView:
    """One table as HTML, and the id of its caption.

    A narrow window shows the rows of a table `with_cards` as cards, because it has no space for its columns.
    """

    caption_id: str
    html: Markup
    with_cards: bool


@dataclass(frozen=True)
class DocumentView:
    """A document's tables, with its remarks, marks and footnotes as plain text.

    With `groups_are_splits`, the page's script lets readers select splits, which are the groups of columns.
    """

    tables: tuple[TableView, ...]
    remarks: tuple[str, ...]
    marks: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    groups_are_splits: bool


def table(ids: Ids, block: TableBlock, caption: str, label: Callable[[str], str] = page.text) -> TableView:
    """Returns one table. `label` returns the HTML of a row's label, which may be a link; all other text is escaped."""
    caption_id = ids.fresh("table", caption)
    with_cards = len(block.alignments) - 1 > MAX_NARROW_COLUMNS
    html = html_table(
        _with_unbroken_intervals(block), caption=caption, label=label, right='class="r"', caption_id=caption_id,
        with_names=with_cards,
    )  # fmt: skip
    return TableView(caption_id, page.trusted(html), with_cards)


def _with_unbroken_intervals(block: TableBlock) -> TableBlock:
    """Returns the table with no line break inside `[low, high]`."""
    rows = tuple((name, tuple(unbroken(cell) for cell in cells)) for name, cells in block.rows)
    return replace(block, rows=rows)


def unbroken(cell: Cell) -> Cell:
    """Returns the cell with no line break inside `[low, high]`."""
    return replace(cell, text=_INTERVAL.sub("[\\1,\N{NO-BREAK SPACE}\\2]", cell.text))


def document(
    ids: Ids,
    shown: Document,
    label: Callable[[str], str] = page.text,
    *,
    scope: str = "",
    groups_are_splits: bool = False,
) -> DocumentView:
    """Returns a document. `scope` is added to its captions, to distinguish them from those of similar documents."""
    captions = [html_caption(shown, block) for block in shown.blocks]
    tables = tuple(
        table(ids, block, f"{caption}, {scope}" if scope else caption, label)
        for block, caption in zip(shown.blocks, captions, strict=True)
    )
    return DocumentView(tables, shown.remarks, shown.marks, shown.notes, groups_are_splits)


def rows(stub: str, headings: Sequence[str], alignments: str, lines: Iterable[tuple[str, Sequence[str]]]) -> TableBlock:
    """Returns a plain table of texts; `alignments` has a letter, `l` or `r`, for each column after the first."""
    names = {"l": "left", "r": "right"}
    group = Group("", tuple(headings), tuple(names[letter] for letter in alignments))
    return TableBlock(stub, (group,), tuple((label, tuple(Cell(cell) for cell in cells)) for label, cells in lines))
