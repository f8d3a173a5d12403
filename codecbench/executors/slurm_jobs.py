"""`--executor slurm`: jobs, submitted by submitit, that take units from a folder that all machines see."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from codecbench.errors import UsageError, one_line
from codecbench.executors.executor import UnitOutcome, UnitRequest, outcome_of
from codecbench.executors.processes import AHEAD, STARTS
from codecbench.executors.shared_folder import POLL_S, UnitFolder, serve
from codecbench.measure import Stopwatch
from codecbench.system.files import reason_of
from codecbench.workers.closing import Closing

MINUTES = 60
"""The time limit of a job."""
SPARE_MINUTES = 10
"""The time before its limit from which a job takes no more units: one that it is at work on is not to be lost."""
CHECK_S = 2.0
"""The time between two looks at the states of jobs."""
END_S = 10.0
"""The time in which jobs may end by themselves before they are cancelled."""
CLUSTERS = ("slurm", "local")


class SlurmExecutor(Closing):
    """Runs units in `jobs` jobs. `parameters` are those of sbatch, such as `partition`, as submitit takes them.

    Two are not of sbatch: `cluster` (`slurm`, or `local` to try it out on this machine) and `minutes`, the time limit.
    A job that has ended is replaced while there are units. Raises UsageError without submitit or SLURM, and for a
    folder that cannot be written to.
    """

    name = "SLURM jobs"

    def __init__(self, set_up: bytes, shared_dir: Path, jobs: int, parameters: Mapping[str, str]) -> None:
        self._jobs_at_once = jobs
        rest = dict(parameters)
        cluster, self._minutes = rest.pop("cluster", "slurm"), _minutes(rest.pop("minutes", str(MINUTES)))
        if cluster not in CLUSTERS:
            raise UsageError(f"--slurm cluster={cluster}: it is one of {', '.join(CLUSTERS)}")
        path = shared_dir.resolve() / f"codecbench-units-{secrets.token_hex(4)}"
        try:
            self._folder = UnitFolder(path, set_up)
        except OSError as error:
            raise UsageError(f"--shared-dir {shared_dir}: cannot write there ({reason_of(error)})") from error
        self._names = 0
        self._failed_starts = 0
        self._running: dict[str, Any] = {}
        self._waiting: set[int] = set()
        self._checked = Stopwatch()
        self._closed = False
        try:
            self._submitit = _executor(path / "jobs", cluster, self._minutes, rest)
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        """The number of jobs."""
        return self._jobs_at_once

    @property
    def capacity(self) -> int:
        """The number of units that should be submitted at once."""
        return AHEAD * self.slots

    def submit(self, request: UnitRequest) -> None:
        """Put a unit into the folder; submit a job if there are not enough."""
        self._waiting.add(request.number)
        self._folder.put(request.number, request.to_frame())
        self._start_jobs()

    def wait(self) -> list[UnitOutcome]:
        """Wait until a unit has a reply or its job has ended, and return the outcomes that are there."""
        while True:
            found = [outcome_of(number, frame) for number, frame in self._folder.replies() if number in self._waiting]
            if not found and self._checked.elapsed_s() >= CHECK_S:
                self._checked = Stopwatch()
                found = self._lost_units()
                self._start_jobs()
            if found:
                self._waiting -= {outcome.number for outcome in found}
                return found
            Event().wait(POLL_S)

    def close(self) -> None:
        """Tell the jobs to end, cancel those that have not, and remove the folder."""
        if self._closed:
            return
        self._closed = True
        self._folder.close()
        waiting = Stopwatch()
        for name, job in self._running.items():
            with suppress(Exception):  # what cannot be cancelled ends at its own next look at the folder
                while self._folder.has_served(name) and waiting.elapsed_s() < END_S and not job.done():
                    Event().wait(POLL_S)
                if not job.done():
                    job.cancel(check=False)
        shutil.rmtree(self._folder.path, ignore_errors=True)

    def _start_jobs(self) -> None:
        while len(self._running) < min(self._jobs_at_once, len(self._waiting)):
            name = f"job{self._names}"
            self._names += 1
            limit_s = 60.0 * max(1, self._minutes - SPARE_MINUTES)
            try:
                self._running[name] = self._submitit.submit(serve, str(self._folder.path), name, limit_s)
            except Exception as error:
                raise UsageError(f"sbatch refuses the job: {one_line(error)}; see --slurm KEY=VALUE") from error

    def _lost_units(self) -> list[UnitOutcome]:
        """Return the units whose jobs have ended. Raises UsageError if jobs end before they find the folder."""
        found: list[UnitOutcome] = []
        for name, job in list(self._running.items()):
            if not job.done():
                continue
            del self._running[name]
            if self._folder.has_served(name):
                self._failed_starts = 0
            else:
                self._failed_starts += 1
                if self._failed_starts == STARTS:
                    raise UsageError(
                        f"{STARTS} jobs ended before they took a unit ({_last_line(job)}); --shared-dir has to be a "
                        "folder that all machines see, and codecbench installed on them"
                    )
            reason = f"its job {job.job_id} ended ({_last_line(job)})"
            taken = [number for number in self._folder.taken_by(name) if number in self._waiting]
            found += [UnitOutcome(number, lost=reason) for number in taken]
        return found


def script(parameters: Mapping[str, str], jobs: int) -> str:
    """Return the head of the batch script of each job, for people. Raises UsageError without submitit."""
    rest = dict(parameters)
    minutes = _minutes(rest.pop("minutes", str(MINUTES)))
    rest.pop("cluster", None)
    lines = [f"#SBATCH --time={minutes}", *(f"#SBATCH --{key.replace('_', '-')}={rest[key]}" for key in rest)]
    return "\n".join([f"{jobs} jobs of this kind, which take units from the folder of --shared-dir:", *lines])


def parsed_parameters(words: Sequence[str]) -> dict[str, str]:
    """Return the parameters in words such as `partition=long`. Raises UsageError for others."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--slurm {word}: write KEY=VALUE, such as partition=long or minutes=120")
        found[key] = value
    return found


def _executor(folder: Path, cluster: str, minutes: int, parameters: Mapping[str, str]) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UsageError("--executor slurm needs submitit: pip install 'codecbench[slurm]'") from error
    try:
        found = submitit.AutoExecutor(folder=folder, cluster=cluster)
        found.update_parameters(
            timeout_min=minutes, name="codecbench", **{f"slurm_{key}": value for key, value in parameters.items()}
        )
    except (RuntimeError, ValueError, TypeError, NameError, AssertionError) as error:
        raise UsageError(f"--executor slurm: {one_line(error)}; is this a machine of the cluster?") from error
    return found


def _minutes(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--slurm minutes={text}: the time limit of a job is a number of minutes")
    return int(text)


def _last_line(job: Any) -> str:
    """Return the last line that a job has printed, or its state."""
    with suppress(Exception):
        lines = [line for line in (job.stderr() or "").splitlines() if line.strip()]
        if lines:
            return " ".join(lines[-1].split())[:200]
    return str(job.state)
