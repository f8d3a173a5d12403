"""The case study: the fastest codec, and the front."""

from __future__ import annotations

import pytest
from support.figures import SLOW

from codecbench.analysis import planner
from codecbench.analysis.latency import Scenario
from codecbench.analysis.planner import Limits
from codecbench.analysis.study import Study
from codecbench.figures import catalogue as figure


def test_the_case_study_adds_the_fastest_codec_and_rings_the_front(data: Study) -> None:
    drawing = figure.draw("case-study", data.with_scenario(Scenario(SLOW)))
    stack, metric, cloud = drawing.figure.axes
    labels = [label.get_text() for label in stack.get_yticklabels()]
    assert labels == ["local", *data.shown]
    values = [line.get_xdata()[0] for line in metric.lines if line.get_marker() == "o"]
    assert values == pytest.approx([91, 91, 90.1, 90.5])
    assert [text.get_text() for text in metric.texts] == ["81.0"]  # interpolation, beyond the axis
    front = planner.plan(data.candidates(Scenario(SLOW)), Limits(1.0)).front
    (rings,) = (line for line in cloud.lines if line.get_markerfacecolor() == "none")
    assert list(rings.get_xdata()) == pytest.approx([1000 * found.latency.median_s for found in front])
    assert f"Pareto front of {len(front)}" in drawing.alt
    assert "local takes" in drawing.alt
