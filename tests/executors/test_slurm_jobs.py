"""Jobs that take units: with submitit's local executor, and what is wrong in one line."""

from __future__ import annotations

import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import crews
from support.crews import set_up
from support.runs import KeptProcesses, configured, content_of, execute

from codecbench.errors import UsageError
from codecbench.executors import slurm_jobs
from codecbench.executors.choice import check_executor
from codecbench.executors.executor import UnitOutcome, UnitRequest
from codecbench.executors.slurm_jobs import SlurmExecutor, parsed_parameters, script

LOCAL = {"cluster": "local"}


def test_jobs_on_this_machine_run_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed")
    (tmp_path / "shared").mkdir()
    crews.without_models_anywhere(tmp_path, monkeypatch)
    with closing(SlurmExecutor(set_up(), tmp_path / "shared", 1, LOCAL)) as executor:
        for number in range(3):
            executor.submit(UnitRequest(number, {"ends": number == 2}, []))
        found: list[UnitOutcome] = []
        while len(found) < 3:
            found += executor.wait()
    assert [outcome.reply is not None for outcome in found] == [True, True, False]
    assert found[2].lost == "its crew ended with status 9"
    assert not list((tmp_path / "shared").iterdir())


@pytest.mark.slow
def test_jobs_give_the_records_of_one_process(tmp_path: Path, shared: KeptProcesses) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed")
    (tmp_path / "shared").mkdir()
    options: dict[str, Any] = {
        "executor": "slurm", "jobs": 1, "shared_dir": tmp_path / "shared", "slurm": ["cluster=local"],
    }  # fmt: skip
    summary, _ = execute(configured(tmp_path / "jobs", "raw:values=float32", "steady:bits=16", **options))
    assert (summary.ok, summary.failed) == (2, 0)
    execute(configured(tmp_path / "one", "raw:values=float32", "steady:bits=16"))
    assert content_of(tmp_path / "jobs") == content_of(tmp_path / "one")
    assert not list((tmp_path / "shared").iterdir())


def test_a_folder_that_jobs_do_not_see_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that end before they find the folder are not started for ever."""

    class EndedJob:
        job_id, state = "17", "FAILED"

        def done(self) -> bool:
            return True

        def stderr(self) -> str:
            return "Traceback\nFileNotFoundError: no such folder\n"

    class Jobs:
        def submit(self, *_arguments: Any) -> EndedJob:
            return EndedJob()

    monkeypatch.setattr(slurm_jobs, "_executor", lambda *_: Jobs())
    monkeypatch.setattr(slurm_jobs, "CHECK_S", 0.01)
    with closing(SlurmExecutor(set_up(), tmp_path, 1, LOCAL)) as executor:
        executor.submit(UnitRequest(0, {}, []))
        with pytest.raises(UsageError) as caught:
            executor.wait()
    assert str(caught.value).startswith("3 jobs ended before they took a unit (FileNotFoundError: no such folder); ")
    assert not list(tmp_path.iterdir())


def test_a_unit_of_a_job_that_ended_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Job:
        job_id, state, ended = "17", "CANCELLED", False

        def done(self) -> bool:
            return self.ended

        def stderr(self) -> str:
            return ""

        def cancel(self, *, check: bool) -> None:
            pass

    class Jobs:
        def __init__(self) -> None:
            self.submitted: list[Job] = []

        def submit(self, _function: Any, folder: str, name: str, _limit_s: float) -> Job:
            """Take the unit that is there, as a job does that begins."""
            self.submitted.append(Job())
            (Path(folder) / "servers" / name).touch()
            for unit in (Path(folder) / "units").iterdir():
                shutil.move(unit, Path(folder) / "taken" / f"{unit.name}@{name}")
            return self.submitted[-1]

    jobs = Jobs()
    monkeypatch.setattr(slurm_jobs, "_executor", lambda *_: jobs)
    monkeypatch.setattr(slurm_jobs, "END_S", 0.0)
    monkeypatch.setattr(slurm_jobs, "CHECK_S", 0.01)
    with closing(SlurmExecutor(set_up(), tmp_path, 2, LOCAL)) as executor:
        executor.submit(UnitRequest(3, {}, []))
        jobs.submitted[0].ended = True
        (outcome,) = executor.wait()
    assert (outcome.number, outcome.lost) == (3, "its job 17 ended (CANCELLED)")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"jobs": 2}, "--jobs 2 needs --executor processes, dask or slurm"),
        ({"dask": "tcp://a:1"}, "--dask tcp://a:1 needs --executor dask"),
        ({"shared_dir": Path("x")}, "--shared-dir x needs --executor slurm"),
        ({"slurm": ["partition=x"]}, "--slurm partition=x needs --executor slurm"),
        ({"executor": "slurm", "jobs": 2}, "--executor slurm needs --shared-dir"),
        ({"executor": "slurm", "shared_dir": Path("x")}, "--executor slurm needs --jobs"),
        ({"executor": "slurm", "slurm": ["long"]}, "--slurm long: write KEY=VALUE"),
        ({"executor": "processes", "measure": "timing"}, "--measure timing runs on this machine alone"),
        ({"measure": "timing", "fresh": True}, "--fresh forgets what is scored"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(tmp_path: Path, options: dict[str, Any], error: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_executor(configured(tmp_path, "raw", **options))
    assert str(caught.value).startswith(error)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"cluster": "moon"}, "--slurm cluster=moon: it is one of slurm, local"),
        ({"minutes": "soon"}, "--slurm minutes=soon: the time limit of a job is a number of minutes"),
    ],
)
def test_parameters_of_jobs_are_checked(tmp_path: Path, parameters: dict[str, str], error: str) -> None:
    with pytest.raises(UsageError) as caught:
        SlurmExecutor(set_up(), tmp_path, 1, parameters)
    assert str(caught.value) == error
    assert not list(tmp_path.iterdir())


def test_without_submitit_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r"pip install 'codecbench\[slurm\]'"):
        SlurmExecutor(set_up(), tmp_path, 1, LOCAL)
    assert not list(tmp_path.iterdir())


def test_the_script_of_jobs_has_their_parameters() -> None:
    text = script(parsed_parameters(["partition=long", "cpus_per_task=4", "minutes=90", "cluster=slurm"]), 8)
    assert text.splitlines() == [
        "8 jobs of this kind, which take units from the folder of --shared-dir:", "#SBATCH --time=90",
        "#SBATCH --partition=long", "#SBATCH --cpus-per-task=4",
    ]  # fmt: skip
