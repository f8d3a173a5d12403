"""Has the cells of a run scored in units by an executor, and keeps what comes back as an interrupted run would."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecbench.errors import DataError
from codecbench.executors.executor import Executor, UnitOutcome
from codecbench.experiment.cells import PlannedCell
from codecbench.harness.accuracy import id_column
from codecbench.harness.chunks import GB, SHARES, SampleBatch
from codecbench.harness.scored_cell import ScoredCell, SeenSample
from codecbench.harness.split_run import RunParts, SplitRun
from codecbench.harness.units.unit import CellScores, ScoringUnit, checked_scores
from codecbench.harness.units.unit_size import UnitSize
from codecbench.isolation.seal import Isolation
from codecbench.measure import Stopwatch
from codecbench.names import counted
from codecbench.results.outcomes import Columns, joined, of_full_model
from codecbench.system.stopping import check_stopped

MAX_ENDED_CREWS = 3
"""A cell has failed when so many crews have ended while they were at work on it."""

WRITE_S = 30.0
"""The time in which the new samples of a cell are written: a file of many samples takes longer than a unit brings."""


@dataclass
class _CellInWork:
    """A cell whose samples come back in units, in any order."""

    split: SplitRun
    scored: ScoredCell
    parts: dict[int, tuple[ScoringUnit, CellScores]] = field(default_factory=dict)
    written: Stopwatch = field(default_factory=Stopwatch)
    unwritten: bool = False


class UnitScoring:
    """Scores all cells of the runs of splits that lack samples. `folder` is for decoded tensors meanwhile.

    `sample_s` is the time of the full model on a sample.
    A cell that fails is taken out of its split's run; the other cells are left complete there.
    """

    def __init__(
        self, executor: Executor, parts: RunParts, splits: Sequence[SplitRun], folder: Path, *, sample_s: float
    ) -> None:
        self.executor = executor
        self.parts = parts
        self.splits = splits
        self.folder = folder
        self._numbers = itertools.count()
        self._cells: dict[str, _CellInWork] = {}
        self._at_work: dict[int, ScoringUnit] = {}
        self._cell_count = max(1, sum(len(split.cells) for split in splits))
        self._size = UnitSize.of([(split.chunks, len(split.cells)) for split in splits], executor.slots, sample_s)

    def score_all(self) -> None:
        """Score all cells. Raises the error of a workload, and UsageError if no crew can work."""
        try:
            for split in self.splits:
                for unit in self._units_of(split):
                    while len(self._at_work) >= self.executor.capacity:
                        self._collect()
                    self._submit(unit)
            while self._at_work:
                self._collect()
        finally:
            for found in self._cells.values():
                self._write(found)

    def _units_of(self, split: SplitRun) -> Iterator[ScoringUnit]:
        """Yield the units of a split: of cells that an earlier run has begun, from the sample where it ended."""
        begun = [scored for scored in split.begin() if scored.rows < split.end]
        if begun:
            self.parts.reporter.stage(
                f"{begun[0].cell.key.split}: {counted(len(begun), 'cell')} to score, {self.executor.name}"
            )
        for scored in begun:
            self._cells[scored.id] = _CellInWork(split, scored)
        for first in sorted({scored.rows for scored in begun}):
            cells = [scored.cell for scored in begun if scored.rows == first]
            for batches in self._ranges(split, first):
                for start in range(0, len(cells), self._size.cells):
                    yield ScoringUnit(
                        tuple(cells[start : start + self._size.cells]), tuple(batches), self._kept(split, batches)
                    )

    def _ranges(self, split: SplitRun, first: int) -> Iterator[Sequence[SampleBatch]]:
        for chunk in split.chunks:
            todo = [batch for batch in chunk.batches if batch.first >= first]
            for start in range(0, len(todo), self._size.batches):
                yield todo[start : start + self._size.batches]

    def _kept(self, split: SplitRun, batches: Sequence[SampleBatch]) -> tuple[int, ...]:
        """Return the test samples among these whose decoded tensors come back: as many in all as there is room for."""
        room = int(self.parts.config.scratch_gb * GB / SHARES / (self._cell_count * max(1, split.spec.nbytes)))
        sought = split.seen[: max(1, room)]
        return tuple(at for at in sought if any(b.subset == "test" and at in b.positions for b in batches))

    def _submit(self, unit: ScoringUnit) -> None:
        """Hand a unit to the executor, without the cells that have failed meanwhile."""
        check_stopped()
        left = tuple(cell for cell in unit.cells if cell.key.cell in self._cells)
        if not left:
            return
        number, unit = next(self._numbers), replace(unit, cells=left)
        self._at_work[number] = unit
        states = [self._cells[cell.key.cell].scored.state for cell in left]
        self.executor.submit(unit.request(number, states, self.parts.full_model))

    def _collect(self) -> None:
        for outcome in self.executor.wait():
            check_stopped()
            self._take(outcome)

    def _take(self, outcome: UnitOutcome) -> None:
        if outcome.error is not None:
            raise outcome.error
        unit = self._at_work.pop(outcome.number)
        lost = outcome.lost
        if outcome.reply is not None:
            try:
                known = self._known(unit)
                for scores in checked_scores(unit, outcome.reply, known):
                    self._add(unit, scores)
            except DataError as error:
                lost = str(error)
        if lost is not None:
            self._run_again(unit, lost, outcome.ended_crews)

    def _run_again(self, unit: ScoringUnit, reason: str, ended_crews: int) -> None:
        ended = unit.ended_crews + ended_crews
        if len(unit.cells) == 1 and ended >= MAX_ENDED_CREWS:
            self._fail(unit.cells[0], f"{ended} crews were lost at work on it: {reason}")
            return
        for cell in unit.cells:
            self._submit(replace(unit, cells=(cell,), ended_crews=ended))

    def _fail(self, cell: PlannedCell, reason: str, frames: Sequence[str] = ()) -> None:
        found = self._cells.pop(cell.key.cell, None)
        if found is not None:
            found.split.cells.remove(found.scored.cell)
            self.parts.writer.failed(cell, reason, frames)

    def _known(self, unit: ScoringUnit) -> Columns:
        """Return the columns of a unit's samples that do not depend on a cell."""
        parts = []
        for batch in unit.batches:
            at = slice(batch.positions.start, batch.positions.stop)
            own = {name: column[at] for name, column in self.parts.full_model[batch.subset].items()}
            parts.append({
                "subset": np.array([batch.subset] * len(batch.positions)),
                "sample_id": id_column(self.parts.grid.sample_ids[batch.subset][at]), **of_full_model(own),
            })  # fmt: skip
        return joined(parts)

    def _add(self, unit: ScoringUnit, scores: CellScores) -> None:
        """Add the scores of one cell as far as they are there without a gap; now and then, write its samples."""
        found = self._cells.get(scores.cell)
        if found is None:
            return  # it has failed in another unit
        if scores.fault is not None:
            self._fail(found.scored.cell, scores.fault, scores.frames)
            return
        found.parts[unit.rows.start] = unit, self._with_filed_tensors(scores)
        scored, before = found.scored, found.scored.rows
        while scored.rows in found.parts:
            self._append(found, *found.parts.pop(scored.rows))
        if scored.rows > before:
            found.unwritten = True
            self.parts.reporter.scored(scored.rows - before)
        if scored.rows == found.split.end or found.written.elapsed_s() >= WRITE_S:
            self._write(found)
        if scored.rows == found.split.end:
            found.split.seen_in_units[scored.id] = scored.seen
            del self._cells[scored.id]

    def _write(self, found: _CellInWork) -> None:
        """Write the samples of a cell so far, if there are new ones."""
        if found.unwritten:
            scored = found.scored
            kept = {**self.parts.provenance.sources(scored.cell), "progress": scored.progress()}
            self.parts.store.write_samples(scored.cell.key, scored.columns, kept)
            found.unwritten, found.written = False, Stopwatch()

    def _append(self, found: _CellInWork, unit: ScoringUnit, scores: CellScores) -> None:
        scored, seen = found.scored, set(found.split.seen)
        for digest in scores.payload_digests:
            scored.chain.add_digest(digest)
        positions = unit.positions("test")
        for position, payload, tensor in zip(positions, scores.payload_digests, scores.tensor_digests, strict=False):
            if position in seen:
                scored.seen[position] = SeenSample(payload.hex(), tensor.hex(), scores.tensors.get(position))
        scored.raw_bytes += scores.raw_bytes
        scored.isolation = Isolation.from_json(scores.isolation or {})
        scored.add(scores.columns)

    def _with_filed_tensors(self, scores: CellScores) -> CellScores:
        """Return the scores with their tensors in files: those of all cells together may not fit into memory."""
        filed: dict[int, NDArray[Any]] = {}
        for position, tensor in scores.tensors.items():
            path = self.folder / f"{scores.cell}-{position}.npy"
            np.save(path, tensor)
            filed[position] = np.load(path, mmap_mode="r")
        return replace(scores, tensors=filed)
