"""Processor time, seen from outside a process, finds work that its clock does not tell of."""

from __future__ import annotations

import os
import sys

import pytest

from codecbench import measure
from codecbench.harness.earned import unearned
from codecbench.workers.answers import TimedStep

CORES = measure.cores()


def step(reported_ms: float, *, busy_ms: float | None = 0.0, outside_ms: float | None = 0.0) -> TimedStep:
    """A step whose round trip is as long as it says."""
    seconds = [None if ms is None else ms / 1e3 for ms in (busy_ms, outside_ms)]
    return TimedStep(reported_ms / 1e3, reported_ms / 1e3 + 1e-4, 1e-4, *seconds, carrying_s=1e-3)


@pytest.mark.parametrize(
    ("honest", "other", "share_of_other", "reason"),
    [
        (step(20, busy_ms=20), None, 0, None),
        (step(20, busy_ms=20 * CORES), None, 0, None),
        (step(0.02, busy_ms=0.4, outside_ms=3.0), None, 0, None),
        (step(0.02, busy_ms=None, outside_ms=None), None, 0, None),
        (step(0.02, busy_ms=20), None, 0, "more were worked in the step"),
        (step(0.02, outside_ms=20), None, 0, "more were worked outside the step"),
        (step(20, busy_ms=20), step(0.02, busy_ms=20), 0.4, None),
        (step(20, busy_ms=20), step(0.02, busy_ms=20), 0.6, "more were worked in the step"),
        (step(20, busy_ms=20), step(0.02, outside_ms=20), 0.6, "more were worked outside the step"),
    ],
)  # fmt: skip
def test_work_that_the_reported_time_does_not_hold(honest, other, share_of_other, reason):
    """A codec that hides work on fewer than half of the samples does not change their median."""
    count = round(100 * share_of_other)
    found = unearned("encode", [honest] * (100 - count) + [other] * count)
    assert (found is None) == (reason is None)
    assert found is None or reason in found


@pytest.mark.skipif(sys.platform != "linux", reason="a part of Linux")
def test_the_processor_time_of_a_process_does_not_stand_still():
    before = measure.process_clock_s(os.getpid())
    used = measure.ProcessorTimes(os.getpid())
    with used.step():
        sum(range(100_000))
    after = measure.process_clock_s(os.getpid())
    assert before is not None
    assert after is not None
    assert 0 < used.step_s() < after - before


@pytest.mark.skipif(sys.platform != "linux", reason="a part of Linux")
def test_the_processor_time_of_a_process_that_has_ended_is_unknown():
    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", ""])
    os.waitpid(child, 0)
    assert measure.process_clock_s(child) is None
    assert measure.ProcessorTimes(child).step_s() is None
