"""Rows differ by more than their colour, and labels are short."""

from __future__ import annotations

import re

import pytest

from codecbench.figures.style import GREY, INK, OKABE_ITO, PARTS, legend_mm, row_styles, short_name, tick_label


def test_colours_are_those_of_the_palette(svgs: dict[str, str]) -> None:
    greys = {"#ffffff", INK, GREY, "#d9d9d9", "#aaaaaa", "#bbbbbb", "#444444", "#666666"}
    allowed = {colour.lower() for colour in (*OKABE_ITO.values(), *greys)}
    for svg in svgs.values():
        assert set(re.findall(r"#[0-9a-f]{6}\b", svg.lower())) - allowed == set()


def test_rows_differ_by_more_than_their_colour() -> None:
    styles = row_styles([f"row{i}" for i in range(20)], [])
    assert len({(style.marker, str(style.line)) for style in styles.values()}) == 21
    assert len({style.colour for style in styles.values()}) == 21
    assert len({hatch for _, _, hatch in PARTS.values()}) == 3


def test_a_long_name_is_cut_in_labels_and_legends_use_the_width() -> None:
    assert short_name("x" * 36) == "x" * 36
    assert short_name("x" * 37) == "x" * 35 + "…"
    assert legend_mm(180, ["short"] * 6) == 4
    assert legend_mm(88, ["a label of twenty-four.."] * 6) == 12
    assert legend_mm(40, ["a label of twenty-four.."] * 6) == 24


@pytest.mark.parametrize(("value", "text"), [(0.1, "0.1"), (5, "5"), (1_000, "1k"), (20_000, "20k"), (5e6, "5M")])
def test_ticks_are_short(value: float, text: str) -> None:
    assert tick_label(value) == text
