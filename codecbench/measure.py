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


def timed(step: Callable[[], Result]) -> tuple[Result, float]:
    """Return a step's result and the seconds it took. Garbage collection is off meanwhile."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        began = time.perf_counter()
        result = step()
        return result, time.perf_counter() - began
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
    """Return the FLOPs of the torch operators that a step calls; a multiply-add counts as 2."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


@lru_cache(maxsize=1)
def warm_flop_counter() -> None:
    """Make the FLOP counter load its modules now (it takes seconds and reads files), for use inside a seal."""
    import torch

    count_flop(lambda: torch.zeros(1) + 1)


@lru_cache(maxsize=1)
def warm_optimizers() -> None:
    """Make torch's optimisers load their modules now. It takes seconds, which the first step of a fit would take."""
    import torch

    for kind in (torch.optim.Adam, torch.optim.SGD):
        weight = torch.zeros(1, requires_grad=True)
        optimizer = kind([weight], lr=0.1)
        weight.grad = torch.zeros(1)
        optimizer.step()


@lru_cache(maxsize=1)
def freeze_collector() -> None:
    """Exclude all objects that exist now from later garbage collections. Runs once.

    A collection in a forked child would write to, and so copy, every memory page with an object on it: half a second
    with torch loaded.
    """
    gc.collect()
    gc.freeze()


def tensor_peak_bytes(step: Callable[[], Any]) -> int:
    """Return the peak of the live tensor storage that torch operators create during a step, in bytes."""
    import weakref

    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    live: dict[int, int] = {}
    peak = 0

    class Tracker(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]
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

    with Tracker():  # type: ignore[no-untyped-call, unused-ignore]
        step()
    return peak


def process_growth_bytes(step: Callable[[], Any]) -> int | None:
    """Return the growth of this process's peak resident memory during a step, or None if the system cannot measure it.

    Run it in a process that has done little else: memory that was freed earlier and kept by the allocator is reused
    without growth.
    """
    before = _reset_peak()
    if before is None:
        return None
    step()
    after = process_status_bytes("VmHWM")
    return None if after is None else max(0, after - before)


def _reset_peak() -> int | None:
    try:
        _trim()
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return process_status_bytes("VmRSS")


def _trim() -> None:
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


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


def in_fresh_process(step: Callable[[], int | None], timeout_s: float = 60.0) -> int | None:
    """Return a step's number, computed in a forked child; None if it fails, times out, or the system cannot fork.

    The caller must have no threads whose locks the child could need, as in a worker with one torch thread.
    """
    if not hasattr(os, "fork"):
        return None
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            number = step()
            os.write(writer, b"" if number is None else str(number).encode())
        finally:
            os._exit(0)
    os.close(writer)
    try:
        import select

        ready, _, _ = select.select([reader], [], [], timeout_s)
        text = os.read(reader, 64) if ready else b""
        if not ready:
            os.kill(child, 9)
    finally:
        os.close(reader)
        os.waitpid(child, 0)
    return int(text) if text else None


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
