"""Runs that go on: what is measured again, and that a kill loses nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.codec_files import method, plugin_with
from support.paths import MISBEHAVING, TINY
from support.prepared import PreparedServer
from support.runs import (
    KeptProcesses,
    RecordingReporter,
    configured,
    content_of,
    files_of,
    interrupt_timing,
    is_start_of,
    lasting,
    record_of,
    run,
)

from codecbench.errors import WorkerDied
from codecbench.harness.accuracy import AccuracyPass
from codecbench.harness.run import Run
from codecbench.harness.timing import TimingPass
from codecbench.registry import resolve
from codecbench.results.record import SCHEMA, NewerSchemaError
from codecbench.results.store import Store
from codecbench.system.stopping import stopped_by_signals

# --- what is measured again -----------------------------------------------------------------------------------------


def test_repeating_a_run_does_nothing(measured: Path, shared: KeptProcesses) -> None:
    before = files_of(measured, "")
    summary, reporter = run(measured, "raw:values=float32", "steady", "skips-input", split=[])
    assert (summary.ok, summary.skipped, summary.failed, summary.present) == (0, 0, 0, 12)
    assert (reporter.cells, reporter.finished, reporter.logged) == (0, [], [])
    assert {k: v for k, v in files_of(measured, "").items() if not k.endswith(".lock")} == {
        k: v for k, v in before.items() if not k.endswith(".lock")
    }


def test_a_changed_source_is_measured_again_and_a_changed_version_is_another_cell(
    tmp_path: Path, shared: KeptProcesses
) -> None:
    out, asked = tmp_path / "out", "mine:bits=16"
    run(out, asked, plugin=(plugin_with(tmp_path),))
    first = record_of(out, "mine")

    edited = plugin_with(tmp_path, ("bits: int\n", "bits: int\n    edited = True\n"))
    summary, reporter = run(out, asked, plugin=(edited,))
    assert (summary.ok, summary.present, summary.stale) == (1, 0, 1)
    assert reporter.logged == ["stem mine bits=16: the codec's source has changed; measuring it again"]
    again = record_of(out, "mine")
    assert again.cell == first.cell
    assert again.provenance.source_hash != first.provenance.source_hash

    raised = plugin_with(tmp_path, ("bits: int\n", "bits: int\n    version = 2\n"))
    summary, reporter = run(out, asked, plugin=(raised,))
    assert (summary.ok, summary.present, summary.stale) == (1, 0, 0)
    assert sorted(r.key.codec_version for r in Store(out).records()) == [1, 2]


def test_fresh_measures_again(tmp_path: Path, shared: KeptProcesses) -> None:
    run(tmp_path, "steady:bits=16")
    before = files_of(tmp_path, ".json") | files_of(tmp_path, ".parquet")
    summary, _ = run(tmp_path, "steady:bits=16", fresh=True)
    after = files_of(tmp_path, ".json") | files_of(tmp_path, ".parquet")
    assert (summary.ok, summary.present) == (1, 0)
    assert before.keys() == after.keys()
    assert not before.items() & after.items()


@pytest.mark.parametrize("why", ["fresh", "stale", "too few choice samples", "damaged"])
@pytest.mark.parametrize("moment", ["scoring", "timing"])
def test_a_record_stays_until_the_new_one_is_finished(
    tmp_path: Path, shared: KeptProcesses, monkeypatch: pytest.MonkeyPatch, why: str, moment: str
) -> None:
    out, options = tmp_path / "out", {"plugin": (plugin_with(tmp_path),), "fresh": why == "fresh"}
    if why == "too few choice samples":
        monkeypatch.setattr("codecbench.experiment.config.QUICK_CHOICE_SAMPLES", 10)
        options["preset"] = "full"
    run(out, "mine:bits=16", plugin=(plugin_with(tmp_path),))
    if why == "stale":
        options["plugin"] = (plugin_with(tmp_path, ("bits: int\n", "bits: int\n    edited = True\n")),)
    if why == "damaged":
        (path,) = out.glob("*/*/*.json")
        path.write_bytes(path.read_bytes()[:-9])
    before = {path: path.read_bytes() for path in out.glob("*/*/*") if path.is_file()}
    with monkeypatch.context() as patch:
        if moment == "scoring":
            patch.setattr(AccuracyPass, "measure", interrupt)
        else:
            patch.setattr(TimingPass, "measure", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(out, "mine:bits=16", **options)
    assert {path: path.read_bytes() for path in before} == before
    summary, _ = run(out, "mine:bits=16", **options)
    assert (summary.ok, summary.present) == (1, 0)
    assert {path for path in out.glob("*/*/*") if path.is_file()} == set(before)
    record = record_of(out, "mine")
    assert len(Store(out).samples(record)["sample_id"]) == 64 + 24
    assert all(path.read_bytes() != content for path, content in before.items() if path.suffix == ".json")


def interrupt(*_arguments: Any) -> None:
    raise KeyboardInterrupt


def test_a_codec_whose_process_is_ended_by_a_signal_has_not_failed(
    tmp_path: Path, shared: KeptProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interruption is lost in an error of what is torn down, as when a process ends in the middle of an answer."""

    def torn_down(*_arguments: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise WorkerDied("the codec process was killed by SIGKILL")

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with monkeypatch.context() as patch:
            patch.setattr(AccuracyPass, "measure", torn_down)
            with pytest.raises(KeyboardInterrupt), stopped_by_signals():
                run(tmp_path, "steady:bits=16")
    finally:
        with stopped_by_signals():
            pass  # forgets the signal
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert not list(tmp_path.glob("*/*/*.json"))
    summary, _ = run(tmp_path, "steady:bits=16")
    assert (summary.ok, summary.failed) == (1, 0)


def test_what_an_interrupted_fresh_run_left_is_removed_where_the_record_is_wanted(
    tmp_path: Path, shared: KeptProcesses
) -> None:
    run(tmp_path, "steady:bits=16")
    before = files_of(tmp_path, ".json") | files_of(tmp_path, ".parquet")
    interrupt_timing(tmp_path, "steady:bits=16", fresh=True)
    assert len(list(tmp_path.glob("*/*/*.parquet.new"))) == 1
    summary, _ = run(tmp_path, "steady:bits=16")
    assert (summary.ok, summary.present) == (0, 1)
    assert not list(tmp_path.glob("*/*/*.parquet.new"))
    assert files_of(tmp_path, ".json") | files_of(tmp_path, ".parquet") == before


def test_an_accuracy_pass_whose_timing_is_missing_is_not_done_again(
    tmp_path: Path, shared: KeptProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_timing(tmp_path / "out", "steady:bits=16")
    assert (len(files_of(tmp_path, ".parquet")), len(files_of(tmp_path, ".json"))) == (1, 0)
    run(tmp_path / "whole", "steady:bits=16")

    def refuse(*arguments: Any) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr(AccuracyPass, "measure", refuse)
    summary, _ = run(tmp_path / "out", "steady:bits=16")
    assert (summary.ok, summary.failures) == (1, [])
    assert content_of(tmp_path / "out") == content_of(tmp_path / "whole")


def test_samples_that_a_shorter_timing_pass_did_not_see_are_scored_again(tmp_path: Path, shared: KeptProcesses) -> None:
    """The full preset compares more samples with a new instance than the quick one, which was interrupted."""
    interrupt_timing(tmp_path / "out", "steady:bits=16")
    run(tmp_path / "out", "steady:bits=16", preset="full")
    run(tmp_path / "whole", "steady:bits=16", preset="full")
    assert content_of(tmp_path / "out") == content_of(tmp_path / "whole")


@pytest.mark.parametrize("ended", ["before its record", "after its record"])
def test_more_choice_samples_than_a_cell_has_are_measured_and_fewer_are_not(
    tmp_path: Path, shared: KeptProcesses, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    def choice_samples() -> int:
        choice = record_of(tmp_path, "steady").choice
        assert choice is not None
        return choice.n

    monkeypatch.setattr("codecbench.experiment.config.QUICK_CHOICE_SAMPLES", 10)
    run(tmp_path, "steady:bits=16")
    assert choice_samples() == 10
    if ended == "before its record":
        next(tmp_path.glob("*/*/*.json")).unlink()
    summary, reporter = run(tmp_path, "steady:bits=16", preset="full")
    assert (summary.ok, choice_samples()) == (1, 24)
    if ended == "after its record":
        assert reporter.logged == ["stem steady bits=16: has 10 choice samples, not 24; measuring it again"]
    summary, _ = run(tmp_path, "steady:bits=16")
    assert (summary.present, choice_samples()) == (1, 24)


@pytest.mark.parametrize("damage", ["samples", "record"])
def test_a_damaged_result_is_said_and_measured_again(tmp_path: Path, shared: KeptProcesses, damage: str) -> None:
    run(tmp_path, "steady:bits=16")
    whole = content_of(tmp_path)
    (path,) = tmp_path.glob("*/*/*.parquet" if damage == "samples" else "*/*/*.json")
    path.write_bytes(path.read_bytes()[:-9])
    summary, reporter = run(tmp_path, "steady:bits=16")
    assert summary.ok == 1
    assert len(reporter.logged) == 1
    assert str(path) in reporter.logged[0]
    assert reporter.logged[0].endswith("measuring the cell again")
    assert content_of(tmp_path) == whole


def test_a_record_of_a_later_version_is_not_overwritten(tmp_path: Path, shared: KeptProcesses) -> None:
    run(tmp_path, "steady:bits=16")
    (path,) = tmp_path.glob("*/*/*.json")
    path.write_text(path.read_text().replace(f'"schema": {SCHEMA}', '"schema": 99'))
    newer = path.read_text()
    with pytest.raises(NewerSchemaError, match="upgrade codecbench"):
        run(tmp_path, "steady:bits=16")
    assert path.read_text() == newer


def test_a_skipped_cell_whose_reason_has_gone_is_measured(tmp_path: Path, shared: KeptProcesses) -> None:
    missing = plugin_with(tmp_path, method("unavailable(cls): return 'needs a package'"))
    summary, _ = run(tmp_path / "out", "mine:bits=16", plugin=(missing,))
    assert summary.skipped == 1
    path = next((tmp_path / "out").glob("*/*/*.json"))
    assert json.loads(path.read_text())["reason"] == "needs a package"
    # The same source, now that the package is there.
    with Run(configured(tmp_path / "out", "mine:bits=16", plugin=(missing,)), RecordingReporter()) as job:
        resolve(job.grid.codecs[0][0].reference).unavailable = classmethod(lambda cls: None)
        assert job.execute().ok == 1


# --- kill -9 --------------------------------------------------------------------------------------------------------

COMMAND = ["run", "--workload", "tiny", "--samples", "all", "--split", "input", "--split", "stem"]
COMMAND += ["--codec", "steady", "--codec", "skips-input", "--codec", "raises-when-asked"]


def start(out: Path, *options: str, **kept_open: Any) -> subprocess.Popen[bytes]:
    words, others = command_of(out, *options)
    return subprocess.Popen([sys.executable, "-m", "codecbench.cli.main", *words], **others | kept_open)


def command_of(out: Path, *options: str) -> tuple[list[str], dict[str, Any]]:
    """The words of the command, and how its program is started."""
    temporary = temporary_of(out)
    temporary.mkdir(exist_ok=True)
    words = [*COMMAND, "--out", str(out), *options, "--plugin", str(TINY), "--plugin", str(MISBEHAVING)]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return words, {"env": {**os.environ, "TMPDIR": str(temporary)}, **streams}


def temporary_of(out: Path) -> Path:
    """The temporary folder of the runs that write to `out`."""
    return out.with_name(out.name + "-tmp")


Finish = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="module")
def finish(prepared_server: PreparedServer) -> Finish:
    """Runs the command to its end; its results. One cell fails, so the status is 1."""

    def finish(out: Path) -> dict[str, Any]:
        words, options = command_of(out)
        assert prepared_server.run(*words, **options).returncode == 1
        return content_of(out)

    return finish


@pytest.fixture(scope="module")
def undisturbed(finish: Finish, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    """The results of a run that nobody kills, and its seconds."""
    began = time.monotonic()
    content = finish(tmp_path_factory.mktemp("undisturbed") / "out")
    assert len([name for name in content if name.endswith(".json")]) == 8
    return content, time.monotonic() - began


def exists(out: Path, ending: str) -> bool:
    return any(True for _ in out.rglob(f"*{ending}"))


@pytest.mark.parametrize(
    "moment", [pytest.param(".lock", marks=pytest.mark.slow), ".parquet", pytest.param(".json", marks=pytest.mark.slow)]
)
def test_a_killed_run_goes_on_where_it_was(
    tmp_path: Path, finish: Finish, undisturbed: tuple[dict[str, Any], float], moment: str
) -> None:
    out = tmp_path / "out"
    process = start(out)
    deadline = time.monotonic() + 300
    while not exists(out, moment):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert finish(out) == undisturbed[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_a_signal_leaves_nothing_in_the_temporary_folder(
    tmp_path: Path, undisturbed: tuple[dict[str, Any], float], number: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = start(out, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while not exists(out, ".parquet"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    assert list(temporary_of(out).iterdir())
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith(b"codecbench: stopped; finished cells are kept")
    assert not list(temporary_of(out).iterdir())
    assert_is_part_of(undisturbed[0], out)


@pytest.mark.slow
def test_a_run_ended_at_random_moments_loses_nothing(
    tmp_path: Path, finish: Finish, undisturbed: tuple[dict[str, Any], float]
) -> None:
    """A third of the signals hits one run again and again, a third a new one each, a third runs with --fresh.

    `KILLS` sets their number.
    """
    content, seconds = undisturbed
    rng = random.Random(20)
    measured = tmp_path / "measured"
    assert finish(measured) == content
    for number in range(int(os.environ.get("KILLS", "20"))):
        kind = ("new", "again", "measured")[number % 3]
        out = tmp_path / (f"new-{number}" if kind == "new" else kind)
        left = set(temporary_of(out).glob("*"))  # by a killed run; one that is stopped at once has not removed it yet
        process = start(out, *(["--fresh"] if kind == "measured" else []))
        time.sleep(rng.uniform(0.0, seconds))
        signal_sent = rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
        process.send_signal(signal_sent)
        status = process.wait()
        if signal_sent != signal.SIGKILL and status == 130:
            assert set(temporary_of(out).glob("*")) <= left
        assert_is_part_of(content, out)
        if kind == "new":
            assert finish(out) == content
            shutil.rmtree(out)
        if kind == "measured":
            assert_keeps_its_records(out, content)
    for out in (tmp_path / "again", measured):
        assert finish(out) == content
        assert not list(temporary_of(out).glob("*"))


def assert_is_part_of(whole: Mapping[str, Any], out: Path) -> None:
    """A killed run leaves complete records, the first samples of cells, and at most temporary files beside them."""
    for path in out.glob("*/*/*.json"):
        assert lasting(path.read_text()) == whole[str(path.relative_to(out))]
        samples = path.with_suffix(".parquet")
        assert not samples.exists() or samples.read_bytes() == whole[str(samples.relative_to(out))]
    for path in out.rglob("*.parquet"):
        assert is_start_of(path.read_bytes(), whole[str(path.relative_to(out))])


def assert_keeps_its_records(out: Path, whole: Mapping[str, Any]) -> None:
    """Every record is there, once, with its samples."""
    records = Store(out).records()
    assert len({record.cell for record in records}) == len(records)
    assert len(records) == len([name for name in whole if name.endswith(".json")])
    for record in records:
        assert record.samples is None or len(Store(out).samples(record)["sample_id"]) == record.samples.rows
