"""Clocks, FLOP counts and memory measurements; no other core file makes any. Torch is imported when needed."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

_malloc_trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Looked up when this module is loaded: a sealed process may not open the C library."""


def timed(step: Callable[[], Result], _clock: Callable[[], float] = time.perf_counter) -> tuple[Result, float]:
    """Return a step's result and the seconds it took. Garbage collection is off meanwhile.

    The clock is bound when this module is loaded, so that a step that replaces `time.perf_counter` is timed all the
    same.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        began = _clock()
        result = step()
        return result, _clock() - began
    finally:
        if enabled:
            gc.enable()


def timed_in_turns(
    steps: Sequence[tuple[Callable[[], Any], Callable[[], Any]]], rounds: int, warm_up: int = 2
) -> list[list[float]]:
    """Return the seconds of each step in each round. A round runs every (prepare, step) once; only the step is timed.

    Between two runs of a step the other steps evict its data from the caches, as other layers do in a model. Only the
    data that its preparation has just touched is cached.
    """
    seconds: list[list[float]] = [[] for _ in steps]
    for turn in range(warm_up + rounds):
        for (prepare, step), found in zip(steps, seconds, strict=True):
            prepare()
            took_s = timed(step)[1]
            if turn >= warm_up:
                found.append(took_s)
    return seconds


class Deadline:
    """A time limit that starts now."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._end = time.monotonic() + limit_s

    def remaining_s(self) -> float:
        """Return the seconds left, 0 once the limit has passed."""
        return max(0.0, self._end - time.monotonic())

    def extend(self, seconds: float) -> None:
        """Move the end by time that does not count."""
        self._end += seconds


class Stopwatch:
    """Measures the seconds since it was created."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def elapsed_s(self) -> float:
        """Return the seconds since creation."""
        return time.monotonic() - self._began


def utc_now() -> str:
    """Return the current time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()


def count_flop(step: Callable[[], Any]) -> int:
    """Return the FLOPs of the torch operators that a step calls, by torch's own formulas; a multiply-add counts as 2.

    An operator without a formula counts by the operators that it is made of, if it is made of others.
    """
    import torch
    from torch.utils.flop_counter import flop_registry

    total = 0

    class Counter(_dispatch_mode()):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal total
            kwargs = kwargs or {}
            formula = flop_registry.get(func._overloadpacket)
            if formula is None and func is not torch.ops.prim.device.default:
                with self:
                    result = func.decompose(*args, **kwargs)
                if result is not NotImplemented:
                    return result
            result = func(*args, **kwargs)
            total += 0 if formula is None else formula(*args, **kwargs, out_val=result)
            return result

    with Counter():
        step()
    return total


@lru_cache(maxsize=1)
def _dispatch_mode() -> type[Any]:
    """Return the base class of modes that see each operator, without torch's compiler: its import takes seconds."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Plain(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False

    return Plain


@lru_cache(maxsize=1)
def warm_optimizers() -> None:
    """Make torch's optimisers load their modules now. It takes seconds, which the first step of a fit would take."""
    import torch

    for kind in (torch.optim.Adam, torch.optim.SGD):
        weight = torch.zeros(1, requires_grad=True)
        optimizer = kind([weight], lr=0.1)
        weight.grad = torch.zeros(1)
        optimizer.step()


def tensor_peak_bytes(step: Callable[[], Any]) -> int:
    """Return the peak of the live tensor storage that torch operators create during a step, in bytes."""
    import weakref

    import torch

    live: dict[int, int] = {}
    peak = 0

    class Tracker(_dispatch_mode()):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal peak
            result = func(*args, **(kwargs or {}))
            for leaf in torch.utils._pytree.tree_leaves(result):
                if isinstance(leaf, torch.Tensor):
                    storage = leaf.untyped_storage()
                    key = storage._cdata
                    if key not in live:
                        live[key] = storage.nbytes()
                        weakref.finalize(storage, live.pop, key, None)
                        peak = max(peak, sum(live.values()))
            return result

    with Tracker():
        step()
    return peak


def process_growth_bytes(step: Callable[[], Any], pid: int) -> int | None:
    """Return the growth of a process's peak resident memory during a step, or None if the system cannot measure it.

    The process should have given back what it had freed (`trim_memory`): memory that its allocator kept is reused
    without growth.
    """
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak becomes what is resident now
    except OSError:
        return None
    before = process_status_bytes("VmRSS", pid)
    step()
    after = process_status_bytes("VmHWM", pid)
    return None if before is None or after is None else max(0, after - before)


def trim_memory() -> None:
    """Give freed memory of this process back to the system, where the C library can."""
    gc.collect()
    if _malloc_trim is not None:
        _malloc_trim(0)


def process_status_bytes(field: str, pid: int | str = "self") -> int | None:
    """Return a size from /proc/PID/status in bytes (VmRSS, VmHWM, VmSize, VmPeak), or None if there is none."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None


def process_cpu_s(pid: int) -> float:
    """Return the processor seconds that a process has used, user and system; 0 once it has ended."""
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def process_clock_s(pid: int) -> float | None:
    """Return the processor seconds of all threads of a process, to the nanosecond; None if the system does not tell."""
    if sys.platform != "linux":
        return None
    try:
        # The kernel's number for the processor clock of a process: CPUCLOCK_SCHED of its complement.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return None


def processor_wait_s(pid: int | None = None) -> float:
    """Return the seconds that a process's first thread has waited for a processor while it was ready to run.

    Without a process, those of the calling thread. 0 where the system does not tell.
    """
    place = "thread-self" if pid is None else str(pid)
    try:
        return int(Path(f"/proc/{place}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


class ProcessorTimes:
    """Measures the processor time of the process `pid` from now on, apart for the blocks of `step`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._began = self._now()
        self._step = (0.0, 0.0)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Count what is used within a with block as the step's."""
        before = self._now()
        yield
        self._step = self._since(before)

    def step_s(self) -> float | None:
        """Return the seconds of the step; None if the system does not tell."""
        return self._step[0] if self._known else None

    def outside_s(self) -> float | None:
        """Return the seconds so far without those of the step; None if the system does not tell."""
        return self._since(self._began)[0] - self._step[0] if self._known else None

    def own_s(self) -> float:
        """Return the seconds of the calling thread so far without those during the step."""
        return self._since(self._began)[1] - self._step[1]

    @property
    def _known(self) -> bool:
        return self._began[0] > 0.0

    def _now(self) -> tuple[float, float]:
        return process_clock_s(self.pid) or 0.0, time.thread_time()

    def _since(self, before: tuple[float, float]) -> tuple[float, float]:
        now = self._now()
        return max(0.0, now[0] - before[0]), now[1] - before[1]


class BackgroundLoad:
    """Measures the processor load of other programs: all but this process and the process `pid`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._last = self._now()

    def busy_cores(self) -> float:
        """Return the mean number of cores that others used since the last call, a hypervisor's stolen time included."""
        wall_s, busy_s = self._now()
        before_wall_s, before_busy_s = self._last
        self._last = wall_s, busy_s
        return max(0.0, busy_s - before_busy_s) / max(1e-9, wall_s - before_wall_s)

    def _now(self) -> tuple[float, float]:
        import psutil

        times = psutil.cpu_times()
        busy_s = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
        own_s = process_cpu_s(self.pid) + (process_cpu_s(os.getpid()) if self.pid != os.getpid() else 0.0)
        return time.monotonic(), busy_s - own_s


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set torch's intra-operator thread count within a with block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Return the physical memory of the machine in bytes."""
    import psutil

    return int(psutil.virtual_memory().total)


def percentile(values: list[float], share: float) -> float:
    """Return the nearest-rank percentile of the values; `share` is 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def limit_memory(limit_bytes: int) -> None:
    """Limit this process's private memory; an allocation beyond the limit raises MemoryError."""
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
