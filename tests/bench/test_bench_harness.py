"""What the harness itself costs, beside the plain model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from codecbench.experiment.config import load
from codecbench.fitting.states import FittedState
from codecbench.harness.accuracy import run_full_model
from codecbench.harness.opened_cell import OpenedCell
from codecbench.harness.progress import Lines
from codecbench.harness.run import Run
from codecbench.measure import Deadline


@pytest.mark.benchmark(group="harness")
def test_accuracy_pass_beside_plain_forward(benchmark: Any, tmp_path: Path) -> None:
    """2,000 samples through `raw` at the input, workers warm, over the full model's batched forward time.

    `extra_info` holds both medians and `overhead`, their ratio. The rounds alternate, so drift hits both.
    """
    options = {"codec": ["raw:values=float32"], "split": ["input"], "samples": 2000, "out": tmp_path}
    job = Run(load(None, options), Lines())
    with job.pair:
        (cell,) = job.plan()
        accuracy = job.prepare("input")
        opened = OpenedCell(job.pair, cell, FittedState())
        opened.handles(Deadline(60))
        forward_s: list[float] = []

        def plain_forward() -> None:
            forward_s.append(run_full_model(job.pair, "test", job.grid.counts["test"])[1])

        def accuracy_pass() -> None:
            columns = accuracy.measure_subset(opened, "test", Deadline(600))
            assert (columns["numerator"] == columns["uncompressed_numerator"]).all()

        accuracy_pass()
        plain_forward()
        forward_s.clear()
        benchmark.pedantic(accuracy_pass, setup=plain_forward, rounds=5)
    plain_s = sorted(forward_s)[len(forward_s) // 2]
    benchmark.extra_info.update(
        samples=2000, plain_forward_s=plain_s, overhead=benchmark.stats.stats.median / plain_s
    )  # fmt: skip
    print(f"\naccuracy pass {benchmark.stats.stats.median:.2f} s, plain forward {plain_s:.2f} s, "
          f"ratio {benchmark.stats.stats.median / plain_s:.2f}")  # fmt: skip
