"""Sheets as text, Markdown, CSV, LaTeX and HTML, with the columns, rows and marks that are asked for."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from codecbench.tables.document import html_section, markdown, text
from codecbench.tables.formats import PROSE_WIDTH
from codecbench.tables.papers.best import with_best
from codecbench.tables.papers.blocks import document_of
from codecbench.tables.papers.columns import Column
from codecbench.tables.papers.latex import latex
from codecbench.tables.papers.sheet import PaperOptions, Sheet, chosen


def render(sheets: Iterable[Sheet], options: PaperOptions, format_: str, width: int | None = None) -> str:
    """Returns sheets as one text ending in a newline; `width` is the columns of a terminal, for the format `text`.

    CSV has one header for all sheets. Raises UsageError for a column or a row that no sheet has.
    """
    found = chosen(sheets, options)
    if options.best:
        found = [with_best(sheet) for sheet in found]
    if format_ == "csv":
        return _csv(found, with_best_fields=options.best)
    if format_ == "latex":
        return "\n".join(latex(sheet, options.width_pt) for sheet in found)
    documents = [document_of(sheet, format_, width) for sheet in found]
    if format_ == "text":
        return "\n".join(text(document, min(width or PROSE_WIDTH, PROSE_WIDTH)) for document in documents)
    return "\n".join(map(markdown if format_ == "md" else html_section, documents))


def _csv(sheets: Sequence[Sheet], *, with_best_fields: bool) -> str:
    """Returns a line for each line of the sheets: what it is of, then its columns with their intervals, unrounded."""
    names = dict.fromkeys(key for sheet in sheets for key in sheet.keys)
    names |= dict.fromkeys(name for sheet in sheets for column in sheet.visible for name in _fields(column))
    names |= dict.fromkeys(("best", "pareto") if with_best_fields else ())
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(names), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for sheet in sheets:
        for line in sheet.lines:
            judged = {"best": " ".join(name for name in sheet.shown if name in line.best), "pareto": line.pareto}
            writer.writerow({**line.fields, **judged})
    return stream.getvalue()


def _fields(column: Column) -> tuple[str, ...]:
    return (column.name, *(column.interval or ()))
