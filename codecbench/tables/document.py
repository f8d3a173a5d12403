"""Writes blocks of cells as text, Markdown and HTML, with headers that span groups of columns.

A block is a table whose columns are grouped under titles; `tabulate` makes its rows. Cells are plain text. Each format
escapes them, and writes marks and footnotes in its own way. This module does not depend on the meaning of the cells.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tabulate import tabulate


@dataclass(frozen=True)
class Cell:
    """Plain text, the marks after it (one character each), and the numbers of its footnotes.

    A `strong` text is bold, except in plain text.
    """

    text: str = ""
    marks: str = ""
    notes: tuple[int, ...] = ()
    strong: bool = False


@dataclass(frozen=True)
class Group:
    """Neighbouring columns under one title; `alignments` holds "left" or "right" for each heading."""

    title: str
    headings: tuple[str, ...]
    alignments: tuple[str, ...]


@dataclass(frozen=True)
class TableBlock:
    """Rows, each a label and the cells of all groups; `stub` is the heading of the labels."""

    stub: str
    groups: tuple[Group, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]

    @property
    def alignments(self) -> list[str]:
        """The alignment of every column, the column of labels first."""
        return ["left", *(alignment for group in self.groups for alignment in group.alignments)]


@dataclass(frozen=True)
class Document:
    """A title, stacked blocks, remarks, (mark, meaning) pairs of the marks used, and footnotes numbered from 1."""

    title: str
    blocks: tuple[TableBlock, ...]
    remarks: tuple[str, ...] = ()
    marks: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


_MARKDOWN_SPECIAL = re.compile(r"([\\`*_|~]|(?<=\])\()")
_MARKDOWN_STRONG, _HTML_STRONG = "**{}**", "<strong>{}</strong>"


def with_interval(value: float | None, low: float | None, high: float | None, spec: str) -> str:
    """Returns a number with its interval, `90.2 [87.4, 92.8]`, in the format `spec`.

    Without `low` or `high`, it is the number alone. None becomes a hyphen. Numbers that round to zero have no sign.
    """
    if value is None:
        return "-"
    if low is None or high is None:
        return _signed(value, spec)
    return f"{_signed(value, spec)} [{_signed(low, spec)}, {_signed(high, spec)}]"


def _signed(value: float, spec: str) -> str:
    rounded = format(value, spec)
    return rounded.lstrip("+-") if float(rounded.replace(",", "")) == 0 else rounded


def text_width(block: TableBlock) -> int:
    """Returns the number of terminal columns that the block needs as text."""
    return max(map(len, _text_lines(block)))


def text(document: Document, width: int) -> str:
    """Returns aligned columns for a terminal; title, remarks and notes are wrapped at `width`, blocks are not."""
    paragraphs = [textwrap.wrap(document.title, width)]
    paragraphs += [_text_lines(block) for block in document.blocks]
    foot = [
        *document.remarks,
        *(f"{mark} {meaning}" for mark, meaning in document.marks),
        *(f"[{number}] {note}" for number, note in enumerate(document.notes, 1)),
    ]
    paragraphs += [[line for remark in foot for line in textwrap.wrap(remark, width, subsequent_indent="  ")]]
    return "\n\n".join("\n".join(lines) for lines in paragraphs if lines) + "\n"


def _text_lines(block: TableBlock) -> list[str]:
    rows = [[label, *(_text_cell(cell) for cell in cells)] for label, cells in block.rows]
    lines = _tabulate(block, rows, [block.stub, *_headings(block)], "simple").split("\n")
    rule = lines[1]
    starts = [match.start() for match in re.finditer(r"-+", rule)]
    spans = ""
    column = 1
    for group in block.groups:
        spans = spans.ljust(starts[column]) + group.title
        column += len(group.headings)
    return [line.rstrip() for line in ((spans, *lines) if spans.strip() else lines)]


def _text_cell(cell: Cell) -> str:
    notes = "".join(f"[{number}]" for number in cell.notes)
    return " ".join(part for part in (cell.text, cell.marks + notes) if part)


def markdown(document: Document) -> str:
    """Returns GitHub tables; they have no spanning headers, so a group's title is put above its first heading."""
    parts = [f"**{_markdown_text(document.title)}**"]
    for block in document.blocks:
        headings = [_markdown_text(block.stub)]
        titled = any(group.title for group in block.groups)
        for group in block.groups:
            titles = [f"**{_markdown_text(group.title)}**" if group.title else "", *[""] * (len(group.headings) - 1)]
            headings += [
                f"{title}<br>{_markdown_text(heading)}" if titled else _markdown_text(heading)
                for title, heading in zip(titles, group.headings, strict=True)
            ]
        rows = [
            [_markdown_text(label), *(_markup_cell(cell, _markdown_text, _MARKDOWN_STRONG) for cell in cells)]
            for label, cells in block.rows
        ]
        parts.append(_tabulate(block, rows, headings, "pipe"))
    foot = [f"- {_markdown_text(remark)}" for remark in document.remarks]
    foot += [f"- {_markdown_text(mark)} {_markdown_text(meaning)}" for mark, meaning in document.marks]
    foot += [f"- <sup>{number}</sup> {_markdown_text(note)}" for number, note in enumerate(document.notes, 1)]
    return "\n\n".join([*parts, "\n".join(foot)]).rstrip() + "\n"


def _markdown_text(plain: str) -> str:
    return _MARKDOWN_SPECIAL.sub(r"\\\1", plain.replace("&", "&amp;").replace("<", "&lt;"))


def _markup_cell(cell: Cell, escape: Callable[[str], str], strong: str) -> str:
    """Returns a cell for Markdown or HTML, which both have `<sup>`; `strong` is the form of a strong text."""
    notes = ",".join(map(str, cell.notes))
    shown = strong.format(escape(cell.text)) if cell.strong else escape(cell.text)
    marked = " ".join(part for part in (shown, escape(cell.marks)) if part)
    return f"{marked}<sup>{notes}</sup>" if notes else marked


def html_section(document: Document) -> str:
    """Returns a `<section>` with a heading, one table for each block and a list of remarks, without style or script."""
    parts = ['<section class="codecbench-table">', f"<h3>{html.escape(document.title)}</h3>"]
    parts += [html_table(block, caption=html_caption(document, block)) for block in document.blocks]
    foot = html_remarks(document) + [
        f"<sup>{number}</sup> {html.escape(note)}" for number, note in enumerate(document.notes, 1)
    ]
    parts += ["<ul>", *(f"<li>{remark}</li>" for remark in foot), "</ul>"] if foot else []
    return "\n".join([*parts, "</section>"]) + "\n"


def html_caption(document: Document, block: TableBlock) -> str:
    """Returns the document's title, followed by the titles of the block's groups where there are several blocks."""
    titles = ", ".join(group.title for group in block.groups if group.title)
    return f"{document.title} ({titles})" if len(document.blocks) > 1 and titles else document.title


def html_remarks(document: Document) -> list[str]:
    """Returns the remarks and the meanings of the marks, each as escaped HTML."""
    marks = (f"{html.escape(mark)} {html.escape(meaning)}" for mark, meaning in document.marks)
    return [*map(html.escape, document.remarks), *marks]


def html_table(
    block: TableBlock,
    *,
    caption: str,
    label: Callable[[str], str] = html.escape,
    right: str = 'style="text-align: right"',
    caption_id: str = "",
    with_names: bool = False,
) -> str:
    """Returns a `<table>` whose headers have a scope: groups of columns, columns, and row labels.

    `label` returns the HTML of a row's label, which may be a link; all other text is escaped. `right` is the attribute
    of cells that are aligned to the right. `caption_id` is the id of the caption. With `with_names`, the attribute
    `data-label` of every cell is the name of its column, for style sheets that show rows without their header.
    """
    attributes = [f" {right}" if alignment == "right" else "" for alignment in block.alignments]
    of_cells = attributes[1:]
    if with_names:
        named_cells = zip(of_cells, _column_names(block), strict=True)
        of_cells = [f'{attribute} data-label="{html.escape(name)}"' for attribute, name in named_cells]
    named = f' id="{html.escape(caption_id)}"' if caption_id else ""
    lines = ["<table>", f"<caption{named}><span>{html.escape(caption)}</span></caption>", "<thead>"]
    if any(group.title for group in block.groups):
        spans = (
            f'<th colspan="{len(group.headings)}" scope="colgroup">{html.escape(group.title)}</th>'
            for group in block.groups
        )
        lines.append(f"<tr><td></td>{''.join(spans)}</tr>")
    headings = zip(attributes, (block.stub, *_headings(block)), strict=True)
    cells = (f'<th scope="col"{attribute}>{html.escape(heading)}</th>' for attribute, heading in headings)
    lines += [f"<tr>{''.join(cells)}</tr>", "</thead>", "<tbody>"]
    for name, row in block.rows:
        cells = (
            f"<td{attribute}>{_markup_cell(cell, html.escape, _HTML_STRONG)}</td>"
            for attribute, cell in zip(of_cells, row, strict=True)
        )
        lines.append(f'<tr><th scope="row">{label(name)}</th>{"".join(cells)}</tr>')
    return "\n".join([*lines, "</tbody>", "</table>"])


def _headings(block: TableBlock) -> list[str]:
    return [heading for group in block.groups for heading in group.headings]


def _column_names(block: TableBlock) -> list[str]:
    """Returns the heading of every column but that of labels, after the title of its group."""
    return [": ".join(filter(None, (group.title, heading))) for group in block.groups for heading in group.headings]


def _tabulate(block: TableBlock, rows: Sequence[Sequence[str]], headings: Sequence[str], tablefmt: str) -> str:
    """Returns rows and rules by tabulate, without parsing numbers: texts such as "1e3" and " 7" stay unchanged."""
    return tabulate(
        rows,
        headers=headings,
        tablefmt=tablefmt,
        colalign=block.alignments if rows else None,
        disable_numparse=True,
    )
