"""Rate, metric and the device's time are those of the records."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from support.factories import make_record
from support.figures import data_of, lines_of

from codecbench.analysis.study import Study
from codecbench.figures import catalogue as figure
from codecbench.figures.drawing import Drawing
from codecbench.figures.style import row_styles


def test_rate_and_metric_are_those_of_the_records(drawings: dict[str, Drawing], data: Study) -> None:
    axes = drawings["rate-accuracy"].figure.axes[0]
    look = row_styles(data.shown, data.raw_rows)["zlib"]
    line = next(line for line in axes.lines if line.get_color() == look.colour and line.get_marker() == "None")
    assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == [
        (100, 82), (200, 88), (400, 90.1), (800, 90.8), (1_600, 91)
    ]  # fmt: skip
    assert {line.get_ydata()[0] for line in axes.lines if line.get_linestyle() in ("--", ":")} == {91.0, 90.0}
    spans = [tuple(path.vertices[:, 1]) for collection in axes.collections for path in collection.get_paths()]
    assert (88.1, 92.1) in [pytest.approx(span) for span in spans]


def test_every_kind_of_line_is_in_the_legend_and_single_points_are_named(data: Study) -> None:
    drawing = figure.draw("rate-accuracy", data)
    (legend,) = [axes.get_legend() for axes in drawing.figure.axes if axes.get_legend()] or drawing.figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [*data.shown, "uncompressed model", "budget", "95 % interval"]
    assert "One point only: klt; 'codecbench" in drawing.caption
    several = [make_record(point={"q": q}, payload_bytes=float(q)) for q in (1, 9)]
    assert "One point only" not in figure.draw("rate-accuracy", data_of(several)).caption
    single = figure.draw("rate-accuracy", data_of([make_record(codec="alone"), make_record(codec="raw")]))
    assert "One point only: alone; 'codecbench run --preset full' measures the curve." in single.caption


def test_names_stand_beside_curves_once_and_cover_nothing(data: Study) -> None:
    drawing = figure.draw("rate-accuracy", data)
    names = [text for axes in drawing.figure.axes for text in axes.texts]
    assert names
    assert len({text.get_text() for text in names}) == len(names)
    renderer = FigureCanvasAgg(drawing.figure).get_renderer()
    for text in names:
        box, axes = text.get_window_extent(renderer), text.axes
        assert axes is not None
        assert axes.bbox.padded(1).containsx(box.x0)
        for line in axes.lines:
            if line.get_marker() not in ("None", ""):
                points = axes.transData.transform(np.column_stack([line.get_xdata(), line.get_ydata()]))
                assert not any(box.contains(x, y) for x, y in points)


def test_points_of_other_systems_are_hollow_and_at_their_own_change() -> None:
    found = [make_record(point={"q": q}, payload_bytes=float(q), change=-5.0 / q, raw_bytes=602_112) for q in (1, 9)]
    drawing = figure.draw("rate-accuracy", data_of(found))
    (theirs,) = [line for line in drawing.figure.axes[0].lines if line.get_markerfacecolor() == "none"]
    assert pytest.approx(91.0 + 74.58 - 76.13) in list(theirs.get_ydata())
    assert 4497.1 in list(theirs.get_xdata())
    assert "published by others, not measured here (edge-cloud-rac" in drawing.caption
    other = figure.draw("rate-accuracy", data_of([make_record(payload_bytes=9.0)]))
    assert "published by others" not in other.caption


def test_the_devices_time_is_that_of_the_records(drawings: dict[str, Drawing], data: Study) -> None:
    panels = drawings["device-cost"].figure.axes
    look = row_styles(data.shown, data.raw_rows)["klt"]
    line = lines_of(panels[0])[f"{look.colour} {look.marker}"]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([120], pytest.approx([4.4]))
    heads = [axes.get_title(loc="right") for axes in panels[:3]]
    assert heads == ["head 0 ms", "head 1.1 ms", "head 2.2 ms"]


def test_a_payload_of_no_bytes_has_a_place_on_the_axis() -> None:
    found = [make_record(point={"q": q}, payload_bytes=float(q), change=-1.0) for q in (0, 7, 900)]
    for name in ("rate-accuracy", "device-cost"):
        axes = figure.draw(name, data_of(found)).figure.axes[0]
        assert axes.get_xscale() == "symlog"
        places = axes.transData.transform([(x, 1) for x in (0, 7, 900)])[:, 0]
        assert np.isfinite(places).all()
        assert axes.bbox.x0 <= places[0] < places[1] < places[2] <= axes.bbox.x1
    above = [record for record in found if record.key.point["q"]]
    assert figure.draw("rate-accuracy", data_of(above)).figure.axes[0].get_xscale() == "log"
