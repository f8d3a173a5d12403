"""Text, Markdown, LaTeX, HTML and CSV of documents."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

FORMATS = ("text", "md", "csv", "latex", "html")


PROSE_WIDTH = 100


def csv_text(fields: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A header and the rows, as CSV."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _listed(values: Iterable[Any]) -> str:
    return " or ".join(map(str, values))


def batches(splits: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The splits, so many at a time."""
    return (splits[start : start + size] for start in range(0, len(splits), size))


def short(number: float | None) -> str:
    """One decimal from 1 to 100, none above, two digits below 1: 159, 60.5, 3.1, 0.97, 0.012."""
    if number is None:
        return "-"
    if number == 0:
        return "0"
    if number >= 99.95:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 0.995 else f"{float(f'{number:.2g}'):g}"


def _with_percent(text: str, percent: float | None) -> str:
    return text if percent is None else f"{text} ({short(percent)})"
