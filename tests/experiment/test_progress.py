"""Progress as a person sees it: lines with times where output is piped, a bar of two lines on a terminal."""

from __future__ import annotations

import io
import sys
import threading

import pytest
from rich.console import Console
from support.factories import cell_of

from codecbench.experiment import progress
from codecbench.experiment.progress import Bar, Lines, Silence, reporter

DEEPCOD = cell_of("deepcod", tags=("learned",))


@pytest.fixture
def lines() -> Lines:
    found = Lines()
    found.time.elapsed_s = lambda: 65.0
    return found


@pytest.fixture
def bar() -> Bar:
    found = Bar(Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None))
    found.time.elapsed_s = lambda: 65.0
    return found


def shown(bar: Bar) -> list[str]:
    """The lines of the bar as it is now."""
    console = Console(file=io.StringIO(), width=bar.console.width, color_system=None)
    console.print(bar)
    return console.file.getvalue().splitlines()


def test_every_line_has_its_time(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    lines.plan(2)
    lines.stage("stem: 2 cells")
    lines.finish("ok", "stem raw")
    lines.expect_fits([DEEPCOD], 900)
    lines.finish("failed", "stem zstd: too large")
    lines.log("a remark")
    assert capsys.readouterr().err.splitlines() == [
        "0:01:05 stem: 2 cells", "0:01:05 [1/2] ok stem raw",
        "0:01:05 [2/2] failed stem zstd: too large (about 15 min left)", "0:01:05 a remark",
    ]  # fmt: skip


def test_a_step_that_takes_long_has_a_line_now_and_then(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    lines.beat()
    assert capsys.readouterr().err == ""
    lines.expect_fits([DEEPCOD], 900)
    lines.fitting(DEEPCOD, 0.25, "loss 0.31")
    lines.beat()
    assert capsys.readouterr().err == ("0:01:05 stem deepcod: fitting, 25%, loss 0.31 (about 15 min left)\n")
    lines.beat()
    assert "fitting, 25%" in capsys.readouterr().err
    lines.fitted()
    lines.update("stem zstd")
    lines.finish("ok", "stem deepcod")
    lines.beat()
    assert capsys.readouterr().err.count("\n") == 1, "a line was printed since the last beat"
    lines.beat()
    assert capsys.readouterr().err == "0:01:05 stem zstd\n"


def test_piped_output_beats_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.001)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    beaten = threading.Semaphore(0)
    monkeypatch.setattr(Lines, "beat", lambda _self: beaten.release())
    with reporter():
        assert all(beaten.acquire(timeout=60) for _ in range(3))
    assert not any(thread.name == "progress" for thread in threading.enumerate())


def test_the_bar_has_a_line_of_the_run_and_one_of_its_step(bar: Bar) -> None:
    assert shown(bar)[0].endswith(" 0:01:05")
    assert shown(bar)[1] == "starting"
    bar.plan(50)
    bar.expect(1000)
    bar.scored(500)
    bar.finish("ok", "input raw")
    bar.update("stem zstd")
    run, step = shown(bar)
    assert run == f"{'━' * 10}{' ' * 10} 1/50, 0:01:05"
    assert step == "stem zstd"


def test_a_fit_has_a_bar_of_its_own(bar: Bar) -> None:
    bar.plan(4)
    bar.expect_fits([DEEPCOD], 7200)
    bar.fitting(DEEPCOD, 0.5, "loss 0.31, bytes 812")
    run, step = shown(bar)
    assert run == f"{'━' * 2}╸{' ' * 17} 0/4, 0:01:05, about 2 h 0 min left"
    assert step == f"{'━' * 10}{' ' * 10} stem deepcod: fitting, 50%, loss 0.31, bytes 812"


def test_long_texts_are_cut_at_the_edge(bar: Bar) -> None:
    bar.fitting(DEEPCOD, 0.5, "a text of many figures " * 9)
    bar.plan(4)
    assert [len(line) <= 80 for line in shown(bar)] == [True, True]
    assert shown(bar)[1].endswith("…")
    bar.fitted()
    bar.update("a name that is long " * 9)
    assert shown(bar)[1].endswith("…")


def test_what_did_not_go_well_stays_above_the_bar(bar: Bar) -> None:
    bar.plan(3)
    for status in ("ok", "skipped", "failed"):
        bar.finish(status, "a [b] cell")
    assert bar.console.file.getvalue() == "skipped a [b] cell\nfailed a [b] cell\n"


def test_a_run_can_be_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with reporter(progress=False) as report:
        assert isinstance(report, Silence)
        report.plan(1)
        report.stage("a stage")
        report.fitting(DEEPCOD, 0.1, "")
        report.fitted()
        report.finish("failed", "a cell")
        report.log("a remark")
    assert capsys.readouterr() == ("", "")
