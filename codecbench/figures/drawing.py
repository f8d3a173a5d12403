"""A drawn figure with its texts and numbers, and how it is written to files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.errors import DataError
from codecbench.figures.style import style
from codecbench.figures.svg import finished
from codecbench.tables.document import Cell, Document, Group, TableBlock

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure of matplotlib, its alternative text, its caption, and the numbers that it shows.

    `alt` says what is shown and the main finding; `caption` what a reader has to know besides. `tips` are what hovering
    over an artist tells, by the artist's gid: one text, or one for each marker of a line.
    """

    name: str
    title: str
    figure: Figure
    alt: str
    caption: str
    numbers: Document
    tips: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def svg(self) -> str:
        """The figure as one `<svg>` element with title, description and tips, ending in a newline.

        Ids begin with a hash of the figure's name, so that several figures fit into one page. Text is text. The same
        records give the same bytes with the same matplotlib.
        """
        stream = io.BytesIO()
        with style():
            self.figure.savefig(stream, format="svg", metadata={"Date": None})
        return finished(stream.getvalue(), self.name, self.title, self.alt, self.tips)

    def save(self, path: Path) -> None:
        """Write the figure; the ending tells the format: .svg, .pdf or .png. Raises DataError where it cannot."""
        try:
            if path.suffix == ".svg":
                path.write_text(self.svg(), encoding="utf-8")
            else:
                metadata = {".pdf": {"CreationDate": None, "Title": self.title}, ".png": {"Software": None}}
                with style():
                    self.figure.savefig(path, metadata=metadata.get(path.suffix))
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror}; choose another folder") from error


class Tips:
    """Collects what hovering over artists tells."""

    def __init__(self) -> None:
        self.texts: dict[str, Sequence[str]] = {}

    def add(self, artist: Artist, *texts: str) -> None:
        """One text for a patch, or one for each marker of a line."""
        gid = f"tip-{len(self.texts)}"
        artist.set_gid(gid)
        self.texts[gid] = texts


def numbers(title: str, stub: str, headings: Sequence[str], rows: Sequence[tuple[str, Sequence[Any]]]) -> Document:
    """A table of the numbers that a figure shows: labels to the left, cells as texts."""
    group = Group("", tuple(headings), ("right",) * len(headings))
    cells = tuple((label, tuple(Cell(str(value)) for value in values)) for label, values in rows)
    return Document(title, (TableBlock(stub, (group,), cells),))
