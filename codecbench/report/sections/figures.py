"""The report's figures: each drawn in the page, with its caption, a text in its place, and its numbers."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace

from codecbench.analysis import study as figure_data
from codecbench.errors import CodecbenchError
from codecbench.figures import catalogue as figure
from codecbench.figures.drawing import Drawing
from codecbench.report import page as report_page
from codecbench.report.page import Styles
from codecbench.report.subject import Subject

ENLARGED = 1.45
"""Figures are drawn for print; a screen is looked at from farther away."""
_PX_PER_PT = 4 / 3

_GLOBAL_STYLE = re.compile(r"<style[^>]*>.*?</style>", re.DOTALL)
_TAG = re.compile(r"<[a-zA-Z][^<>]*>")
_STYLE = re.compile(r' style="([^"]*)"')
_SIZE = re.compile(r'(<svg[^>]*?) width="([\d.]+)pt"([^>]*?)>', re.DOTALL)
_HEIGHT = re.compile(r' height="[\d.]+pt"')
_REFERENCE = re.compile(r'( id="| (?:xlink:)?href="#|url\(#)([^")]+)')
_LABELLED = re.compile(r' aria-labelledby="([^"]*)"')


def figures(subject: Subject, styles: Styles) -> str:
    """The section, or nothing where no cell was measured. Styles of the drawings go to the page's one style sheet."""
    if not subject.measured:
        return ""
    return report_page.section(subject.level, subject.place("figures"), "Figures", *_parts(subject, styles))


def _parts(subject: Subject, styles: Styles) -> Iterator[str]:
    data = figure_data.of(subject.records, subject.scenarios, subject.budget)
    yield report_page.paragraph(
        "Counterparts of the paper's figures, and more of their kind, drawn from these records. They show a readable "
        "set of rows; the tables have all. With the page's script, the arrow keys go through the values of a figure "
        "that has the focus.",
        "lead",
    )
    for kind in figure.KINDS.values():
        for part in [data.over(scenario) for scenario in data.scenarios] if kind.per_link else [data]:
            try:
                yield _drawn(subject, figure.draw(kind.name, part), styles)
            except CodecbenchError as error:
                yield report_page.paragraph(f"{report_page.text(kind.title)}: not drawn. {report_page.text(error)}.")


def _drawn(subject: Subject, drawing: Drawing, styles: Styles) -> str:
    place = subject.place("figure", drawing.name)
    table = replace(drawing.numbers, title=f"{drawing.title}: {drawing.numbers.title}")
    numbers = report_page.folded("The numbers of this figure", report_page.document(subject.ids, table))
    label = report_page.text(drawing.title)
    return (
        f'<figure id="{place}">\n<div class="card" role="group" tabindex="0" aria-label="{label}">\n'
        f"{inline(drawing.svg(), place, styles)}</div>\n"
        f"<figcaption><strong>{label}.</strong> {report_page.text(drawing.caption)}</figcaption>\n{numbers}\n</figure>"
    )


def inline(svg: str, place: str, styles: Styles) -> str:
    """An `<svg>` element for this place of the page: its ids begin with it, and it has no styles of its own."""
    # Tags only: what stands between them are texts of records, which may look like anything.
    changed = _TAG.sub(lambda tag: _placed(tag[0], place, styles), _GLOBAL_STYLE.sub("", svg))
    return _SIZE.sub(_enlarged, changed, count=1)


def _placed(tag: str, place: str, styles: Styles) -> str:
    tag = _REFERENCE.sub(lambda found: f"{found[1]}{place}~{found[2]}", tag)
    tag = _STYLE.sub(lambda found: f' class="{styles.of(html.unescape(found[1]))}"', tag)
    return _LABELLED.sub(
        lambda found: f' aria-labelledby="{" ".join(f"{place}~{name}" for name in found[1].split())}"', tag
    )


def _enlarged(found: re.Match[str]) -> str:
    """The opening tag with a width in pixels; the height follows from the view box."""
    rest = _HEIGHT.sub("", found[1] + found[3])
    return f'{rest} width="{float(found[2]) * _PX_PER_PT * ENLARGED:.0f}">'
