"""Clocks, counters and limits: what they count, never how fast this machine is."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from codecbench import measure

MIB = 1 << 20


def test_timed_gives_the_result_and_holds_garbage_collection_off() -> None:
    result, seconds = measure.timed(gc.isenabled)
    assert result is False
    assert seconds >= 0
    assert gc.isenabled()


def test_timed_restores_garbage_collection_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        measure.timed(lambda: 1 / 0)
    assert gc.isenabled()
    gc.disable()
    try:
        measure.timed(lambda: None)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_deadline_ends_at_zero() -> None:
    assert measure.Deadline(0).remaining_s() == 0
    deadline = measure.Deadline(1000)
    assert 0 < deadline.remaining_s() <= deadline.limit_s == 1000


def test_a_stopwatch_does_not_run_backwards() -> None:
    watch = measure.Stopwatch()
    assert 0 <= watch.elapsed_s() <= watch.elapsed_s()


def test_the_time_of_day() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", measure.utc_now())


def test_a_multiply_add_is_two_operations() -> None:
    linear, conv = nn.Linear(10, 4, bias=False), nn.Conv2d(3, 5, 3, padding=1, bias=False)
    assert measure.count_flop(lambda: linear(torch.rand(1, 10))) == 2 * 10 * 4
    assert measure.count_flop(lambda: conv(torch.rand(1, 3, 8, 8))) == 2 * 3 * 9 * 5 * 64
    assert measure.count_flop(lambda: torch.rand(3).clone()) == 0


def test_the_peak_is_of_tensors_alive_at_the_same_time() -> None:
    def chain() -> None:
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b + 1
        del b
        (c + 1).view(10, 100)  # a view takes nothing

    def pile() -> None:
        kept = [torch.zeros(1000) for _ in range(5)]
        kept[0].add_(1)

    assert measure.tensor_peak_bytes(chain) == 2 * 4000
    assert measure.tensor_peak_bytes(pile) == 5 * 4000
    assert measure.tensor_peak_bytes(lambda: None) == 0


STEPPER = """
import sys
from codecbench import measure
kept = []
for line in sys.stdin:
    if line == "trim\\n":
        measure.trim_memory()
    else:
        kept = bytearray(b"1") * (int(line) << 20)
        del kept
    print("done", flush=True)
"""


@pytest.fixture
def stepper() -> Iterator[tuple[int, Callable[[str], None]]]:
    """A process that takes memory, and gives it back, when it is told to: its number, and how to tell it."""
    process = subprocess.Popen(
        [sys.executable, "-c", STEPPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def tell(line: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"

    with process:
        tell("1")
        yield process.pid, tell


def test_the_growth_of_another_process(stepper: tuple[int, Callable[[str], None]]) -> None:
    pid, tell = stepper
    tell("200")  # an earlier peak does not count
    tell("trim")
    growth = measure.process_growth_bytes(lambda: tell("64"), pid=pid)
    if growth is None:
        pytest.skip("this system does not tell a process's peak")
    assert 60 * MIB < growth < 100 * MIB
    tell("trim")
    assert (measure.process_growth_bytes(lambda: tell("0"), pid=pid) or 0) < 8 * MIB


def test_the_growth_of_a_process_that_is_not_there_is_unknown() -> None:
    assert measure.process_growth_bytes(lambda: pytest.fail("the step ran"), pid=1 << 30) is None


LIMITED = """
from codecbench import measure
measure.limit_memory((200 << 20) + (measure.process_status_bytes("VmData") or 0))
bytearray(50 << 20)
try:
    bytearray(400 << 20)
except MemoryError:
    print("no memory")
"""


def test_a_memory_limit_raises_memory_errors() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert done.stdout == "no memory\n"


def test_the_clock_is_bound_before_a_step_can_replace_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def step() -> None:
        time.perf_counter = lambda: 0.0

    monkeypatch.setattr(time, "perf_counter", time.perf_counter)
    assert 0 < measure.timed(step)[1] < 60


def test_what_the_kernel_tells_of_a_process() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc here")
    assert (measure.process_status_bytes("VmRSS") or 0) > MIB
    assert measure.process_status_bytes("VmRSS", os.getpid()) is not None
    assert measure.process_status_bytes("NoSuchField") is None
    assert measure.process_status_bytes("VmRSS", 1 << 30) is None
    assert measure.process_cpu_s(os.getpid()) > 0
    assert measure.process_cpu_s(1 << 30) == 0


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the system does not tell")
def test_a_wait_for_a_processor_is_seen_of_this_thread_and_of_another_process() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})  # the other program starts on the same core
    waited_s = measure.processor_wait_s()
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        while measure.processor_wait_s() < waited_s + 0.005 or measure.processor_wait_s(other.pid) < 0.005:
            pass
    finally:
        other.kill()
        other.wait()
        os.sched_setaffinity(0, before)
    assert measure.processor_wait_s(1 << 30) == 0


def test_threads_are_set_for_a_block() -> None:
    before = torch.get_num_threads()
    with measure.torch_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_percentiles_are_values_that_were_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [measure.percentile(values, share) for share in (0.0, 0.5, 0.95, 1.0)] == [1.0, 3.0, 5.0, 5.0]
    assert measure.percentile([7.0], 0.5) == 7.0
