"""Figures of the network: sweeps over bandwidth and background, and the crossing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.factories import LINK
from support.figures import NoBandwidth, data_of, lines_of, records

from codecbench.analysis import planner
from codecbench.analysis.latency import Scenario, latency_of
from codecbench.analysis.planner import Limits
from codecbench.analysis.study import Study
from codecbench.figures import catalogue as figure
from codecbench.figures.drawing import Drawing
from codecbench.figures.network import fastest_by_row
from codecbench.figures.style import row_styles


@pytest.mark.parametrize(
    ("name", "values", "changed"),
    [
        ("bandwidth", [value / 1e6 for value in planner.SWEEP_BIT_PER_S], lambda link, v: link.with_bandwidth(v * 1e6)),
        ("background", [float(share) for share in range(0, 100, 5)], lambda link, v: link.with_background(v / 100)),
    ],
)
def test_sweeps_show_the_fastest_point_within_the_budget(
    data: Study, drawings: dict[str, Drawing], name: str, values: list[float], changed: Any
) -> None:
    styles = row_styles(data.shown, data.raw_rows)
    for axes, scenario in zip(drawings[f"latency-against-{name}"].figure.axes, data.scenarios, strict=True):
        lines = lines_of(axes)
        for row in ("zlib", "klt", "raw (float32)"):
            line = lines[f"{styles[row].colour} {styles[row].marker}"]
            assert list(line.get_xdata()) == values
            within = [r for r in data.measured if r.row == row and r.choice and r.choice.change >= -data.budget]
            expected = [
                min(
                    1000 * latency_of(r, replace(scenario, link=changed(scenario.link, value))).median_s for r in within
                )
                for value in (values[0], values[-1])
            ]
            assert [line.get_ydata()[0], line.get_ydata()[-1]] == pytest.approx(expected)
        assert f"{styles['interpolation'].colour} {styles['interpolation'].marker}" not in lines
    assert "No point within the budget: interpolation." in drawings[f"latency-against-{name}"].caption


def test_the_fastest_of_all_is_the_planners_choice(data: Study) -> None:
    for scenario in data.scenarios:
        lines = fastest_by_row(data, scenario, [2.0], lambda link, value: link.with_bandwidth(value * 1e6))
        fastest = min((found[0] for found in lines.values()), key=lambda found: found.latency.median_s)
        link = scenario.link.with_bandwidth(2e6)
        best = planner.plan(planner.over_link(data.candidates(scenario), link), Limits(data.budget)).best
        assert best is not None
        assert fastest.label == best.label


def test_crossing_shows_raw_and_the_smallest_within_the_budget(drawings: dict[str, Drawing], data: Study) -> None:
    sizes, *times = drawings["crossing"].figure.axes
    squares = [line.get_xdata()[0] for line in sizes.lines if line.get_marker() == "s"]
    dots = [line.get_xdata()[0] for line in sizes.lines if line.get_marker() == "o"]
    assert squares == [4_000] * 3
    assert dots == [120, 400, 120]  # klt, zlib at the stem where klt failed, klt
    assert [text.get_text() for text in sizes.texts] == [
        "klt: 33.3 times fewer", "zlib: 10.0 times fewer", "klt: 33.3 times fewer"
    ]  # fmt: skip
    for axes, scenario in zip(times, data.scenarios, strict=True):
        dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
        assert dots == pytest.approx(1000 * scenario.link.seconds([120, 400, 120]))
    assert "4,000 bytes become 120.0 with klt" in drawings["crossing"].alt


def test_a_link_without_a_bandwidth_says_so_in_its_panel() -> None:
    drawing = figure.draw(
        "latency-against-bandwidth", data_of(records(("stem",)), Scenario(NoBandwidth()), Scenario(LINK))
    )
    first, second = drawing.figure.axes
    assert "link 'post' has no bandwidth" in " ".join(first.texts[0].get_text().split())
    assert not first.lines
    assert second.lines
    assert "Over post: link 'post' has no bandwidth" in drawing.alt
