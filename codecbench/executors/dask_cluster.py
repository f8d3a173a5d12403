"""`--executor dask`: units as tasks of a Dask cluster, of one that is there or of one of its own on this machine."""

from __future__ import annotations

import queue
import warnings
from typing import Any

from codecbench.errors import CodecbenchError, UsageError, one_line
from codecbench.executors.executor import UnitOutcome, UnitRequest, outcome_of
from codecbench.executors.kept_crews import end_crews, run_unit
from codecbench.executors.processes import AHEAD
from codecbench.measure import cores
from codecbench.workers.closing import Closing

CONNECT_S = 15
"""The time in which a scheduler has to answer."""
WORKERS_S = 120
"""The time in which its first worker has to be there."""
ALLOWED_FAILURES = 3
"""The workers that a task may end before a scheduler gives it up: Dask's own number."""


class DaskExecutor(Closing):
    """Runs units on the workers of the scheduler at `address`, or on `jobs` workers of its own.

    Raises UsageError without Dask, for an address where no scheduler answers, and for a cluster without workers.
    """

    def __init__(self, set_up: bytes, address: str | None = None, jobs: int | None = None) -> None:
        self._distributed = _imported()
        self._set_up = set_up
        self._jobs = jobs
        self._outcomes: queue.SimpleQueue[UnitOutcome] = queue.SimpleQueue()
        self._futures: dict[int, Any] = {}
        self._cluster: Any = None
        self._closed = False
        self.name = f"the Dask cluster at {address}" if address else "Dask workers of its own"
        if address is None:
            self._jobs = jobs = jobs or cores()
            self._cluster = self._own_cluster(jobs)
        try:
            self._client = self._connected(address)
        except BaseException:
            self._end_cluster()
            raise

    @property
    def slots(self) -> int:
        """The number of threads of all workers, or the number that the options name."""
        return max(1, self._jobs or sum(self._client.nthreads().values()))

    @property
    def capacity(self) -> int:
        """The number of units that should be submitted at once."""
        return AHEAD * self.slots

    def submit(self, request: UnitRequest) -> None:
        """Make a task of a unit."""
        workers = None if self._cluster is None else self.slots
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # states are large, and on purpose in the task: a worker may be lost
            future = self._client.submit(run_on_worker, self._set_up, request.to_frame(), workers, pure=False)
        self._futures[request.number] = future
        future.add_done_callback(lambda done: self._outcomes.put(self._outcome(request.number, done)))

    def wait(self) -> list[UnitOutcome]:
        """Wait until a task has ended, and return the outcomes that are there."""
        found = [self._outcomes.get()]
        while not self._outcomes.empty():
            found.append(self._outcomes.get())
        for outcome in found:
            self._futures.pop(outcome.number, None)
        return found

    def close(self) -> None:
        """Cancel what is not done, end the crews, and the cluster if it is of its own."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._client.status == "running":
                self._client.cancel(list(self._futures.values()), force=True)
                self._client.run(end_crews, self._set_up)
        except Exception:  # noqa: S110 - a cluster that is gone has no crews
            pass
        self._client.close(timeout=CONNECT_S)
        self._end_cluster()

    def _outcome(self, number: int, done: Any) -> UnitOutcome:
        """Return the outcome of a task that has ended."""
        if done.status == "finished":
            try:
                return outcome_of(number, done.result())
            except Exception as error:
                return UnitOutcome(number, lost=f"its scores are lost ({one_line(error)})")
        if done.status == "error":
            return self._failed(number, done.exception())
        return UnitOutcome(number, error=UsageError(f"{self.name} has gone; the same command goes on from there"))

    def _failed(self, number: int, fault: Exception) -> UnitOutcome:
        if isinstance(fault, self._distributed.KilledWorker):
            ended = 1 if self._cluster else ALLOWED_FAILURES
            return UnitOutcome(number, lost="the workers that ran it ended", ended_crews=ended)
        if isinstance(fault, CodecbenchError):
            return UnitOutcome(number, error=fault)
        reason = f"a Dask worker cannot run units: {one_line(fault)}; install this version of codecbench there"
        return UnitOutcome(number, error=UsageError(reason))

    def _own_cluster(self, jobs: int) -> Any:
        import dask

        with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
            return self._distributed.LocalCluster(
                n_workers=jobs, threads_per_worker=1, dashboard_address=None, memory_limit=0, silence_logs=50
            )

    def _connected(self, address: str | None) -> Any:
        try:
            client = self._distributed.Client(
                address or self._cluster, timeout=CONNECT_S, set_as_default=False, name="codecbench"
            )
        except (OSError, ValueError, TypeError, TimeoutError) as error:
            raise UsageError(f"--dask {address}: no scheduler answers there; `dask scheduler` starts one") from error
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError as error:
            client.close()
            raise UsageError(
                f"--dask {address}: the scheduler has no workers; start some with `dask worker {address}`"
            ) from error
        return client

    def _end_cluster(self) -> None:
        if self._cluster is not None:
            self._cluster.close()


def run_on_worker(set_up: bytes, unit: bytes, workers: int | None) -> bytes:
    """Run a unit on a Dask worker, by a crew that has its share of the cores.

    They are shared by so many workers on this machine, or by the threads of this one.
    """
    from distributed import get_worker

    worker = get_worker()
    if workers is not None and isinstance(worker.name, int):
        return run_unit(set_up, unit, workers, worker.name)
    return run_unit(set_up, unit, worker.state.nthreads)


def _imported() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise UsageError("--executor dask needs Dask: pip install 'codecbench[dask]'") from error
    return distributed
