"""What the harness itself costs, beside the plain model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from codecbench.experiment.config import load
from codecbench.experiment.progress import Lines
from codecbench.fitting.states import FittedState
from codecbench.harness.accuracy import AccuracyPass, run_full_model, score_full_model
from codecbench.harness.chunks import ChunkActivations, chunks_of
from codecbench.harness.run import Run
from codecbench.harness.scored_cell import ScoredCell
from codecbench.harness.side_by_side import run_side_by_side
from codecbench.workload import Subset


@pytest.mark.benchmark(group="harness")
def test_accuracy_pass_beside_plain_forward(benchmark: Any, tmp_path: Path) -> None:
    """2,000 samples through `raw` at the input, workers warm, over the full model's batched forward time.

    `extra_info` holds both medians and `overhead`, their ratio. The rounds alternate, so drift hits both.
    """
    options = {"codec": ["raw:values=float32"], "split": ["input"], "samples": 2000, "out": tmp_path}
    with Run(load(None, options), Lines()) as job:
        (cell,) = job.plan()
        job.pair.use_split("input")
        counts: dict[Subset, int] = {"test": 2000, "choice": 0}
        (chunk,) = chunks_of(counts, cell.spec.nbytes, scratch_gb=1.0)
        full_model = {subset: run.outcomes for subset, run in score_full_model(job.pair, counts).items()}
        accuracy = AccuracyPass(
            job.pair, job.processes, job.grid.sample_ids, full_model, folder=tmp_path, seen=(),
            keep=0, timeout_s=600.0, skip_exact=False,
        )  # fmt: skip
        forward_s: list[float] = []

        def plain_forward() -> None:
            forward_s.append(run_full_model(job.pair, "test", counts).forward_s)

        def accuracy_pass() -> None:
            scored = ScoredCell(cell, FittedState())
            with ChunkActivations(job.pair, cell.spec, chunk, tmp_path) as activations:
                head = activations.run_head()
                with accuracy.open(scored, activations) as opened:
                    run_side_by_side([accuracy.measure(opened, activations)], accuracy.tail, head=head)
            assert (scored.columns["numerator"] == scored.columns["uncompressed_numerator"]).all()

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
