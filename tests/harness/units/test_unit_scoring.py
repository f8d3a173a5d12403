"""Cells that are scored in units have the records of cells that are scored in one process."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support import crews
from support.runs import RAW_BYTES, KeptProcesses, configured, content_of, execute, run

from codecbench.executors.executor import UnitOutcome
from codecbench.executors.processes import ProcessExecutor
from codecbench.experiment.run_status import FILE
from codecbench.harness.accuracy import AccuracyPass
from codecbench.harness.chunks import GB, SHARES
from codecbench.harness.units import execution
from codecbench.results.store import LAYERS
from codecbench.workers.protocol import MODEL_BATCH

CODECS = ("raw:values=float32", "steady:bits=16", "bounded", "segfaults")
SMALL = {"split": ["input", "stem"], "scratch_gb": MODEL_BATCH * SHARES * RAW_BYTES["input"] / GB}
"""Options that make three batches of the samples, and as many units, at `input`."""


@pytest.fixture(scope="module")
def local(kept: KeptProcesses, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of the default executor."""
    out = tmp_path_factory.mktemp("local")
    with pytest.MonkeyPatch.context() as patch:
        kept.share(patch)
        summary, _ = run(out, *CODECS, **SMALL)
    assert (summary.ok, summary.failed) == (6, 2)
    return content_of(out)


class SharedCrews:
    """An executor that runs are given instead of one of their own, with what the test does to outcomes on their way."""

    name = "shared crews"
    jobs = 2

    def __init__(self, change: Any = None) -> None:
        self.numbers: list[int] = []
        self.cells: list[list[str]] = []
        self.change = change or (lambda outcome: outcome)
        self.inner: ProcessExecutor

    def opened(self, config: Any, set_up: bytes) -> SharedCrews:
        self.inner = ProcessExecutor(set_up, self.jobs)
        return self

    @property
    def slots(self) -> int:
        return self.inner.slots

    @property
    def capacity(self) -> int:
        return self.inner.capacity

    def submit(self, request: Any) -> None:
        self.numbers.append(request.number)
        self.cells.append([cell["key"]["codec"] for cell in request.fields["cells"]])
        self.inner.submit(request)

    def wait(self) -> list[UnitOutcome]:
        return [self.change(outcome) for outcome in self.inner.wait()]

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def crews_of(shared: KeptProcesses, prepared_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give runs an executor; no accuracy pass runs in the main process."""
    crews.share(prepared_server, monkeypatch)

    def use(executor: SharedCrews) -> SharedCrews:
        monkeypatch.setattr(execution, "open_executor", executor.opened)
        monkeypatch.setattr(AccuracyPass, "open", not_here)
        return executor

    return use


def not_here(*_arguments: Any) -> None:
    raise AssertionError("a cell was scored in the main process")


def test_units_give_the_records_of_one_process_though_crews_are_killed(
    tmp_path: Path, crews_of: Any, local: dict[str, Any]
) -> None:
    killed: list[int] = []

    def kill(outcome: UnitOutcome) -> UnitOutcome:
        """Kill a crew when the first units are through; it is at work on another one."""
        if len(killed) < 2 and executor.inner.pids:
            killed.append(executor.inner.pids[len(killed) % 2])
            os.kill(killed[-1], signal.SIGKILL)
        return outcome

    executor = crews_of(SharedCrews(kill))
    summary, reporter = run(tmp_path, *CODECS, **SMALL, executor="processes")
    assert len(killed) == 2
    assert (summary.ok, summary.failed) == (6, 2)
    assert content_of(tmp_path) == local
    assert reporter.samples == 6 * (64 + 24)
    # Six units of all cells at most; what a lost crew was at work on ran again.
    assert executor.numbers == list(range(len(executor.numbers)))


def test_a_cell_that_ends_three_crews_has_failed_and_the_others_are_measured(
    tmp_path: Path, crews_of: Any, local: dict[str, Any]
) -> None:
    def lose(outcome: UnitOutcome) -> UnitOutcome:
        return UnitOutcome(outcome.number, lost="its crew was killed") if steady(outcome.number) else outcome

    def steady(number: int) -> bool:
        return "steady" in executor.cells[number]

    executor = crews_of(SharedCrews(lose))
    summary, _ = run(tmp_path, *CODECS[:3], executor="processes", split=["stem"])
    assert (summary.ok, summary.failed) == (2, 1)
    assert summary.failures == ["stem steady bits=16: 3 crews were lost at work on it: its crew was killed"]
    # The first unit has all cells, then each is alone; none runs again that came back.
    assert sum(cells == ["steady"] for cells in executor.cells) <= 4
    found = {name: each for name, each in content_of(tmp_path).items() if "steady" not in name}
    assert found == {name: each for name, each in local.items() if name in found}


def test_scores_of_other_samples_do_not_count(tmp_path: Path, crews_of: Any, local: dict[str, Any]) -> None:
    changed: list[int] = []

    def cut(outcome: UnitOutcome) -> UnitOutcome:
        if not changed and outcome.reply is not None:
            changed.append(outcome.number)
            outcome.reply.blobs[0] = outcome.reply.blobs[0][:-32]
        return outcome

    crews_of(SharedCrews(cut))
    summary, _ = run(tmp_path, CODECS[0], **SMALL, executor="processes")
    assert (summary.ok, len(changed)) == (2, 1)
    found = content_of(tmp_path)
    assert found == {name: each for name, each in local.items() if name in found}


def test_a_run_that_ended_goes_on_and_submits_nothing_that_is_there(
    tmp_path: Path, crews_of: Any, local: dict[str, Any]
) -> None:
    def stop(outcome: UnitOutcome) -> UnitOutcome:
        if outcome.number == 2:
            raise KeyboardInterrupt
        return outcome

    crews_of(SharedCrews(stop))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, *CODECS, **SMALL, executor="processes")
    executor = crews_of(SharedCrews())
    run(tmp_path, *CODECS, **SMALL, executor="processes", measure="accuracy")
    assert 0 < len(executor.numbers) < 6
    executor = crews_of(SharedCrews())
    summary, _ = run(tmp_path, *CODECS, **SMALL, executor="processes")
    assert executor.numbers == []
    assert (summary.ok, summary.present) == (6, 2)
    assert content_of(tmp_path) == local


def test_accuracy_and_timing_apart_give_the_same_records(
    tmp_path: Path, shared: KeptProcesses, local: dict[str, Any]
) -> None:
    summary, reporter = run(tmp_path, *CODECS, **SMALL, measure="timing")
    assert (summary.ok, summary.unscored) == (0, 8)
    assert "stem bounded: not scored yet; --measure accuracy does that" in reporter.logged
    summary, _ = run(tmp_path, *CODECS, **SMALL, measure="accuracy")
    assert (summary.ok, summary.scored, summary.failed) == (0, 6, 2)
    assert not [
        path for path in tmp_path.rglob("*.json") if path.name not in (LAYERS, FILE) and "segfaults" not in path.name
    ]
    summary, _ = execute(configured(tmp_path, *CODECS, **SMALL, measure="timing"))
    assert (summary.ok, summary.present) == (6, 2)
    assert content_of(tmp_path) == local
