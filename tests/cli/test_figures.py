"""Figures: what is drawn equals what latency, planner and records say; files are small, whole and steady."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import pytest
import typer
from support.factories import DEPTH, LINK, make_layers, make_profile, make_record
from typer.testing import CliRunner

from codecbench.analysis import planner, study
from codecbench.analysis.latency import Scenario, latency_of, local_latency
from codecbench.analysis.planner import Limits
from codecbench.analysis.study import Study
from codecbench.cli.figures import figure as command
from codecbench.errors import DataError, UsageError
from codecbench.figures import catalogue as figure
from codecbench.figures.drawing import Drawing
from codecbench.figures.latency import bar_limit
from codecbench.figures.network import fastest_by_row
from codecbench.figures.style import GREY, INK, OKABE_ITO, PARTS, RC, legend_mm, named, row_styles, tick_label
from codecbench.links.model import FixedRateLink, Link
from codecbench.results.cell import CellKey
from codecbench.results.record import Record
from codecbench.results.store import Store

SLOW = FixedRateLink("slow", bandwidth_bit_per_s=1e5, latency_s=0.05)
SVG = "{http://www.w3.org/2000/svg}"


def records(splits: tuple[str, ...] = ("input", "stem", "stage1"), **options: Any) -> list[Record]:
    """A raw row, a coder of five points, one that never stays within the budget, and one that fails at the stem."""
    found = []
    for split in splits:
        found.append(make_record(split, "raw", {"values": "float32"}, row="raw (float32)", payload_bytes=4_000,
                                 raw_bytes=4_000, change=0.0, encode_s=0.0001, **options))  # fmt: skip
        found += [
            make_record(
                split, "zlib", {"level": i}, payload_bytes=100 * 2**i, raw_bytes=4_000, change=change, **options
            )
            for i, change in enumerate((-9.0, -3.0, -0.9, -0.2, 0.0))
        ]  # fmt: skip
        found += [
            make_record(
                split, "interpolation", {"size": i}, payload_bytes=50 * i, raw_bytes=4_000, change=-20 / i,
                encode_s=0.0005, **options,
            )
            for i in (1, 2)
        ]  # fmt: skip
        found.append(
            make_record(split, "klt", status="failed", reason="it broke") if split == "stem"
            else make_record(split, "klt", payload_bytes=120, raw_bytes=4_000, change=-0.5, encode_s=0.004, **options)
        )  # fmt: skip
    return found


def data_of(found: list[Record], *scenarios: Scenario, budget: float = 1.0, all_rows: bool = False) -> Study:
    return study.of(found, scenarios or (Scenario(LINK), Scenario(SLOW)), budget, all_rows=all_rows)


@pytest.fixture(scope="module")
def data() -> Study:
    return data_of(records())


@pytest.fixture(scope="module")
def drawings(data: Study) -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in figure.draw_all(data)}


@pytest.fixture(scope="module")
def svgs(drawings: dict[str, Drawing]) -> dict[str, str]:
    return {name: drawing.svg() for name, drawing in drawings.items()}


def lines_of(axes: Any) -> dict[str, Any]:
    """The lines of an axes by their colour and marker."""
    return {f"{line.get_color()} {line.get_marker()}": line for line in axes.lines}


def test_there_is_a_figure_for_each_kind_and_link(drawings: dict[str, Drawing]) -> None:
    assert list(drawings) == [
        "case-study-test-link", "case-study-slow", "crossing", "latency-by-split-test-link", "latency-by-split-slow",
        "latency-against-bandwidth", "latency-against-background", "rate-accuracy", "device-cost",
    ]  # fmt: skip
    papers = [kind.paper for kind in figure.KINDS.values()]
    assert [paper for paper in papers if paper] == ["1a-c", "4", "6-9", "10", "11"]


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
        best = planner.plan(planner.over(data.candidates(scenario), link), Limits(data.budget)).best
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


def test_the_devices_time_is_that_of_the_records(drawings: dict[str, Drawing], data: Study) -> None:
    panels = drawings["device-cost"].figure.axes
    look = row_styles(data.shown, data.raw_rows)["klt"]
    line = lines_of(panels[0])[f"{look.colour} {look.marker}"]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([120], pytest.approx([4.4]))
    heads = [axes.get_title(loc="right") for axes in panels[:3]]
    assert heads == ["head 0 ms", "head 1.1 ms", "head 2.2 ms"]


def test_the_case_study_adds_the_fastest_codec_and_rings_the_front(data: Study) -> None:
    drawing = figure.draw("case-study", data.over(Scenario(SLOW)))
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


def test_rows_shown_are_raw_the_papers_and_the_best_others() -> None:
    sizes = {"raw": 4_000, "interpolation": 300, "cs-dct (best)": 900, "cs-wavelet (best)": 800, "a": 10, "b": 20}
    sizes |= {"c": 30, "d": 40}
    found = [
        make_record(codec=row.split(" ")[0], row=row, payload_bytes=size, raw_bytes=4_000)
        for row, size in sizes.items()
    ]
    assert data_of(found).shown == ("raw", "cs-wavelet (best)", "interpolation", "c", "b", "a")
    assert set(data_of(found, all_rows=True).shown) == set(sizes)


class NoBandwidth(Link):
    name = "post"
    description = "letters"

    def seconds(self, payload_bytes: Any) -> Any:
        return FixedRateLink("x", bandwidth_bit_per_s=1e6).seconds(payload_bytes)


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


def test_colours_are_those_of_the_palette(svgs: dict[str, str]) -> None:
    greys = {"#ffffff", INK, GREY, "#d9d9d9", "#aaaaaa", "#bbbbbb", "#444444", "#666666"}
    allowed = {colour.lower() for colour in (*OKABE_ITO.values(), *greys)}
    for svg in svgs.values():
        assert set(re.findall(r"#[0-9a-f]{6}\b", svg.lower())) - allowed == set()


def test_rows_differ_by_more_than_their_colour() -> None:
    styles = row_styles([f"row{i}" for i in range(20)], [])
    assert len({(style.marker, str(style.line)) for style in styles.values()}) == 21
    assert len({style.colour for style in list(styles.values())[1:7]}) == 6
    assert len({hatch for _, _, hatch in PARTS.values()}) == 3


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


def test_a_long_name_is_cut_in_labels_and_legends_use_the_width() -> None:
    assert named("x" * 36) == "x" * 36
    assert named("x" * 37) == "x" * 35 + "…"
    assert legend_mm(180, ["short"] * 6) == 4
    assert legend_mm(88, ["a label of twenty-four.."] * 6) == 12
    assert legend_mm(40, ["a label of twenty-four.."] * 6) == 24


@pytest.mark.parametrize(("value", "text"), [(0.1, "0.1"), (5, "5"), (1_000, "1k"), (20_000, "20k"), (5e6, "5M")])
def test_ticks_are_short(value: float, text: str) -> None:
    assert tick_label(value) == text


def test_a_link_without_a_bandwidth_says_so_in_its_panel() -> None:
    drawing = figure.draw(
        "latency-against-bandwidth", data_of(records(("stem",)), Scenario(NoBandwidth()), Scenario(LINK))
    )
    first, second = drawing.figure.axes
    assert "link 'post' has no bandwidth" in " ".join(first.texts[0].get_text().split())
    assert not first.lines
    assert second.lines
    assert "Over post: link 'post' has no bandwidth" in drawing.alt


@pytest.mark.parametrize(
    ("found", "scenarios", "budget", "error"),
    [
        (
            [make_record(), make_record(workload="other")],
            [Scenario(LINK)],
            1.0,
            "one workload; these records are of other, toy",
        ),
        ([make_record()], [], 1.0, "one or more links"),
        ([make_record()], [Scenario(LINK), Scenario(LINK)], 1.0, "not test-link, test-link"),
        ([make_record()], [Scenario(LINK)], -1.0, "at least 0"),
        ([make_record(status="failed")], [Scenario(LINK)], 1.0, "no measured records"),
        ([], [Scenario(LINK)], 1.0, "no measured records"),
    ],
)
def test_what_cannot_be_drawn_is_refused(found: Any, scenarios: Any, budget: float, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        study.of(found, scenarios, budget)


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


def test_listing_imports_no_matplotlib_and_no_torch() -> None:
    modules = "codecbench.cli.figures, codecbench.figures.catalogue"
    code = f"import sys, {modules}; print({{'matplotlib', 'torch'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def fill(out: Path, found: list[Record]) -> None:
    """A results folder of these records."""
    for record in found:
        Store(out).write(CellKey(**record.key.model_dump()), record)


@pytest.fixture
def run() -> Any:
    app = typer.Typer()
    app.command()(command)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_the_command_lists(run: Any) -> None:
    assert [line.split()[0] for line in run("--list").stdout.splitlines()[2:]] == list(figure.KINDS)


def test_the_command_draws_into_a_folder(run: Any, tmp_path: Path) -> None:
    fill(tmp_path / "out", records(("input",)))
    ended = run("crossing", "--out", tmp_path / "out", "--into", tmp_path / "figures", "--budget", 1, "--link", "lte")
    assert ended.exit_code == 0
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["crossing.svg"]
    assert "lte, ms (modelled)" in (tmp_path / "figures" / "crossing.svg").read_text()
    with pytest.raises(UsageError, match="workload in these records"):
        run("--out", tmp_path / "out", "--workload", "other")
