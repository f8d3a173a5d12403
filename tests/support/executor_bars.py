"""Bars of executors on this machine, which has to be idle: `PYTHONPATH=tests python -m support.executor_bars BAR`.

- `speed-up`: crews on two cores against one crew on one core; at least 1.8 times as fast.
- `dask`: two Dask workers of its own against two crews; within 10 %.
- `overhead`: the time of a unit that does nothing; under 50 ms.
- `simulated`: 64 crews that sleep 2 s and give columns of real size; an efficiency of at least 0.9.
- `default`: paired runs of the default executor here and in another checkout (its path is the next word); within 5 %.
"""

from __future__ import annotations

import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from codecbench.executors import crew
from codecbench.executors.executor import UnitOutcome, UnitRequest
from codecbench.executors.processes import ProcessExecutor
from codecbench.experiment.config import RunConfig
from codecbench.harness import chunks
from codecbench.harness.run import Run
from codecbench.harness.units import execution
from codecbench.harness.units.unit import CellScores, ScoringUnit, scores_reply
from codecbench.results.outcomes import Columns, of_full_model
from codecbench.results.store import Store
from codecbench.workers.protocol import Reply
from support import crews
from support.paths import ROOT
from support.runs import RecordingReporter, isolation_here

CELLS = [word for codec in ("raw", "interpolation", "lossless", "zstd") for word in ("--codec", codec)]
SLEEP_S, CREWS = 2.0, 64


def seconds(*words: str, cores: str, checkout: Path = ROOT) -> float:
    """The time of a run in an empty folder, on these cores."""
    path = os.pathsep.join(str(checkout / part) for part in (".", "plugins", "datasets"))
    with tempfile.TemporaryDirectory() as out:
        command = ["taskset", "-c", cores, sys.executable, "-m", "codecbench", "run", *CELLS, "--out", out, *words]
        start = time.perf_counter()
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path}, cwd=out, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def speed_up() -> None:
    words = ("--samples", "4000", "--measure", "accuracy", "--executor", "processes")
    one = seconds(*words, "--jobs", "1", cores="0")
    two = seconds(*words, "--jobs", "2", cores="0,1")
    print(f"one crew on one core {one:.1f} s, two on two {two:.1f} s: {one / two:.2f} times as fast")


def dask() -> None:
    words = ("--samples", "4000", "--measure", "accuracy", "--jobs", "2", "--executor")
    processes, workers = (seconds(*words, name, cores="0,1") for name in ("processes", "dask"))
    print(f"processes {processes:.1f} s, dask {workers:.1f} s: {workers / processes - 1:+.1%}")


def default(checkout: Path) -> None:
    ratios = []
    for _ in range(5):
        here, there = (seconds("--samples", "1000", cores="0,1", checkout=root) for root in (ROOT, checkout))
        ratios.append(here / there)
        print(f"here {here:.1f} s, there {there:.1f} s")
    print(f"median {statistics.median(ratios) - 1:+.1%}")


def overhead() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "crew_without_model.py").write_text(crews.WITHOUT_MODEL)
        sys.path.append(folder)
        crew.PROGRAM = "crew_without_model"
        with closing(ProcessExecutor(crews.set_up(), 1)) as executor:
            executor.submit(UnitRequest(0, {}, []))
            executor.wait()
            start = time.perf_counter()
            for number in range(200):
                executor.submit(UnitRequest(number, {}, [bytes(1 << 20)]))
                executor.wait()
        print(f"{(time.perf_counter() - start) / 200 * 1000:.1f} ms a unit with 1 MiB of states")


class Sleeping:
    """Crews that sleep, and give scores of the form of real ones."""

    name, slots, capacity = "sleeping crews", CREWS, 2 * CREWS

    def __init__(self) -> None:
        self.units = 0
        self.started_s = self.ended_s = 0.0
        self._requests: queue.SimpleQueue[UnitRequest] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[UnitOutcome] = queue.SimpleQueue()
        for _ in range(CREWS):
            threading.Thread(target=self._serve, daemon=True).start()

    def submit(self, request: UnitRequest) -> None:
        self.started_s = self.started_s or time.perf_counter()
        self.units += 1
        self._requests.put(request)

    def wait(self) -> list[UnitOutcome]:
        found = [self._outcomes.get()]
        self.ended_s = time.perf_counter()
        return found

    def close(self) -> None:
        pass

    def _serve(self) -> None:
        while True:
            request = self._requests.get()
            unit, _, full_model = ScoringUnit.received(Reply(request.fields, list(request.blobs)))
            time.sleep(SLEEP_S)
            fields, blobs = scores_reply([made_up(cell.key.cell, unit, full_model) for cell in unit.cells])
            self._outcomes.put(UnitOutcome(request.number, Reply(fields, blobs)))


def made_up(cell: str, unit: ScoringUnit, full_model: Any) -> CellScores:
    rows, tested = len(unit.rows), len(unit.positions("test"))
    known: Columns = {
        name: np.concatenate([full_model[subset][name] for subset in ("test", "choice")])
        for name in full_model["test"]
    }  # fmt: skip
    columns: Columns = {
        "subset": np.array(["test"] * tested + ["choice"] * (rows - tested)), "sample_id": np.empty(rows),
        "payload_bytes": np.full(rows, 100), **known, **of_full_model(known),
    }  # fmt: skip
    digests = (bytes(32),) * rows
    return CellScores(cell, None, (), columns, 1, isolation_here().to_json(), digests, digests[:tested])


def simulated() -> None:
    chunks.BATCH = 32  # several units for each crew
    with tempfile.TemporaryDirectory() as out:
        config = RunConfig(
            samples="all", measure="accuracy", executor="processes", out=Path(out), codec=["raw", "interpolation"]
        )
        with Store(config.out).locked(), Run(config, RecordingReporter()) as job:
            _ = job.full_model_runs
            crews_asleep = Sleeping()
            execution.open_executor = lambda *_: crews_asleep  # type: ignore[assignment]  # for this measuring alone
            summary = job.execute()
    elapsed_s = crews_asleep.ended_s - crews_asleep.started_s
    share = crews_asleep.units * SLEEP_S / CREWS / elapsed_s
    print(f"{summary.scored} cells, {crews_asleep.units} units in {elapsed_s:.1f} s: efficiency {share:.2f}")


if __name__ == "__main__":
    bars = {"speed-up": speed_up, "dask": dask, "overhead": overhead, "simulated": simulated}
    if sys.argv[1] == "default":
        default(Path(sys.argv[2]).resolve())
    else:
        bars[sys.argv[1]]()
