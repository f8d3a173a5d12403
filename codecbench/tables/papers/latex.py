"""Sheets as LaTeX floats in booktabs style, which fit the width in small type without scaling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from codecbench.tables.papers.blocks import Part, parts_that_fit
from codecbench.tables.papers.sheet import Line, Sheet
from codecbench.tables.papers.tabular import Tabular
from codecbench.tables.papers.typesetting import latex_marks, latex_text, lines_of

HEIGHT_PT = 440.0
"""The height of what stands on one page: that of a page of article, whose lines are wider apart at 12 pt."""

_PACKAGES = r"% \usepackage{booktabs,siunitx}"
_WIDEST_COLUMN_PT = 270.0
_NOTE_PT, _NOTE_LINE_PT = 8.0, 9.5
_CAPTION_PT, _CAPTION_LINE_PT = 10.0, 12.0
_SPACES_PT = 30.0
_BLOCK_SPACE_PT = 6.0
_FLOATS_AT_ONCE = 10
"""LaTeX keeps 18 floats back at a time."""


def latex(sheet: Sheet, width_pt: float) -> str:
    """Returns floats for a document that loads booktabs and siunitx: `table` up to a column's width, else `table*`.

    Splits that do not fit side by side are stacked; rows that do not fit on a page go on in another float.
    """
    parts = parts_that_fit(sheet, lambda part: Tabular(part, sheet.stub, sheet.notes, width_pt).width_pt <= width_pt)
    kind = "table" if width_pt <= _WIDEST_COLUMN_PT else "table*"
    lines = [_PACKAGES, *(f"% {' '.join(detail.split())}" for detail in sheet.details)]
    for number, page in enumerate(_pages(sheet, parts, width_pt)):
        lines += [r"\clearpage"] if number and number % _FLOATS_AT_ONCE == 0 else []
        lines += _float(sheet, page, kind, continued=number > 0)
    return "\n".join(lines) + "\n"


def _pages(sheet: Sheet, parts: Sequence[Part], width_pt: float) -> Iterator[list[Tabular]]:
    """Yields the tables of each page; a part that does not fit on what is left of a page is split by rows."""
    page: list[Tabular] = []
    room = HEIGHT_PT - _foot_pt(sheet, width_pt, continued=False)
    rest = list(parts)
    while rest:
        found = Tabular(rest[0], sheet.stub, sheet.notes, width_pt)
        count = found.rows_within(room)
        if count == len(rest[0].rows):
            page.append(found)
            room -= found.height_pt + _BLOCK_SPACE_PT
            rest.pop(0)
            continue
        if not page:  # not even a part alone fits on a page
            count = max(count, 1)
            page.append(replace(found, part=replace(rest[0], rows=rest[0].rows[:count])))
            rest[0] = replace(rest[0], rows=rest[0].rows[count:])
        yield page
        page, room = [], HEIGHT_PT - _foot_pt(sheet, width_pt, continued=True)
    if page:
        yield page


def _foot_pt(sheet: Sheet, width_pt: float, continued: bool) -> float:
    """Returns the height of the caption and of the notes of one float."""
    caption = _CAPTION_LINE_PT * lines_of(f"Table 10: {sheet.title} (continued)", width_pt, _CAPTION_PT)
    foot = [
        " ".join(remark.text for remark in ([] if continued else sheet.remarks)),
        " ".join(f"xx {mark.meaning}." for mark in sheet.used_marks),
        " ".join(f"00 {note}" for note in sheet.notes),
    ]
    return _SPACES_PT + caption + sum(_NOTE_LINE_PT * lines_of(text, width_pt, _NOTE_PT) for text in foot if text)


def _float(sheet: Sheet, page: Sequence[Tabular], kind: str, *, continued: bool) -> list[str]:
    title = f"{sheet.title} (continued)" if continued else sheet.title
    lines = [
        rf"\begin{{{kind}}}",
        *([r"\addtocounter{table}{-1}"] if continued else []),
        r"\centering\sloppy",
        rf"\caption{{{latex_text(title)}}}\vspace{{4pt}}",
        r"\small\setlength{\tabcolsep}{3pt}\sisetup{detect-weight=true,retain-explicit-plus=true}",
    ]
    for number, tabular in enumerate(page):
        lines += [rf"\par\vspace{{{_BLOCK_SPACE_PT:g}pt}}"] if number else []
        lines += tabular.lines()
    foot = list(filter(None, _foot(sheet, [line for tabular in page for line in tabular.part.lines], continued)))
    if foot:
        lines += [r"\par\smallskip", r"\begin{minipage}{\linewidth}\footnotesize\raggedright"]
        lines += [rf"{text}\par" for text in foot]
        lines += [r"\end{minipage}"]
    return [*lines, rf"\end{{{kind}}}"]


def _foot(sheet: Sheet, lines: Sequence[Line], continued: bool) -> Iterator[str]:
    """Yields the remarks, unless they stand under the first float, then the marks and footnotes of some lines."""
    marks = set("".join(line.marks for line in lines if not line.status))
    notes = {note for line in lines for note in line.notes}
    yield " ".join(latex_text(remark.text, breakable=True) for remark in ([] if continued else sheet.remarks))
    yield " ".join(
        f"{latex_marks(mark.symbol)} {latex_text(mark.meaning, breakable=True)}."
        for mark in sheet.marks
        if mark.symbol in marks
    )
    yield " ".join(
        rf"\textsuperscript{{{number}}} {latex_text(note, breakable=True)}"
        for note, number in sheet.notes.items()
        if note in notes
    )
