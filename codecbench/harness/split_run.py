"""Scores and times the cells of one split: chunk by chunk through all cells, then one timing pass."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecbench.errors import CodecbenchError, CodecFailure, DataError, FailureCode, PluginError
from codecbench.experiment.cells import PlannedCell, Reporter
from codecbench.experiment.config import RunConfig
from codecbench.experiment.grid import Grid
from codecbench.fitting.fits import Fits
from codecbench.fitting.states import FittedState
from codecbench.harness.accuracy import AccuracyPass
from codecbench.harness.chunks import GB, SHARES, ChunkActivations, chunks_of, drawn_positions
from codecbench.harness.provenance import RunProvenance
from codecbench.harness.records import RecordWriter
from codecbench.harness.resume import EarlierResults
from codecbench.harness.scored_cell import ScoredCell, SeenSample
from codecbench.harness.side_by_side import Pass, run_side_by_side
from codecbench.harness.timing import Failure, TimingPass
from codecbench.results.digests import DIGESTED_SAMPLES
from codecbench.results.outcomes import Columns
from codecbench.results.store import Store
from codecbench.system.folders import temporary_folder
from codecbench.system.stopping import check_stopped
from codecbench.workers.forks import CodecProcesses
from codecbench.workers.pair import Pair
from codecbench.workload import Subset


@dataclass(frozen=True)
class RunParts:
    """The parts of a run that its splits share. `full_model` has the full model's outcomes by subset."""

    config: RunConfig
    grid: Grid
    pair: Pair
    processes: CodecProcesses
    fits: Fits
    earlier: EarlierResults
    store: Store
    provenance: RunProvenance
    writer: RecordWriter
    reporter: Reporter
    full_model: dict[Subset, Columns]


class SplitRun:
    """The cells of one split. `execute` measures and records them; a cell that fails does not affect the others.

    Where cells are scored in units elsewhere, `seen_in_units` has what was seen there of the samples of `seen`, by
    cell.
    """

    def __init__(self, parts: RunParts, cells: Sequence[PlannedCell]) -> None:
        self.parts = parts
        self.cells = list(cells)
        self.spec = cells[0].spec
        config, counts = parts.config, parts.grid.counts
        self.chunks = chunks_of(counts, self.spec.nbytes, config.scratch_gb)
        self.digested = drawn_positions(counts["test"], DIGESTED_SAMPLES, config.seed)
        self.timed = self._timed_positions(counts["test"], config.timing_samples)
        self.seen = list(dict.fromkeys([*self.timed, *self.digested]))
        """The positions of the test samples that a new instance will encode again, or that have digests, in order."""
        self.end = self.chunks[-1].end
        """The row behind the last sample."""
        self.seen_in_units: dict[str, dict[int, SeenSample]] = {}
        self._begun_before: set[str] = set()
        self._scored: list[ScoredCell] = []
        self._timed_activations: dict[int, NDArray[Any]] = {}

    def _timed_positions(self, count: int, limit: int) -> list[int]:
        """Return the positions of the samples that are timed, and encoded again.

        Half of those with digests are among them, which a cell that goes on is compared by. No codec knows the others
        in advance: they are drawn by chance, not from the seed.
        """
        known = self.digested[: min(DIGESTED_SAMPLES, limit) // 2]
        drawn = drawn_positions(count, limit, secrets.randbits(64))
        return [*known, *(at for at in drawn if at not in known)][: len(drawn)]

    def execute(self) -> None:
        """Fit what needs it, score all cells chunk by chunk, and as configured time them and write their records."""
        measure = self.parts.config.measure
        self._scored = self.begin()
        self._measure()
        if measure == "accuracy":
            for scored in self._scored:
                self.parts.writer.scored(scored.cell)
            return
        again = self._time()
        if again:
            for scored in again:
                scored.forget()
            self._scored = again
            self._measure()
            self._time()

    def begin(self) -> list[ScoredCell]:
        """Return the cells with their states, and with what was scored already; record those whose fit fails.

        To time cells alone, it is those that are scored.
        """
        found = [scored for cell in self.cells if (scored := self._begun(cell)) is not None]
        self.cells = [scored.cell for scored in found]
        return found

    def _begun(self, cell: PlannedCell) -> ScoredCell | None:
        """Return the cell with its fitted state, and with what an earlier run has scored.

        None if its fit fails, or refuses the model.
        """
        check_stopped()
        scored = ScoredCell(cell, FittedState(), digested=self.digested)
        self._resume(scored)
        if self.parts.config.measure == "timing" and scored.rows < self.end:
            self.parts.writer.unscored(cell)
            return None
        try:
            scored.state = self.parts.fits.state_of(cell)
        except (DataError, PluginError):  # the workload's, not the codec's
            raise
        except CodecbenchError as error:
            if isinstance(error, CodecFailure) and error.code == FailureCode.UNSUITED:
                self.parts.writer.skipped(cell, str(error))
            else:
                self.parts.writer.failed(cell, str(error), error.frames)
            return None
        return scored

    def _resume(self, scored: ScoredCell) -> None:
        """Give a cell the samples that are scored already."""
        starts = {batch.first for chunk in self.chunks for batch in chunk.batches} | {self.end}
        seen = self.seen_in_units.pop(scored.id, None)
        self.parts.earlier.resume(scored, starts, own=seen is not None)
        if seen is not None:
            scored.seen, scored.resumed = seen, False
            return
        if any(position < scored.rows and position not in scored.seen for position in self.digested):
            scored.forget()  # scored with another seed
        if scored.id not in self._begun_before:
            self._begun_before.add(scored.id)
            self.parts.reporter.expect(-scored.rows)

    def _measure(self) -> None:
        """Run all chunks through the cells that have not seen them."""
        parts = self.parts
        sizes = max(1, len(self._scored) * self.spec.nbytes)
        with temporary_folder("scratch") as folder:
            accuracy = AccuracyPass(
                parts.pair, parts.processes, parts.grid.sample_ids, parts.full_model, folder=folder,
                seen=self.seen, keep=max(1, int(parts.config.scratch_gb * GB / SHARES / sizes)),
                timeout_s=parts.config.timeout_s, on_scored=parts.reporter.scored,
            )  # fmt: skip
            for chunk in self.chunks:
                todo = [scored for scored in self._scored if scored.rows < chunk.end]
                needed = chunk if todo else chunk.only(() if parts.config.measure == "accuracy" else self.timed)
                if needed.batches and self._scored:
                    with ChunkActivations(parts.pair, self.spec, needed, folder) as activations:
                        passes = (self._score(accuracy, scored, activations) for scored in todo)
                        run_side_by_side(passes, accuracy.tail, head=activations.run_head())
                        self._keep_timed(activations)

    def _keep_timed(self, activations: ChunkActivations) -> None:
        """Copy the activations of the samples that the timing pass uses."""
        for batch in activations.chunk.batches:
            if batch.subset == "test":
                views = activations.of(batch)
                for position in set(batch.positions) & set(self.timed):
                    self._timed_activations[position] = np.array(views[position - batch.positions.start])

    def _score(self, accuracy: AccuracyPass, scored: ScoredCell, activations: ChunkActivations) -> Pass:
        """Run a chunk through a cell, and write its outcomes so far."""
        check_stopped()
        self.parts.reporter.update(scored.cell.label)
        error = yield from accuracy.run(scored, activations)
        if error is not None:
            self.parts.writer.failed(scored.cell, str(error), error.frames)
            self._scored.remove(scored)
            return
        kept = {**self.parts.provenance.sources(scored.cell), "progress": scored.progress()}
        scored.samples = self.parts.store.write_samples(scored.cell.key, scored.columns, kept)

    def _time(self) -> list[ScoredCell]:
        """Time the cells and write their records; return those that have to be scored once more."""
        if not self._scored:
            return []
        check_stopped()
        parts = self.parts
        parts.reporter.stage(f"{self.cells[0].key.split}: timing")
        timing = TimingPass(
            parts.pair, parts.processes, {at: self._timed_activations[at] for at in self.timed},
            seed=parts.config.seed, timeout_s=parts.config.timeout_s,
        )  # fmt: skip
        found = timing.measure(self._scored)
        again = []
        for scored in self._scored:
            timings = found[scored.id]
            if not isinstance(timings, Failure):
                parts.writer.ok(scored, timings)
            elif timings.again:
                again.append(scored)
            else:
                parts.writer.failed(scored.cell, timings.reason, timings.frames)
        return again
