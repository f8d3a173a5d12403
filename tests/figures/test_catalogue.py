"""Figures: there is one for each kind and link, whatever the records, and mistakes are told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from support.factories import DEPTH, LINK, make_layers, make_profile, make_record, undefined
from support.figures import SLOW, NoBandwidth, data_of, records

from codecbench.analysis.latency import Scenario
from codecbench.analysis.study import Study
from codecbench.errors import DataError, UsageError
from codecbench.figures import catalogue as figure
from codecbench.figures.drawing import Drawing
from codecbench.figures.style import RC
from codecbench.results.record import Record


def test_there_is_a_figure_for_each_kind_and_link(drawings: dict[str, Drawing]) -> None:
    assert list(drawings) == [
        "case-study-test-link", "case-study-slow", "crossing", "latency-by-split-test-link", "latency-by-split-slow",
        "latency-against-bandwidth", "latency-against-background", "rate-accuracy", "device-cost",
    ]  # fmt: skip
    papers = [kind.paper for kind in figure.KINDS.values()]
    assert [paper for paper in papers if paper] == ["1a-c", "4", "6-9", "10", "11"]


PREDICTING = Scenario(
    LINK, make_profile("slow-board", layer_s=0.01, general=4.0), make_profile("big-edge", layer_s=1e-4, general=0.5),
    {"toy": make_layers()},
)  # fmt: skip


def odd_shapes() -> list[Any]:
    many = [
        make_record(split, f"codec{i}", payload_bytes=100 + i, change=-i / 9)
        for split in list(DEPTH)[:4]
        for i in range(16)
    ]
    worse = records(("stem",), higher_is_better=False, uncompressed=0.08)
    return [
        pytest.param(
            [make_record(with_timed=False, with_choice=False)], [Scenario(LINK)], {}, id="one record of schema 1"
        ),
        pytest.param(worse, [PREDICTING], {"budget": 0.01}, id="less is better, predicted"),
        pytest.param(many, [Scenario(SLOW)], {"all_rows": True, "budget": 0.0}, id="many rows"),
        pytest.param(
            records(("input",))[5:6], [Scenario(NoBandwidth())], {"budget": 0.0}, id="nothing within the budget"
        ),
    ]


@pytest.mark.parametrize(("found", "scenarios", "options"), odd_shapes())
def test_odd_shapes_are_drawn_without_a_warning(
    found: list[Record], scenarios: list[Scenario], options: dict[str, Any]
) -> None:
    drawn = list(figure.draw_all(data_of(found, *scenarios, **options)))
    for drawing in drawn:
        drawing.figure.draw_without_rendering()
        assert drawing.alt.endswith(".")
        assert drawing.caption.endswith(".")
        assert drawing.numbers.blocks[0].rows or "has no bandwidth" in drawing.alt


def test_what_is_predicted_says_so_in_the_figure() -> None:
    found = data_of(records(("stem",)), PREDICTING)
    for name in ("case-study", "latency-by-split"):
        svg = figure.svg(name, found)
        assert "device (predicted)" in svg
        assert "edge (predicted)" in svg
        assert "network (modelled)" in svg
        assert ", device slow-board and edge big-edge predicted</title>" in svg
    assert "Device times predicted (slow-board). Edge times predicted (big-edge)." in figure.svg(
        "latency-against-bandwidth", found
    )
    assert "encoding, ms (predicted, log)" in figure.svg("device-cost", found)


def test_nothing_predicted_says_nothing_of_it(svgs: dict[str, str]) -> None:
    assert not any("predicted" in svg for svg in svgs.values())
    assert "device (measured)" in svgs["latency-by-split-slow"]


def test_the_same_records_give_the_same_bytes(svgs: dict[str, str], tmp_path: Path) -> None:
    again = data_of(records())
    assert figure.svg("latency-by-split", again) == svgs["latency-by-split-test-link"]
    assert figure.svg("crossing", again) == svgs["crossing"]
    drawing = figure.draw("case-study", again)
    assert drawing.svg() == drawing.svg() == svgs["case-study-test-link"]
    for folder in ("a", "b"):
        figure.save_all(again, tmp_path / folder, ("pdf", "png"), ["crossing"])
    for name in ("crossing.pdf", "crossing.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_drawing_leaves_matplotlib_as_it_was(data: Study) -> None:
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 30.0, "axes.facecolor": "red"}):
        assert figure.draw("crossing", data).figure.axes[0].xaxis.label.get_size() == RC["font.size"]
        assert matplotlib.rcParams["font.size"] == 30
    assert dict(matplotlib.rcParams) == before


def test_an_unknown_name_or_format_suggests(data: Study, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'crossing'"):
        figure.draw("crosing", data)
    with pytest.raises(UsageError, match="did you mean 'svg'"):
        figure.save_all(data, tmp_path / "new", ["svgg"])
    with pytest.raises(UsageError, match="did you mean 'crossing'"):
        figure.save_all(data, tmp_path / "new", ["svg"], ["crosing"])
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_a_file_is_refused(data: Study, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot write to"):
        figure.save_all(data, tmp_path / "file")


def test_without_matplotlib_the_error_says_what_to_install(data: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'codecbench\[figures\]'"):
        figure.draw("crossing", data)


def test_where_no_metric_is_defined_every_figure_says_why_it_is_not_drawn() -> None:
    found = data_of([undefined(record) for record in records(("input",))])
    for name in figure.KINDS:
        with pytest.raises(DataError, match="nothing to draw of workload 'toy': top-1 is undefined: its denominators"):
            figure.draw(name, found)


def test_points_without_a_metric_are_left_out_of_every_figure() -> None:
    found = [undefined(record) if record.key.codec in ("klt", "interpolation") else record for record in records()]
    drawings = {drawing.name: drawing for drawing in figure.draw_all(data_of(found, Scenario(LINK)))}
    assert len(drawings) == len(figure.KINDS)
    assert not [name for name, drawing in drawings.items() if "nan" in drawing.svg().lower()]
    assert "Not drawn: 8 points without a metric." in drawings["rate-accuracy"].caption
    texts = [text.get_text() for text in drawings["latency-by-split-test-link"].figure.axes[0].texts]
    assert "metric undefined" in texts


@pytest.mark.parametrize(
    "found",
    [
        [make_record(payload_bytes=0.0, change=0.0, half_width=0.0)],
        [make_record(payload_bytes=0.0, raw_bytes=0.0)],
        [make_record(point={"q": q}, payload_bytes=float(q), change=-1.0) for q in (0, 7, 900)],
        [make_record(point={"q": q}, payload_bytes=5.0, change=0.0, uncompressed=0.0, half_width=0.0) for q in (1, 2)],
    ],
    ids=["no bytes", "no tensor", "from no bytes on", "equal points"],
)
def test_payloads_of_no_bytes_and_equal_points_break_no_figure(found: list[Record]) -> None:
    for drawing in figure.draw_all(data_of(found, Scenario(LINK))):
        assert "nan" not in drawing.svg().lower()
        assert "inf" not in str(drawing.numbers)
