"""Searches the operating point of each row that `--points auto` measures: on the choice samples, by bisection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codecbench.analysis.selection import change_of, loss_of
from codecbench.errors import CodecbenchError, DataError, PluginError
from codecbench.experiment.candidates import Candidates, row_of
from codecbench.experiment.cells import PlannedCell, Reporter
from codecbench.experiment.config import RunConfig
from codecbench.experiment.grid import Grid
from codecbench.fitting.fits import Fits
from codecbench.harness.accuracy import AccuracyPass
from codecbench.harness.chunks import ChunkActivations, chunks_of
from codecbench.harness.provenance import RunProvenance
from codecbench.harness.scored_cell import ScoredCell
from codecbench.harness.search.bisection import Bisection, Tried
from codecbench.harness.side_by_side import Pass, run_side_by_side
from codecbench.results.cell import digest, point_label
from codecbench.results.outcomes import Columns
from codecbench.results.set_values import SetValues
from codecbench.results.store import Store
from codecbench.results.summaries import Summaries
from codecbench.system.folders import temporary_folder
from codecbench.system.stopping import check_stopped
from codecbench.workers.forks import CodecProcesses
from codecbench.workers.pair import Pair
from codecbench.workload import Subset

SET_RESAMPLES = 100
"""Resamples of a set metric for the interval of its loss at a point that is tried."""


class PointSearch:
    """Finds the smallest payload within the workload's budget for rows of codecs, and keeps what it found.

    It sees the choice samples only, of which it takes as many as one chunk of the scratch space holds. A row is found
    in the results folder, and not searched again, as long as nothing has changed that the search depends on, unless
    the run is a fresh one.
    `full_model` has the full model's outcomes by subset.
    """

    def __init__(
        self, config: RunConfig, grid: Grid, pair: Pair, processes: CodecProcesses, fits: Fits, store: Store,
        provenance: RunProvenance, reporter: Reporter, full_model: Mapping[Subset, Columns],
    ) -> None:  # fmt: skip
        self.config = config
        self.grid = grid
        self.pair = pair
        self.processes = processes
        self.fits = fits
        self.store = store
        self.provenance = provenance
        self.reporter = reporter
        self.full_model = full_model
        self.budget = grid.workload.budget
        self._metric = grid.workload.metrics[0]
        self._summaries = Summaries([self._metric], self._set_values)
        self._found: dict[str, Any] = store.searches(grid.workload.name)

    def chosen(self, rows: Sequence[Candidates]) -> list[PlannedCell]:
        """Return the cell to measure of each row."""
        todo: dict[str, list[Candidates]] = {}
        for row in rows:
            if self.config.fresh or self._kept(row) is None:
                todo.setdefault(row.cells[0].key.split, []).append(row)
        for split, found in todo.items():
            self._search(split, found)
        return [self._kept(row) or row.cells[row.start] for row in rows]

    def _search(self, split: str, rows: Sequence[Candidates]) -> None:
        spec, choice = rows[0].cells[0].spec, self.grid.counts["choice"]
        self.reporter.stage(f"{split}: searching the points of {len(rows)} rows on {choice} samples")
        self.pair.use_split(split)
        chunk = chunks_of({"test": 0, "choice": choice}, spec.nbytes, self.config.scratch_gb)[0]
        with temporary_folder("search") as folder:
            accuracy = AccuracyPass(
                self.pair, self.processes, self.grid.sample_ids, self.full_model, folder=folder, seen=(), keep=0,
                timeout_s=self.config.timeout_s,
            )  # fmt: skip
            with ChunkActivations(self.pair, spec, chunk, folder) as activations:
                # To its end first: fits between the points need the device's process.
                run_side_by_side((), accuracy.tail, head=activations.run_head())
                passes = (self._bisect(accuracy, row, activations) for row in rows)
                run_side_by_side(passes, accuracy.tail)

    def _bisect(self, accuracy: AccuracyPass, row: Candidates, activations: ChunkActivations) -> Pass:
        """Try points of a row until the coarsest within the budget is found, and keep it."""
        search = Bisection(len(row.cells), row.start, self.budget, row.own)
        while (number := search.following()) is not None:
            check_stopped()
            cell = row.cells[number]
            self.reporter.update(f"{cell.label}: trying")
            tried = Tried()
            try:
                scored = ScoredCell(cell, self.fits.state_of(cell))
                with accuracy.open(scored, activations) as opened:
                    yield from accuracy.measure(opened, activations)
                tried = self._tried(scored)
            except (DataError, PluginError):  # the workload's, not the codec's
                raise
            except CodecbenchError as error:
                self.reporter.update(f"{cell.label}: {error}")
            search.add(number, tried)
        self._keep(row, search)

    def _tried(self, scored: ScoredCell) -> Tried:
        choice = self._summaries.choice(self.grid.sample_sets["choice"], scored.columns)
        change = change_of(choice)
        if change is None:
            return Tried(choice.payload_mean_bytes)
        loss = loss_of(change, self._metric)
        return Tried(choice.payload_mean_bytes, loss.loss, loss.low)

    def _set_values(self, name: str, outcomes: Columns) -> SetValues:
        """Return the values of a set metric, for few resamples: a search needs no exact interval."""
        return self.pair.device.metric_values(name, outcomes, resamples=SET_RESAMPLES)

    def _kept(self, row: Candidates) -> PlannedCell | None:
        """Return the cell that an earlier search of this row found, if it is still current."""
        found = self._found.get(self._key(row))
        point = found.get("point") if isinstance(found, dict) else None
        return next((cell for cell in row.cells if dict(cell.key.point) == point), None)

    def _keep(self, row: Candidates, search: Bisection) -> None:
        split, label = row_of(row.cells[0])
        tried = [
            {"point": dict(row.cells[at].key.point), "payload_bytes": found.payload_bytes, "loss": found.loss}
            for at, found in sorted(search.tried.items())
        ]
        chosen = row.cells[search.chosen()]
        self._found[self._key(row)] = {
            "split": split, "row": label, "budget": self.budget, "choice_set": self.grid.sample_sets["choice"],
            "point": dict(chosen.key.point), "tried": tried,
        }  # fmt: skip
        self.store.write_searches(self.grid.workload.name, self._found)
        self.reporter.log(f"{split} {label}: {point_label(chosen.key.point)}, of {len(tried)} points tried")

    def _key(self, row: Candidates) -> str:
        """Return a hash of all that the search of a row depends on."""
        first = row.cells[0]
        return digest({
            "row": row_of(first), "codec": [first.key.codec, first.key.codec_version], "points": row.points_sha256,
            "seed": first.key.seed, "budget": self.budget, "choice_set": self.grid.sample_sets["choice"],
            **self.provenance.sources(first),
        })[:16]  # fmt: skip
