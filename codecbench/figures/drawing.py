"""A drawn figure with its texts and numbers, which can be written to files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.errors import DataError
from codecbench.figures.sizes import PAPER
from codecbench.figures.style import style
from codecbench.figures.svg import compact_svg
from codecbench.system.files import write_file
from codecbench.tables.document import Cell, Document, Group, TableBlock

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Drawing:
    """A matplotlib figure, its alternative text, its caption, and the numbers that it shows.

    `alt` describes the contents and the main finding; `caption` holds everything else that a reader has to know. `tips`
    holds the tooltips of artists, by gid: one text, or one for each marker of a line. `dpi` is that of a PNG.
    """

    name: str
    title: str
    figure: Figure
    alt: str
    caption: str
    numbers: Document
    tips: Mapping[str, Sequence[str]] = field(default_factory=dict)
    dpi: float = PAPER.dpi

    def svg(self) -> str:
        """Returns the figure as one `<svg>` element with title, description and tooltips, ending in a newline.

        Ids begin with a hash of the figure's name, so that a page can hold several figures. Text stays text, not paths.
        The same records give the same bytes with the same matplotlib.
        """
        stream = io.BytesIO()
        with style():
            self.figure.savefig(stream, format="svg", metadata={"Date": None})
        return compact_svg(stream.getvalue(), self.name, self.title, self.alt, self.tips)

    def _repr_svg_(self) -> str:
        """Returns the figure for a notebook."""
        return self.svg()

    def save(self, path: Path) -> None:
        """Writes the figure as .svg, .pdf or .png, by the path's ending. Raises DataError where it cannot."""
        if path.suffix == ".svg":
            content = self.svg().encode()
        else:
            metadata = {".pdf": {"CreationDate": None, "Title": self.title}, ".png": {"Software": None}}
            stream = io.BytesIO()
            with style():
                # A PDF has no dots but those of images in it, of which these figures have none.
                self.figure.savefig(stream, format=path.suffix[1:], metadata=metadata.get(path.suffix), dpi=self.dpi)
            content = stream.getvalue()
        write_file(path, content, advice="choose another folder", raises=DataError)


class Tips:
    """Collects the tooltips of artists."""

    def __init__(self) -> None:
        self.texts: dict[str, Sequence[str]] = {}

    def add(self, artist: Artist, *texts: str) -> None:
        """Adds the tooltip of a patch, or one tooltip for each marker of a line."""
        gid = f"tip-{len(self.texts)}"
        artist.set_gid(gid)
        self.texts[gid] = texts


def numbers(title: str, stub: str, headings: Sequence[str], rows: Sequence[tuple[str, Sequence[Any]]]) -> Document:
    """Returns a table of the numbers that a figure shows; each row is a label and its values."""
    group = Group("", tuple(headings), ("right",) * len(headings))
    cells = tuple((label, tuple(Cell(str(value)) for value in values)) for label, values in rows)
    return Document(title, (TableBlock(stub, (group,), cells),))
