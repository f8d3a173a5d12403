"""A run: fits, measures and records all cells of a configuration that have no current record.

For each split, the head runs once on all samples. The accuracy pass of every cell runs on the test samples and on the
choice samples. Then one timing pass runs through all cells of the split, sample by sample, so that drift of the machine
affects all cells equally.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from codecbench.errors import CodecbenchError, DataError, UsageError, WorkerError
from codecbench.experiment.cells import SCORED, FitSummary, PlannedCell, Reporter, Summary
from codecbench.experiment.config import RunConfig
from codecbench.experiment.grid import Grid, chosen_codecs
from codecbench.fitting.fits import Fits
from codecbench.fitting.fitter import Fitter
from codecbench.harness.accuracy import AccuracyPass, Baseline, score_full_model
from codecbench.harness.opened_cell import OpenedCell, start_deadline
from codecbench.harness.provenance import RunProvenance
from codecbench.harness.records import RecordWriter
from codecbench.harness.resume import EarlierResults
from codecbench.harness.timing import Failure, TimingPass
from codecbench.names import pick
from codecbench.registry import codecs, manager, reference, workloads
from codecbench.results.record import Samples
from codecbench.results.store import Store
from codecbench.workers.pair import Pair, WorkloadRef
from codecbench.workload import Subset


@dataclass(frozen=True)
class _Scored:
    """A cell whose accuracy pass is done."""

    opened: OpenedCell
    columns: Mapping[str, NDArray[Any]]
    samples: Samples


class Run:
    """One run of a configuration. `plan()` lists its cells; `execute()` does the work."""

    def __init__(self, config: RunConfig, reporter: Reporter) -> None:
        self.config = config
        self.reporter = reporter
        pm = manager(config.plugin)
        workload_class = pick(workloads(pm), config.workload, "workload")
        self.workload = workload_class(config.data_dir)
        chosen = chosen_codecs(config, codecs(pm))
        ids: dict[Subset, Sequence[int]] = {s: list(self.workload.sample_ids(s)) for s in ("fit", *SCORED)}
        self.grid = Grid(config, workload_class, chosen, ids)
        self.sample_sets = self.grid.sample_sets
        self.store = Store(config.out)
        self.ref = WorkloadRef(reference(workload_class), config.data_dir, config.torch_device)
        self.pair = Pair(self.ref, self.grid.counts)
        self.fitter = Fitter(self.ref)
        self.fits = Fits(config, self.workload, ids["fit"], self.pair, self.fitter, reporter)
        self.provenance = RunProvenance(
            config, [codec for codec, _ in chosen],
            weights_sha256=self.workload.weights_sha256(), test_samples=self.grid.counts["test"],
        )  # fmt: skip
        self.earlier = EarlierResults(
            self.store, self.provenance, reporter, choice_samples=self.grid.counts["choice"], fresh=config.fresh
        )
        self._baseline: Baseline | None = None

    def plan(self) -> list[PlannedCell]:
        """Return every cell of this configuration, in the order of execution."""
        _ = self.pair.device  # its start fills `pair.cuts`
        return self.grid.cells(self.pair.cuts)

    def estimate_s(self, cells: Sequence[PlannedCell]) -> float:
        """Return the estimated seconds of these cells: from one forward pass of the model, and 1 s of overhead each."""
        count = min(32, self.grid.counts["test"])
        sample_s = self.pair.device.run_full_model("test", range(count)).forward_s / count
        samples = sum(self.grid.counts.values())
        running = [c for c in cells if c.skip_reason is None]
        return len(running) * (1.0 + sample_s * (samples + 2 * self.config.timing_samples)) + 6.0

    def execute(self) -> Summary:
        """Measure every cell that has no current record. Raises CodecbenchError if the run cannot continue."""
        with self.store.locked(), self.pair, self.fitter:
            todo, summary = self.earlier.missing(self.plan())
            self.reporter.plan(len(todo))
            writer = RecordWriter(
                self.store, self.provenance, self.reporter, summary,
                metric=self.workload.metric, choice_set=self.grid.sample_sets["choice"],
            )  # fmt: skip
            by_split: dict[str, list[PlannedCell]] = {}
            for cell in todo:
                by_split.setdefault(cell.key.split, []).append(cell)
            for split, cells in by_split.items():
                self._run_split(split, cells, writer)
            self._describe_layers()
        return summary

    def fit(self, into: Path | None = None, *, further: bool = False) -> FitSummary:
        """Fit every point of this configuration that needs a fit and has no state yet. Measures nothing.

        See `Fits.fit_all` for the folder of the states and for repeated fits.
        """
        if further and self.config.fresh:
            raise UsageError("--fresh forgets the states that are there and --further starts from them; take one")
        with self.pair, self.fitter:
            return self.fits.fit_all(self.plan(), into, further=further)

    def prepare(self, split: str) -> AccuracyPass:
        """Return the accuracy pass of a split. Scores the full model at the first call; sets both processes up."""
        if self._baseline is None:
            self._baseline = score_full_model(self.pair, self.workload, self.grid.counts)
        self.pair.use_split(split)
        return AccuracyPass(self.pair, self.workload, self.grid.sample_ids, self._baseline)

    def _run_split(self, split: str, cells: Sequence[PlannedCell], writer: RecordWriter) -> None:
        running: list[PlannedCell] = []
        for cell in cells:
            if cell.fault is not None:
                writer.failed(cell, cell.fault)
            elif cell.skip_reason is not None:
                writer.skipped(cell, cell.skip_reason)
            else:
                running.append(cell)
        if not running:
            return
        self.reporter.stage(f"{split}: {len(running)} cells, {self.grid.counts['test']} test samples")
        accuracy = self.prepare(split)
        scored: list[_Scored] = []
        for cell in running:
            self.reporter.update(cell.label)
            try:
                scored.append(self._score(cell, accuracy))
            except DataError:
                raise
            except CodecbenchError as error:
                writer.failed(cell, str(error))
        self._time(split, scored, writer)

    def _score(self, cell: PlannedCell, accuracy: AccuracyPass) -> _Scored:
        opened = OpenedCell(self.pair, cell, self.fits.state_of(cell))
        kept = self.earlier.accuracy(cell)
        if kept is not None:
            return _Scored(opened, *kept)
        try:
            columns = accuracy.measure(opened, start_deadline(self.pair, self.config.timeout_s))
        except CodecbenchError:
            # What the codec has left in the processes, memory above all, must not affect the next cell.
            self.pair.replace()
            raise
        return _Scored(opened, columns, self.store.write_samples(cell.key, columns, self.provenance.sources(cell)))

    def _time(self, split: str, scored: Sequence[_Scored], writer: RecordWriter) -> None:
        """Time the cells of a split, and write their records."""
        if not scored:
            return
        self.reporter.stage(f"{split}: timing")
        test_samples = self.grid.counts["test"]
        timing = TimingPass(
            self.pair, test_samples=test_samples, timing_samples=self.config.timing_samples,
            timeout_s=self.config.timeout_s,
        )  # fmt: skip
        timed = timing.measure([item.opened for item in scored])
        for item in scored:
            cell, timings = item.opened.cell, timed[item.opened.id]
            if isinstance(timings, Failure):
                writer.failed(cell, timings.reason)
            else:
                raw_bytes = self.pair.raw_bytes["test"] / test_samples
                writer.ok(cell, item.opened.state, item.columns, item.samples, timings, raw_bytes=raw_bytes)

    def _describe_layers(self) -> None:
        """Write the layers of the full model, so that device profiles can be applied to it later without torch."""
        try:
            found = self.store.layers(self.workload.name)
        except DataError as error:
            self.reporter.log(f"{error}; describing the model again")
            found = None
        if found is not None and found.weights_sha256 == self.provenance.weights_sha256:
            return
        try:
            layers = self.pair.device.layers("test", 0, timeout_s=self.config.timeout_s)
        except WorkerError as error:
            # Cells do not need it; only predictions for other devices do.
            self.reporter.log(
                f"the model's layers cannot be described ({error}); times on other devices are not predicted"
            )
            return
        self.store.write_layers(self.workload.name, layers)
