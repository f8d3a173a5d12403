"""Bars of latency: the medians of its parts."""

from __future__ import annotations

import pytest
from support.factories import LINK, make_record
from support.figures import data_of, records

from codecbench.analysis.latency import Scenario, latency_of, local_latency
from codecbench.analysis.study import Study
from codecbench.figures import catalogue as figure
from codecbench.figures.drawing import Drawing
from codecbench.figures.latency import bar_limit
from codecbench.figures.style import PARTS


def test_bars_are_the_medians_of_the_parts(data: Study, drawings: dict[str, Drawing]) -> None:
    panels = drawings["latency-by-split-test-link"].figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == list(data.splits) == ["input", "stem", "stage1"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["local", *data.shown]
    for axes, split in zip(panels, data.splits, strict=True):
        there = [("local", local_latency(data.records, Scenario(LINK)))]
        there += [(row, latency_of(data.chosen[row, split].record, Scenario(LINK)))
                  for row in data.shown if (row, split) in data.chosen]  # fmt: skip
        expected = [1000 * found.step_median_s(*steps) for steps, _, _ in PARTS.values() for _, found in there]
        assert [patch.get_width() for patch in axes.patches] == pytest.approx(expected)
        (dots,) = (line for line in axes.lines if line.get_marker() == "o")
        assert list(dots.get_xdata()) == pytest.approx([1000 * found.median_s for _, found in there])
    texts = {text.get_text() for text in panels[1].texts}
    assert "failed" in texts
    assert any(text.endswith("†") for text in texts)


def test_a_bar_far_off_is_cut_and_keeps_its_number() -> None:
    found = [*records(("input",)), make_record(codec="endless", payload_bytes=10, change=0.0, encode_s=5.0)]
    drawing = figure.draw("latency-by-split", data_of(found))
    (axes,) = drawing.figure.axes
    assert max(patch.get_x() + patch.get_width() for patch in axes.patches) < 100
    assert any(line.get_marker() == ">" and len(line.get_xdata()) == 1 for line in axes.lines)
    assert any(text.get_text().startswith("5,5") for text in axes.texts)


def test_the_axis_of_bars_ends_at_the_longest_that_is_not_far_off() -> None:
    assert bar_limit([1, 2, 3]) == 3
    assert bar_limit([1, 2, 2, 100]) == 2
    assert bar_limit([1, 2, 2, 2.9, 4]) == 4
    assert bar_limit([0]) > 0
