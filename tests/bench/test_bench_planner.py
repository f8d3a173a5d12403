"""Planning over thousands of candidates; the bar is 100 ms for five thousand.

pytest tests/bench/test_bench_planner.py --benchmark-only
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from codecbench.analysis import planner
from codecbench.analysis.latency import STEPS, Latency
from codecbench.analysis.planner import Candidate, Limits
from codecbench.links.model import TcpRampLink

COUNT, TIMED = 5_000, 64


@pytest.fixture(scope="module")
def many() -> list[Candidate]:
    """Candidates with as many timed samples as the full preset has."""
    random = np.random.default_rng(0)

    def one(number: int) -> Candidate:
        steps = {step: random.uniform(0, 0.01, TIMED) for step in STEPS}
        sizes = random.integers(1, 50_000, TIMED).tolist()
        return Candidate(
            f"split{number % 16}", f"codec{number % 20}", f"q={number}", random.normal(1, 1), 0, 0, 0,
            float(np.mean(sizes)), Latency(steps, sizes),
        )  # fmt: skip

    return [one(number) for number in range(COUNT)]


def test_plan(benchmark: Any, many: list[Candidate]) -> None:
    found = benchmark(planner.plan, many, Limits(1.0))
    assert found.best is not None
    assert found.candidates == COUNT


def test_sweep(benchmark: Any, many: list[Candidate]) -> None:
    link = TcpRampLink("x", round_trip_s=0.004, bandwidth_bit_per_s=50e6)
    assert benchmark.pedantic(planner.sweep, (many, Limits(1.0), link), rounds=3)
