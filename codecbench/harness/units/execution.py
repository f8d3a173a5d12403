"""Scores the splits of a run in units, by the executor of its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from codecbench.executors.choice import elsewhere, open_executor
from codecbench.harness.split_run import RunParts, SplitRun
from codecbench.harness.units.unit import CrewSetUp
from codecbench.harness.units.unit_scoring import UnitScoring
from codecbench.harness.units.versions import versions


def score_in_units(
    parts: RunParts, splits: Sequence[SplitRun], sources: Sequence[Path], tensors: Path, *, sample_s: float
) -> None:
    """Score the cells of these splits, with crews that end before this returns: times are measured alone.

    `sources` are the files whose modules codecs may import. `tensors` is a folder for decoded tensors, which the timing
    pass reads. `sample_s` is the time of the full model on a sample.
    """
    with closing(open_executor(parts.config, crew_set_up(parts, sources).to_frame())) as executor:
        UnitScoring(executor, parts, splits, tensors, sample_s=sample_s).score_all()


def crew_set_up(parts: RunParts, sources: Sequence[Path]) -> CrewSetUp:
    """Return what crews have to know of a run."""
    config, workload = parts.config, parts.grid.workload
    remote = elsewhere(config)
    return CrewSetUp(
        parts.pair.workload.reference, None if config.data_dir is None else str(config.data_dir.resolve()),
        config.torch_device, workload.weights_sha256, workload.source_hash, parts.provenance.workload.data_hash,
        dict(parts.grid.counts), dict(parts.grid.sample_sets), [str(path) for path in sources], config.timeout_s,
        versions() if remote else {}, [str(path.resolve()) for path in config.plugin] if remote else [],
        {codec.name: codec.source_hash for codec, _ in parts.grid.codecs} if remote else {},
    )  # fmt: skip
