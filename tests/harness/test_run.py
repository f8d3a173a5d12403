"""A run: what a bad codec costs, its fits, and its results folder.

The runs here share their processes, since starting them is what takes time.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.paths import LEARNING, MISBEHAVING, TINY
from support.runs import KeptProcesses, RecordingReporter, files_of, record_of, run

from codecbench.errors import DataError, UsageError
from codecbench.experiment.config import RunConfig
from codecbench.fitting import states
from codecbench.fitting.fits import Fits
from codecbench.harness.run import Run
from codecbench.results.store import Store

# --- what a bad codec costs -----------------------------------------------------------------------------------------


def test_a_bad_codec_costs_its_own_cell_only(tmp_path: Path, shared: KeptProcesses) -> None:
    bad = ("raises-when-asked", "segfaults", "hangs-in-decode")
    summary, reporter = run(tmp_path, *bad, "steady", timeout_s=10.0)
    reasons = {r.key.codec: r.reason or "" for r in Store(tmp_path).records() if r.status == "failed"}
    assert reasons.keys() == set(bad)
    assert reasons["raises-when-asked"] == (
        "asked about this tensor, the codec raised ZeroDivisionError: division by zero"
    )
    assert reasons["segfaults"] == "the encoder process was killed by SIGSEGV"
    assert reasons["hangs-in-decode"] == (
        "no answer from the decoder process within the cell's limit of 10 s (--timeout-s)"
    )
    assert [r.status for r in Store(tmp_path).records() if r.key.codec == "steady"] == ["ok", "ok"]
    assert summary.failed == len(reasons)
    assert sorted(summary.failures) == sorted(f"stem {codec}: {reason}" for codec, reason in reasons.items())
    assert not [r.samples for r in Store(tmp_path).records() if r.status == "failed" and r.samples]

    again, reporter = run(tmp_path, "segfaults", timeout_s=10.0)
    assert (again.failed, again.present, reporter.cells) == (0, 1, 0)
    assert again.failures == [f"stem segfaults: {reasons['segfaults']} (in an earlier run; --fresh tries again)"]


def test_records_know_the_full_model_with_two_looks_at_an_image(tmp_path: Path, shared: KeptProcesses) -> None:
    run(tmp_path, "steady:bits=32")
    (record,) = Store(tmp_path).records()
    assert record.two_looks is not None
    assert record.task is not None
    assert record.two_looks.value is not None
    assert record.task.uncompressed is not None
    assert record.two_looks.change == pytest.approx(record.two_looks.value - record.task.uncompressed)


def test_a_run_says_how_many_samples_it_scores_and_has_scored(tmp_path: Path, shared: KeptProcesses) -> None:
    _, reporter = run(tmp_path, "steady")
    measured = [record for record in Store(tmp_path).records() if record.task and record.choice]
    assert reporter.samples == reporter.expected > 0
    assert reporter.samples == sum(r.task.n + r.choice.n for r in measured if r.task and r.choice)
    _, again = run(tmp_path, "steady")
    assert (again.expected, again.samples) == (0, 0)


# --- fitting --------------------------------------------------------------------------------------------------------


def test_a_fit_runs_once_in_its_own_process_and_its_state_is_kept(
    tmp_path: Path, shared: KeptProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    summary, _ = run(tmp_path / "out", "learns", "fails-to-learn")
    assert (summary.ok, summary.failed) == (1, 1)
    assert record_of(tmp_path / "out", "fails-to-learn").reason == "fit: FloatingPointError: the loss is nan"
    record = record_of(tmp_path / "out", "learns")
    assert record.time is not None
    assert record.time.fit_s is not None
    assert record.size is not None

    (kept,) = states.cache_folder().iterdir()
    state = states.read(kept.parent, kept.stem)
    assert state is not None
    about = {**record.key.model_dump(), "sample_set": state.about["sample_set"], "starts_from": None}
    assert about == state.about
    told = json.loads(state.device)
    assert record.size.device_state_bytes == len(state.device)
    assert record.size.edge_state_bytes == 0
    assert (told["count"], told["train"], told["held_out_count"], told["held_out"]) == (32, 32, 8, 8)
    assert told["overlap"] == 0
    assert not told["same_order"]
    assert told["gradient"]
    assert told["time_left"]
    assert len(told["targets"]) == 8
    assert set(told["targets"]) <= {0, 1, 2, 3}

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(Fits, "_fit", refuse)
    summary, _ = run(tmp_path / "out", "learns", fresh=True)
    assert summary.ok == 1
    again = record_of(tmp_path / "out", "learns").time
    assert again is not None
    assert again.fit_s == record.time.fit_s


def test_a_fit_that_refuses_the_model_skips_its_own_cell_only(tmp_path: Path, shared: KeptProcesses) -> None:
    summary, reporter = run(tmp_path, "choosy", preset="full", plugin=[LEARNING])
    assert (summary.ok, summary.skipped, summary.failed, summary.failures) == (1, 1, 0, [])
    assert reporter.finished[0] == ("skipped", "stem choosy width=2: needs a wider model")
    found = {record.key.point["width"]: record for record in Store(tmp_path).records()}
    assert (found[1].status, found[2].status, found[2].reason) == ("ok", "skipped", "needs a wider model")


def test_fits_without_a_run_go_where_they_are_wanted(tmp_path: Path, shared: KeptProcesses) -> None:
    config = RunConfig(
        workload="tiny", codec=["learns", "fails-to-learn", "steady"], split=["stem"], samples="all",
        plugin=[TINY, MISBEHAVING],
    )  # fmt: skip
    reporter = RecordingReporter()
    with Run(config, reporter) as job:
        summary = job.fit(tmp_path)
    assert (summary.fitted, summary.present) == (1, 0)
    assert summary.failures == ["stem fails-to-learn: fit: FloatingPointError: the loss is nan"]
    assert [status for status, _ in reporter.finished] == ["ok", "failed"]
    (kept,) = (tmp_path / "learns").iterdir()
    state = states.read(kept.parent, kept.stem)
    assert state is not None
    assert state.about["codec"] == "learns"
    with Run(config.model_copy(update={"codec": ["learns"]}), RecordingReporter()) as job:
        again = job.fit(tmp_path)
    assert (again.fitted, again.present) == (0, 1)


# --- the results folder ---------------------------------------------------------------------------------------------


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any process that is started fails the test."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("codecbench.workers.connection.WorkerProcess", refuse)
    monkeypatch.setattr("codecbench.workers.forks.WorkerProcess", refuse)


def test_a_folder_in_use_is_refused_before_any_work(tmp_path: Path, no_processes: None) -> None:
    with Store(tmp_path).locked(), pytest.raises(UsageError, match="another run is writing to"):
        run(tmp_path, "steady")


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, no_processes: None) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to .*; choose another --out"):
        run(tmp_path / "file" / "out", "steady")


def test_a_full_disk_keeps_earlier_records_and_the_run_goes_on_later(
    tmp_path: Path, shared: KeptProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = iter(range(100))

    def fsync(descriptor: int) -> None:
        if next(written) == 3:  # after the samples of both cells, and the record of the first
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("codecbench.system.files.os.fsync", fsync)
        with pytest.raises(DataError, match="the disk is full; earlier records are kept, so run the same"):
            run(tmp_path, "steady")
    assert len(files_of(tmp_path, ".parquet")) == 2
    assert not list(tmp_path.rglob("*.tmp"))
    (kept,) = files_of(tmp_path, ".json").items()
    summary, _ = run(tmp_path, "steady")
    assert (summary.ok, summary.present) == (1, 1)
    assert kept in files_of(tmp_path, ".json").items()
