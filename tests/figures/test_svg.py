"""SVG files: accessible, small, fit for a page under a strict policy, the same each time."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

from support.factories import make_record
from support.figures import data_of

from codecbench.figures import catalogue as figure
from codecbench.figures.drawing import Drawing

SVG = "{http://www.w3.org/2000/svg}"


def test_names_that_are_markup_stay_text() -> None:
    hostile = [make_record(codec="x", row='<script>alert("1")</script> & $x_1$', change=0.0)]
    svg = figure.svg("latency-by-split", data_of(hostile))
    assert "<script" not in svg
    root = ElementTree.fromstring(svg)
    assert any('<script>alert("1")</script> & $x_1$' in (element.text or "") for element in root.iter(f"{SVG}text"))


def test_svgs_are_accessible_and_small(drawings: dict[str, Drawing], svgs: dict[str, str]) -> None:
    for name, svg in svgs.items():
        root = ElementTree.fromstring(svg)
        assert len(svg.encode()) < 60_000, name
        assert (root.get("role"), root.tag) == ("img", f"{SVG}svg")
        labelled = dict.fromkeys((root.get("aria-labelledby") or "").split())
        texts = [element.text for element in root if element.get("id") in labelled]
        assert texts == [drawings[name].title, drawings[name].alt]
        tips = [element.text for element in root.iter(f"{SVG}title")]
        assert sorted(filter(None, tips[1:])) == sorted(
            text for of_one in drawings[name].tips.values() for text in of_one
        )


def test_svgs_fit_into_one_page_under_a_strict_policy(svgs: dict[str, str]) -> None:
    ids = [re.findall(r' id="([^"]+)"', svg) for svg in svgs.values()]
    every = list(itertools.chain.from_iterable(ids))
    assert len(every) == len(set(every))
    for svg, own in zip(svgs.values(), ids, strict=True):
        referred = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg)
        assert {first or second for first, second in referred} <= set(own)
        assert "<style" not in svg
        assert " style=" not in svg
        assert re.findall(r'(?:href|src)="(?!#)', svg) == []
        assert "<image" not in svg
