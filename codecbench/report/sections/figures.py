"""The report's figures: each as inline SVG with its caption, an alternative text and its numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from codecbench.errors import CodecbenchError
from codecbench.figures import catalogue
from codecbench.figures.drawing import Drawing
from codecbench.report import page, views
from codecbench.report.page import Section
from codecbench.report.subject import Subject

ENLARGED = 1.45
"""The scale of figures on screen; they are drawn for print, which is read from a shorter distance."""
_PX_PER_PT = 4 / 3

_TAG = re.compile(r"<[a-zA-Z][^<>]*>")
_SIZE = re.compile(r'(<svg[^>]*?) width="([\d.]+)pt"([^>]*?)>', re.DOTALL)
_HEIGHT = re.compile(r' height="[\d.]+pt"')
_REFERENCE = re.compile(r'( id="| href="#|url\(#)([^")]+)')
_LABELLED = re.compile(r' aria-labelledby="([^"]*)"')


def figures(subject: Subject) -> Section | None:
    """Returns the section, or None where no cell was measured."""
    if not subject.measured:
        return None
    values = {"figures": list(_figures(subject))}
    return Section("figures.html", subject.level, subject.place("figures"), "Figures", values)


def _figures(subject: Subject) -> Iterator[Mapping[str, object]]:
    """Yields each figure, or the reason that it was not drawn."""
    data = subject.study
    for kind in catalogue.KINDS.values():
        for part in [data.with_scenario(scenario) for scenario in data.scenarios] if kind.per_link else [data]:
            try:
                yield _drawn(subject, catalogue.draw(kind.name, part))
            except CodecbenchError as error:
                yield {"title": kind.title, "not_drawn": str(error)}


def _drawn(subject: Subject, drawing: Drawing) -> Mapping[str, object]:
    place = subject.place("figure", drawing.name)
    numbers = replace(drawing.numbers, title=f"{drawing.title}: {drawing.numbers.title}")
    return {
        "title": drawing.title,
        "not_drawn": None,
        "place": place,
        "caption": drawing.caption,
        "numbers": views.document(subject.ids, numbers),
        "svg": page.trusted(inline(drawing.svg(), place)),
    }


def inline(svg: str, place: str) -> str:
    """Returns the `<svg>` element with ids that begin with `place`, enlarged for the screen."""
    # Only tags are changed: texts between tags come from records and may look like ids.
    return _SIZE.sub(_enlarged, _TAG.sub(lambda tag: _placed(tag[0], place), svg), count=1)


def _placed(tag: str, place: str) -> str:
    tag = _REFERENCE.sub(lambda found: f"{found[1]}{place}~{found[2]}", tag)
    return _LABELLED.sub(
        lambda found: f' aria-labelledby="{" ".join(f"{place}~{name}" for name in found[1].split())}"', tag
    )


def _enlarged(found: re.Match[str]) -> str:
    """Returns the opening tag with a width in pixels; the height follows from the view box."""
    rest = _HEIGHT.sub("", found[1] + found[3])
    return f'{rest} width="{float(found[2]) * _PX_PER_PT * ENLARGED:.0f}">'
