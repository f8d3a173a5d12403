"""A run: fits, measures and records all cells of a configuration that have no current record.

This process plans, carries payloads and writes records. It imports no torch, no codec and no workload: those are asked
and run in processes of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType

from codecbench.analysis.agreement import MadeWith, one_model, one_source_each
from codecbench.codec import TensorSpec
from codecbench.descriptions.codec_info import CodecInfo, Point, PointRequest
from codecbench.descriptions.data_hash import scored_positions
from codecbench.errors import DataError, UsageError, WorkerError
from codecbench.experiment.candidates import Candidates, by_row
from codecbench.experiment.cells import SCORED, FitSummary, PlannedCell, Reporter, Summary
from codecbench.experiment.config import RunConfig
from codecbench.experiment.grid import Grid, chosen_codecs
from codecbench.fitting.fits import Fits
from codecbench.fitting.fitter import Fitter
from codecbench.harness.accuracy import score_full_model
from codecbench.harness.provenance import RunProvenance
from codecbench.harness.records import RecordWriter
from codecbench.harness.resume import EarlierResults
from codecbench.harness.search.point_search import PointSearch
from codecbench.harness.split_run import RunParts, SplitRun
from codecbench.harness.units.estimate import RunEstimate, estimate
from codecbench.harness.units.execution import score_in_units
from codecbench.isolation.seal import Isolation
from codecbench.names import counted
from codecbench.registry import reference_file
from codecbench.results.outcomes import Columns
from codecbench.results.record import Record
from codecbench.results.set_values import RESAMPLES, SetValues
from codecbench.results.store import Store
from codecbench.results.summaries import Summaries
from codecbench.system.folders import temporary_folder
from codecbench.system.helper_modules import with_helpers
from codecbench.workers.answers import FullModelRun
from codecbench.workers.forks import CodecProcesses
from codecbench.workers.pair import Pair, WorkloadRef
from codecbench.workers.plugins import PluginCatalogue
from codecbench.workload import Subset


class Run:
    """One run of a configuration, as a context manager: `plan()` lists its cells, `execute()` does the work.

    `points` are operating points of codecs by name, which replace the configuration's codecs. Entering it starts the
    processes that are asked about plugins and workload, leaving it ends all processes. Entering raises UsageError,
    PluginError or DataError if the configuration does not fit the plugins and the data.
    """

    def __init__(self, config: RunConfig, reporter: Reporter, points: Mapping[str, Point] | None = None) -> None:
        self.config = config
        self.reporter = reporter
        self.points = points
        self.store = Store(config.out)

    def __enter__(self) -> Run:
        config = self.config
        with ExitStack() as stack:
            self.catalogue = stack.enter_context(PluginCatalogue(config.plugin))
            described = config.description
            reference = described.reference if described else self.catalogue.workload(config.workload)
            self.ref = WorkloadRef(reference, config.data_dir, config.torch_device)
            chosen = chosen_codecs(config, self.catalogue, self.points)
            self._sources = _readable(config, reference, chosen)
            self.processes = stack.enter_context(CodecProcesses(self._sources))
            self.pair = stack.enter_context(Pair(self.ref))
            self.workload = self.pair.device.describe_workload()
            self.grid = Grid(config, self.workload, self.catalogue, chosen)
            fitter = stack.enter_context(Fitter(self.pair, self.processes.sources))
            self._running = stack.pop_all()
        self.fits = Fits(config, self.workload, self.processes, fitter, self.reporter)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def isolation(self) -> Isolation:
        """The parts of the seal that hold for codec processes on this machine."""
        assert self.catalogue.isolation is not None
        return self.catalogue.isolation

    @cached_property
    def provenance(self) -> RunProvenance:
        """The provenance of the records that this run makes."""
        return RunProvenance(
            self.config, self.workload, data_hash=self._data_hash(), test_samples=self.grid.counts["test"]
        )

    @cached_property
    def earlier(self) -> EarlierResults:
        """The results that are in the folder."""
        return EarlierResults(
            self.store, self.provenance, self.reporter, choice_samples=self.grid.counts["choice"],
            fresh=self.config.fresh,
        )  # fmt: skip

    @cached_property
    def full_model_runs(self) -> dict[Subset, FullModelRun]:
        """The runs of the full model on the scored samples, by subset; on test images with two looks as well."""
        self.reporter.update(f"the full model on {counted(sum(self.grid.counts[s] for s in SCORED), 'sample')}")
        return score_full_model(self.pair, self.grid.counts, two_looks=self.workload.input_spec.image)

    @cached_property
    def cuts(self) -> dict[str, TensorSpec]:
        """The tensor spec of each cut of the model, at the split points of this run with statistics."""
        return self.pair.measured_cuts(self.grid.splits(self.pair.device_cuts()))

    @property
    def full_model(self) -> dict[Subset, Columns]:
        """The full model's outcomes on the scored samples, by subset."""
        return {subset: run.outcomes for subset, run in self.full_model_runs.items()}

    @property
    def sample_sets(self) -> Mapping[Subset, str]:
        """The identifiers of the sample sets that are scored."""
        return self.grid.sample_sets

    def plan(self) -> list[PlannedCell]:
        """Return every cell of this configuration, in the order of execution.

        Cells that need a long fit and have no state are skipped, unless the configuration asks for fits. Of a row whose
        point has yet to be searched, it is the cell with which the search begins.
        """
        return [cell for cells, row in self._rows() for cell in (cells if row is None else [row.cells[row.start]])]

    def _rows(self) -> list[tuple[list[PlannedCell], Candidates | None]]:
        """Return the cells of each row, with the candidates of those rows whose point is to be searched."""
        planned = self.grid.cells(self.cuts)
        cells = self.fits.without_long_fits(planned, requested=self.points is not None)
        if self.config.points != "auto":
            return [(cells, None)]
        found: list[tuple[list[PlannedCell], Candidates | None]] = []
        for row in by_row(cells).values():
            runnable = [cell for cell in row if cell.is_runnable]
            found.append((runnable or row[:1], self.grid.candidates(row)))
        return found

    def _searched(self) -> list[PlannedCell]:
        """Return every cell to measure; the point of each row is searched where there is a choice."""
        rows = self._rows()
        searched = [row for _, row in rows if row is not None]
        if not searched:
            return [cell for cells, _ in rows for cell in cells]
        self.pair.warm()
        self.fits.expect([row.cells[row.start] for row in searched])
        search = PointSearch(
            self.config, self.grid, self.pair, self.processes, self.fits, self.store, self.provenance, self.reporter,
            self.full_model,
        )  # fmt: skip
        chosen = iter(search.chosen(searched))
        return [cell for cells, row in rows for cell in (cells if row is None else [next(chosen)])]

    def estimate(self, cells: Sequence[PlannedCell]) -> RunEstimate:
        """Return what these cells will take."""
        return estimate(self.config, cells, self.grid.counts, self.pair.device, self.fits, self.store)

    def execute(self) -> Summary:
        """Measure every cell that has no current record. The results folder must be locked.

        Raises CodecbenchError if the run cannot continue.
        """
        cells = self._searched() if self.config.points == "auto" else self.plan()
        todo, summary = self.earlier.missing(cells)
        self.catalogue.close()  # the plugins have said all
        self.reporter.plan(len(todo))
        self.reporter.expect(sum(cell.is_runnable for cell in todo) * sum(self.grid.counts[s] for s in SCORED))
        if self.workload.names_one_metric:
            self.reporter.log(
                f"workload {self.workload.name!r}: `metric` is now `metrics`, a tuple; the next version no longer "
                "takes the old name"
            )
        if todo and self.isolation.advice:
            self.reporter.log(f"codecs are sealed with less than they could be: {self.isolation.advice}")
        writer = RecordWriter(
            self.store, self.provenance, self.reporter, summary,
            summaries=Summaries(self.workload.metrics, self._set_values), choice_set=self.sample_sets["choice"],
            isolation=self.isolation,
        )  # fmt: skip
        if any(cell.is_runnable for cell in todo):
            if self.config.executor == "local":
                self.pair.warm()
            self.fits.expect(todo)
            writer.compare_looks(self.full_model_runs["test"])
        with temporary_folder("tensors") as tensors:
            splits: Iterable[SplitRun] = self._split_runs(todo, writer)
            if self.config.executor != "local":
                splits = self._scored_in_units(list(splits), writer, tensors)
            for split in splits:
                self._execute(split)
        self._describe_layers()
        return summary

    def current(self, records: Iterable[Record]) -> tuple[list[Record], list[str]]:
        """Return the workload's records without the outdated ones of this run's sample set, and sentences on these.

        A table of them never shows the larger group of earlier records. Of records of other sample sets, of other
        codecs and of older versions, tables say themselves what they leave out.
        """
        of_workload = [found for found in records if found.key.workload == self.config.workload]
        in_set = [found for found in of_workload if found.key.sample_set == self.sample_sets["test"]]
        others = [found for found in of_workload if found.key.sample_set != self.sample_sets["test"]]
        here = self.provenance
        made = MadeWith(here.weights_sha256, here.workload.source_hash, here.workload.data_hash)
        of_model, left_out = one_model(in_set, made)
        run = {(codec.name, codec.version): codec.source_hash for codec, _ in self.grid.codecs}
        of_run = [found for found in of_model if (found.key.codec, found.key.codec_version) in run]
        others += [found for found in of_model if (found.key.codec, found.key.codec_version) not in run]
        shown, other_sources = one_source_each(of_run, {name: digest for (name, _), digest in run.items()})
        return [*shown, *others], [*left_out, *other_sources]

    def fit(self, into: Path | None = None, *, further: bool = False) -> FitSummary:
        """Fit every point of this configuration that needs a fit and has no state yet. Measures nothing.

        See `Fits.fit_all` for the folder of the states and for repeated fits.
        """
        if further and self.config.fresh:
            raise UsageError("--fresh forgets the states that are there and --further starts from them; take one")
        return self.fits.fit_all(self.grid.cells(self.cuts), into, further=further)

    def parts(self, writer: RecordWriter) -> RunParts:
        """Return what the splits of this run share."""
        return RunParts(
            self.config, self.grid, self.pair, self.processes, self.fits, self.earlier, self.store, self.provenance,
            writer, self.reporter, self.full_model,
        )  # fmt: skip

    def _data_hash(self) -> str:
        """Return the hash of a few samples."""
        return self.pair.device.data_hash(scored_positions(self.grid.counts, len(self.workload.sample_ids["fit"])))

    def _set_values(self, name: str, outcomes: Columns) -> SetValues:
        """Return the values of a set metric of the workload, whose code the device's process has."""
        return self.pair.device.metric_values(name, outcomes, resamples=RESAMPLES)

    def _split_runs(self, cells: Sequence[PlannedCell], writer: RecordWriter) -> Iterator[SplitRun]:
        """Yield the runs of the splits of these cells, once the cells that cannot run have their records."""
        by_split: dict[str, list[PlannedCell]] = {}
        for cell in cells:
            by_split.setdefault(cell.key.split, []).append(cell)
        for found in by_split.values():
            for cell in found:
                if cell.fault is not None:
                    writer.failed(cell, cell.fault)
                elif cell.skip_reason is not None:
                    writer.skipped(cell, cell.skip_reason)
            runnable = [cell for cell in found if cell.is_runnable]
            if runnable:
                yield SplitRun(self.parts(writer), runnable)

    def _scored_in_units(self, splits: Sequence[SplitRun], writer: RecordWriter, tensors: Path) -> Sequence[SplitRun]:
        """Score all cells of these splits in units; return the splits of which cells are left to time."""
        if splits:
            sample_s = self.full_model_runs["test"].forward_s / self.grid.counts["test"]
            score_in_units(self.parts(writer), splits, self._sources, tensors, sample_s=sample_s)
        if self.config.measure != "accuracy":
            return [split for split in splits if split.cells]
        for cell in (cell for split in splits for cell in split.cells):
            writer.scored(cell)
        return []

    def _execute(self, split: SplitRun) -> None:
        self.reporter.stage(
            f"{split.cells[0].key.split}: {counted(len(split.cells), 'cell')}, "
            f"{counted(self.grid.counts['test'], 'test sample')}"
        )
        self.processes.warm()
        self.pair.use_split(split.cells[0].key.split)
        split.execute()

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


def _readable(config: RunConfig, workload: str, chosen: Sequence[tuple[CodecInfo, PointRequest | None]]) -> list[Path]:
    """Return the plugin files that codecs may read, with the modules beside them that these import.

    The workload's file, which may compute samples and labels, is not among them. `workload` is its reference.
    """
    workload_file, codec_files = reference_file(workload), {codec.file for codec, _ in chosen}
    paths = [path.resolve() for path in config.plugin]
    own = [path for path in paths if str(path) != workload_file or str(path) in codec_files]
    return [path for path in with_helpers(own) if str(path) != workload_file or path in own]
