"""Clocks, counters and limits: what they count, never how fast this machine is."""

from __future__ import annotations

import gc
import os
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from codecbench import measure

FORKS = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
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


@FORKS
def test_the_growth_of_a_process() -> None:
    def grow() -> None:
        bytearray(os.urandom(64 * MIB))

    def measured() -> int | None:
        return measure.process_growth_bytes(grow)

    growth = measure.in_fresh_process(measured)
    if growth is None:
        pytest.skip("this system does not tell a process's peak")
    assert 60 * MIB < growth < 300 * MIB


@FORKS
def test_a_fresh_process_gives_its_number_or_nothing() -> None:
    assert measure.in_fresh_process(os.getpid) not in (None, os.getpid())
    assert measure.in_fresh_process(lambda: None) is None
    assert measure.in_fresh_process(lambda: 1 // 0) is None
    assert measure.in_fresh_process(lambda: os.kill(os.getpid(), 9)) is None


@FORKS
def test_a_fresh_process_that_hangs_is_ended() -> None:
    import time

    pids: list[int] = []
    real_fork = os.fork

    def fork() -> int:
        pids.append(real_fork())
        return pids[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fork", fork)
        assert measure.in_fresh_process(lambda: time.sleep(600), timeout_s=0.2) is None  # type: ignore[func-returns-value]
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


@FORKS
def test_a_memory_limit_raises_memory_errors() -> None:
    def over() -> int:
        measure.limit_memory(200 * MIB + (measure.process_status_bytes("VmData") or 0))
        bytearray(50 * MIB)
        try:
            bytearray(400 * MIB)
        except MemoryError:
            return 1
        return 0

    assert measure.in_fresh_process(over) == 1


def test_what_the_kernel_tells_of_a_process() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc here")
    assert (measure.process_status_bytes("VmRSS") or 0) > MIB
    assert measure.process_status_bytes("VmRSS", os.getpid()) is not None
    assert measure.process_status_bytes("NoSuchField") is None
    assert measure.process_status_bytes("VmRSS", 1 << 30) is None
    assert measure.process_cpu_s(os.getpid()) > 0
    assert measure.process_cpu_s(1 << 30) == 0


def test_threads_are_set_for_a_block() -> None:
    before = torch.get_num_threads()
    with measure.torch_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_percentiles_are_values_that_were_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [measure.percentile(values, share) for share in (0.0, 0.5, 0.95, 1.0)] == [1.0, 3.0, 5.0, 5.0]
    assert measure.percentile([7.0], 0.5) == 7.0
