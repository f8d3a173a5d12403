"""Writes tables as text, Markdown, CSV and HTML, and formats the numbers in them; LaTeX is that of `papers`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from codecbench.names import pick
from codecbench.results.record import Task
from codecbench.tables.document import Cell, Document, html_section, markdown, text, text_width

FORMATS = ("text", "md", "csv", "html")
PROSE_WIDTH = 100
"""The maximum width of titles and remarks in text, in columns, also on wider terminals."""

OTHERS = "other_metrics"
"""The CSV field of the metrics beside the deciding one."""

SPLITS_PER_BLOCK = 3
"""The number of split points that most tables show side by side."""

Item = TypeVar("Item")


def render(
    layouts: Iterable[Iterable[Document]],
    csv_fields: Sequence[str],
    csv_rows: Iterable[Mapping[str, Any]],
    format_: str,
    width: int | None = None,
) -> str:
    """Returns tables as one text ending in a newline; `format_` is one of FORMATS, `width` the columns of a terminal.

    `layouts` holds the possible layouts of each table, widest first. The format "text" takes the first that fits into
    `width`, or else the last; other formats take the first. CSV has one header for all tables. Raises UsageError for an
    unknown format.
    """
    name = pick({known: known for known in FORMATS}, format_, "format")
    if name == "csv":
        return _csv_text(csv_fields, csv_rows)
    if name == "text":
        prose_width = min(width or PROSE_WIDTH, PROSE_WIDTH)
        return "\n".join(text(first_that_fits(documents, width), prose_width) for documents in layouts)
    write = {"md": markdown, "html": html_section}[name]
    return "\n".join(write(next(iter(documents))) for documents in layouts)


def _csv_text(fields: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns a header and the rows as CSV."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def first_that_fits(documents: Iterable[Document], width: int | None) -> Document:
    """Returns the first whose blocks fit into `width` terminal columns, or else the last."""
    for document in documents:
        if width is None or all(text_width(block) <= width for block in document.blocks):
            break
    return document


def alternatives(values: Iterable[Any]) -> str:
    """Returns the values in words: `a or b`."""
    return " or ".join(map(str, values))


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yields the items in batches of `size`; the last may be smaller."""
    return (items[start : start + size] for start in range(0, len(items), size))


def metric_label(task: Task) -> str:
    """Returns a metric with its unit: `top-1 %`."""
    return f"{task.metric} {task.unit}".strip()


def other_cells(others: Sequence[Task], values: Mapping[str, float | None]) -> tuple[Cell, ...]:
    """Returns the cells of other metrics, from their values by name."""
    found = ((values.get(other.metric), other.decimals) for other in others)
    return tuple(Cell("-" if value is None else f"{value:.{decimals}f}") for value, decimals in found)


def others_remark(others: Sequence[Task], deciding: str) -> Iterator[str]:
    """Yields a sentence on the columns of other metrics, if there are any."""
    if others:
        names = ", ".join(other.metric for other in others)
        yield f"{names}: on the test samples, beside {deciding}, by which points are chosen."


def with_others(csv_fields: Sequence[str], others: Sequence[Task]) -> tuple[str, ...]:
    """Returns the fields of CSV, with one for the values of other metrics if there are any."""
    return (*csv_fields, OTHERS) if others else tuple(csv_fields)


def other_fields(others: Sequence[Task], values: Mapping[str, float | None]) -> dict[str, str]:
    """Returns the CSV field of other metrics, if there are any: their values by name, as JSON."""
    return {OTHERS: json.dumps({other.metric: values.get(other.metric) for other in others})} if others else {}


def short(number: float | None) -> str:
    """Returns the number with one decimal from 1 to 100, none above, and two digits below 1: 159, 60.5, 3.1, 0.012."""
    if number is None:
        return "-"
    if number == 0:
        return "0"
    if number >= 99.95:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 0.995 else f"{float(f'{number:.2g}'):g}"


def with_percent(number: str, percent: float | None) -> str:
    """Returns the number and its percentage, `159 (1.3)`, or the number alone where the percentage is None."""
    return number if percent is None else f"{number} ({short(percent)})"
