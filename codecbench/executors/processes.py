"""`--executor processes`: crews on this machine, each on cores of its own."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence

from codecbench.errors import CodecbenchError, WorkerDied, one_line
from codecbench.executors.crew import CrewProcess
from codecbench.executors.executor import NO_UNIT, UnitOutcome, UnitRequest, outcome_of
from codecbench.measure import cores
from codecbench.workers.closing import Closing

AHEAD = 2
"""Units that are submitted for each crew: one at work and one that it finds when it is through."""
STARTS = 3
"""The times that a crew is started again when it ends before it was ready."""


class ProcessExecutor(Closing):
    """Runs units in `jobs` crews, by default one for each core. A lost crew is replaced by a new one.

    Each crew has a thread of this process, which hands it one unit after another.
    """

    name = "this machine"

    def __init__(self, set_up: bytes, jobs: int | None = None) -> None:
        self._set_up = set_up
        self._requests: queue.SimpleQueue[UnitRequest | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[UnitOutcome] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._crews: dict[int, CrewProcess] = {}
        self._threads = [
            threading.Thread(target=self._serve, args=(number, share), daemon=True)
            for number, share in enumerate(core_shares(jobs or cores()))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def slots(self) -> int:
        """The number of crews."""
        return len(self._threads)

    @property
    def capacity(self) -> int:
        """The number of units that should be submitted at once."""
        return AHEAD * self.slots

    @property
    def pids(self) -> list[int]:
        """The process ids of the crews that run."""
        return [crew.pid for crew in self._crews.copy().values()]

    def submit(self, request: UnitRequest) -> None:
        """Take a unit."""
        self._requests.put(request)

    def wait(self) -> list[UnitOutcome]:
        """Wait until a unit has an outcome, and return those that are there."""
        found = [self._outcomes.get()]
        while not self._outcomes.empty():
            found.append(self._outcomes.get())
        return found

    def close(self) -> None:
        """End all crews."""
        self._closing.set()
        for _ in self._threads:
            self._requests.put(None)
        for crew in self._crews.copy().values():
            crew.close()
        for thread in self._threads:
            thread.join()

    def _serve(self, number: int, share: Sequence[int] | None) -> None:
        """Hand units to one crew until the executor is closed."""
        crew: CrewProcess | None = None
        try:
            while not self._closing.is_set():
                if crew is None:
                    crew = self._started(number, share)
                request = self._requests.get()
                if request is None:
                    return
                try:
                    self._outcomes.put(outcome_of(request.number, crew.run(request.to_frame())))
                except WorkerDied as error:
                    self._outcomes.put(UnitOutcome(request.number, lost=str(error)))
                    crew.close()
                    crew = None
        except Exception as error:  # else the main process would wait for this crew's unit for ever
            if not self._closing.is_set():
                fault = error if isinstance(error, CodecbenchError) else WorkerDied(f"no crew runs: {one_line(error)}")
                self._outcomes.put(UnitOutcome(NO_UNIT, error=fault))
        finally:
            if crew is not None:
                crew.close()

    def _started(self, number: int, share: Sequence[int] | None) -> CrewProcess:
        """Return a new crew that is ready. Raises the error that keeps it from being so."""
        for attempt in range(STARTS):
            crew = self._crews[number] = CrewProcess(self._set_up, share)
            if self._closing.is_set():
                crew.close()
            try:
                crew.ready()
                break
            except WorkerDied:
                crew.close()
                if attempt == STARTS - 1:
                    raise
            except BaseException:
                crew.close()
                raise
        return crew


def core_shares(jobs: int) -> list[list[int] | None]:
    """Return the cores of each of so many crews: equal shares, one core for several where there are not enough.

    All are None where processes cannot be bound to cores.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [None] * jobs
    available = sorted(os.sched_getaffinity(0))
    share = max(1, len(available) // jobs)
    starts = (number * share % len(available) for number in range(jobs))
    return [available[start : start + share] for start in starts]
