"""The status of a run: what another shell reads of it while it runs, and after it has ended or was killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.factories import cell_of
from support.runs import RecordingReporter

from codecbench.errors import UsageError
from codecbench.experiment import run_status
from codecbench.experiment.run_status import StatusFile, status_of
from codecbench.results.store import Store


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[StatusFile, RecordingReporter]:
    monkeypatch.setattr(run_status, "EVERY_S", 0.0)
    inner = RecordingReporter()
    return StatusFile(inner, tmp_path), inner


def test_everything_reaches_the_reporter_behind(told: tuple[StatusFile, RecordingReporter]) -> None:
    outer, inner = told
    outer.plan(3)
    outer.expect(100)
    outer.scored(40)
    outer.finish("ok", "input raw")
    outer.log("a line")
    assert (inner.cells, inner.expected, inner.samples) == (3, 100, 40)
    assert (inner.finished, inner.logged) == ([("ok", "input raw")], ["a line"])


def test_a_running_run_says_how_far_it_is(told: tuple[StatusFile, RecordingReporter], tmp_path: Path) -> None:
    outer, _ = told
    with Store(tmp_path).locked():
        outer.plan(4)
        outer.expect(400)
        for status in ("ok", "skipped", "failed"):
            outer.finish(status, "a cell")
        outer.scored(100)
        outer.update("input webp quality=5")
        lines = status_of(tmp_path).splitlines()
    assert lines[0].startswith("running since 2")
    assert lines[1] == "3 of 4 cells: 1 measured, 1 skipped, 1 failed"
    assert lines[2].startswith("100 of 400 samples scored, ")
    assert lines[-1] == "now: input webp quality=5"


def test_a_running_run_says_what_time_is_left(tmp_path: Path, told: tuple[StatusFile, RecordingReporter]) -> None:
    outer, inner = told
    seconds = [0.0]
    outer.time.elapsed_s = lambda: seconds[0]
    cell = cell_of("deepcod", tags=("learned",))
    with Store(tmp_path).locked():
        outer.plan(2)
        outer.expect_fits([cell], 900)
        outer.fitting(cell, 0.0, "")
        seconds[0] = 300
        outer.update("stem deepcod")
        assert status_of(tmp_path).splitlines()[-2:] == ["about 10 min left", "now: stem deepcod"]
        outer.fitting(cell, 0.25, "loss 0.3")
        assert status_of(tmp_path).splitlines()[-1] == "now: stem deepcod: fitting, 25%, loss 0.3"
        outer.fitted()
        outer.update("stem deepcod")
        assert not any("left" in line for line in status_of(tmp_path).splitlines())
    assert (inner.expected_fits, inner.fits[-1], inner.fits_ended) == (
        ["stem deepcod"], ("stem deepcod", 0.25, "loss 0.3"), 1,
    )  # fmt: skip


def test_a_run_that_was_killed_is_told_from_one_that_has_finished(
    told: tuple[StatusFile, RecordingReporter], tmp_path: Path
) -> None:
    outer, _ = told
    outer.plan(2)
    outer.finish("ok", "a cell")
    assert "has stopped; the same command goes on from there" in status_of(tmp_path)
    outer.finish("ok", "another")
    assert status_of(tmp_path).splitlines()[0].endswith("has finished")


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"process": 1}'])
def test_a_folder_without_a_status_is_one_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / run_status.FILE).write_text(content)
    with pytest.raises(UsageError, match=r"no run has left its status in .*; 'codecbench run --out"):
        status_of(tmp_path)


def test_a_folder_that_cannot_be_written_to_costs_only_the_status(tmp_path: Path) -> None:
    outer = StatusFile(RecordingReporter(), tmp_path / "nowhere")
    outer.plan(1)
    assert not (tmp_path / "nowhere").exists()


def test_the_file_is_not_written_with_every_sample(tmp_path: Path) -> None:
    outer = StatusFile(RecordingReporter(), tmp_path)
    outer.plan(1)
    for _ in range(100):
        outer.scored(1)
    assert json.loads((tmp_path / run_status.FILE).read_text())["samples"] == 0
    outer.finish("ok", "a cell")
    assert json.loads((tmp_path / run_status.FILE).read_text())["samples"] == 100
