"""`codecbench.load`, `codecbench.run` and the tables, plans, figures and frames of their results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli, put
from support.paths import TINY
from support.runs import KeptProcesses

import codecbench
from codecbench import Results, UsageError
from codecbench.experiment.config import DEFAULT_WORKLOAD


@pytest.fixture
def results(tmp_path: Path) -> Results:
    for codec, size in (("alpha", 100), ("beta", 5_000)):
        put(tmp_path / "out", codec=codec, payload_bytes=size, workload=DEFAULT_WORKLOAD)
    return codecbench.load(tmp_path / "out")


def test_tables_are_those_of_the_command(results: Results, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    for kind in ("budget", "latency", "points"):
        table = results.table(kind)
        assert str(table) == cli("table", "--out", results.out, "--kind", kind).out
        for format_ in ("md", "csv", "latex", "html"):
            assert table.render(format_) == cli("table", "--out", results.out, "--kind", kind, "--format", format_).out
        assert table._repr_html_() == table.render("html")
    assert results._repr_html_() == results.table()._repr_html_()


def test_a_table_takes_the_options_for_papers(results: Results) -> None:
    table = results.table(
        columns=["payload_bytes,change", "point"], rows=["beta"], intervals=False, best=True, sort="-row"
    )
    assert table.render("csv").splitlines()[0] == "workload,split,row,status,payload_bytes,change,point,best,pareto"
    assert r"\begin{table}" in results.table(width="column").render("latex")
    with pytest.raises(UsageError, match="no format 'latx'; did you mean 'latex'"):
        table.render("latx")
    with pytest.raises(UsageError, match="no column 'payload'"):
        results.table(columns=["payload"]).render("md")


def test_a_plan_is_that_of_the_command(results: Results, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    plan = results.plan(max_device_ms=2)
    words = ("plan", "--out", str(results.out), "--max-device-ms", "2")
    assert plan.to_dict() == json.loads(cli(*words, "--json").out)
    assert str(plan) == cli(*words).out
    assert plan.best is not None
    assert plan.best.row == "alpha"
    assert plan.recommendation in plan._repr_html_()


def test_some_records(results: Results) -> None:
    some = results.where(codec="alpha", workload=[DEFAULT_WORKLOAD])
    assert (len(results), len(some)) == (2, 1)
    assert "beta" not in str(some.table())
    assert repr(some) == f"<Results: 1 record of {DEFAULT_WORKLOAD} in {results.out}>"


def test_a_frame_has_a_row_for_each_record(results: Results) -> None:
    frame = results.to_pandas()
    assert dict(frame.set_index("key_codec")["size_payload_bytes_mean"]) == {"alpha": 100, "beta": 5_000}


def test_a_figure_is_shown_and_saved(results: Results, tmp_path: Path) -> None:
    drawing = results.figure("rate-accuracy", link="lte")
    assert drawing._repr_svg_().startswith("<svg")
    drawing.save(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("call", "arguments", "error"),
    [
        ("table", {"kind": "buget"}, "no kind of table 'buget'; did you mean 'budget'?"),
        ("table", {"link": "wify-450"}, "no link 'wify-450'; did you mean 'wifi-450'?"),
        ("table", {"kind": "bd-rate"}, "no row has the four operating points that a BD-rate takes"),
        ("where", {"codec": "gamma"}, "no codec in these records: 'gamma'"),
        ("plan", {"device": "missing.json"}, "cannot read the device profile missing.json"),
        ("plan", {"budget": -1}, "a budget is an accepted loss of at least 0, not -1"),
        ("figure", {"name": "rates"}, "no figure 'rates'"),
    ],
)
def test_a_mistake_is_one_line(results: Results, call: str, arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(codecbench.CodecbenchError) as caught:
        getattr(results, call)(**arguments)
    assert str(caught.value).startswith(error)
    assert "\n" not in str(caught.value)


def test_a_folder_without_records(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^no results in .*none; run 'codecbench run --out .*none' first$"):
        codecbench.load(tmp_path / "none")


def test_a_wrong_option_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"sample"):
        codecbench.run(sampels=20, out=tmp_path / "out")
    with pytest.raises(UsageError, match=r"^--samples: "):
        codecbench.run(samples=-1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("progress", [True, False])
def test_a_run_shows_its_progress_or_is_silent(
    shared: KeptProcesses, tmp_path: Path, capsys: pytest.CaptureFixture[str], progress: bool
) -> None:
    codecbench.run(
        workload="tiny", plugin=TINY, codec="raw", split="stem", samples=8, out=tmp_path / "out", progress=progress
    )
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("[1/1] ok stem raw") == progress
    assert bool(err) == progress


def test_the_names_are_known_and_load_nothing_before_they_are_used() -> None:
    code = "import sys, codecbench; assert not [m for m in sys.modules if m.startswith('codecbench.api')]"
    subprocess.run([sys.executable, "-c", f"{code}; codecbench.load; codecbench.Results"], check=True)
    with pytest.raises(AttributeError, match="no attribute 'loads'"):
        codecbench.loads  # noqa: B018 - the access is what fails
