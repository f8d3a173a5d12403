"""The fitted states of planned cells: finds them by key, or makes them by fits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from codecbench.codec import TensorSpec
from codecbench.descriptions.codec_info import CodecInfo
from codecbench.descriptions.workload_info import WorkloadInfo
from codecbench.errors import CodecbenchError, CodecFailure, DataError, FailureCode, PluginError
from codecbench.experiment.cells import FitSummary, PlannedCell, Reporter
from codecbench.experiment.config import RunConfig
from codecbench.experiment.fit_command import fit_command
from codecbench.experiment.grid import neighbour
from codecbench.fitting import states
from codecbench.fitting.cache import StateCache
from codecbench.fitting.fitter import Fitter
from codecbench.fitting.states import FittedState
from codecbench.results.cell import sample_set_id
from codecbench.system.stopping import check_stopped
from codecbench.workers.codec_client import CodecClient
from codecbench.workers.forks import CodecProcesses

MAX_BYTES = 4 << 30
"""The most bytes of training tensors that a fit gets: they lie in one file, beside the codec's own memory."""


def sample_limit(codec: CodecInfo, spec: TensorSpec) -> int:
    """Return how many training samples a codec gets of such tensors: as many as it asks for, within MAX_BYTES."""
    fitting = max(1, MAX_BYTES // max(1, spec.nbytes))
    return fitting if codec.fit_samples is None else min(codec.fit_samples, fitting)


class Fits:
    """Finds and makes the fitted states of cells.

    `processes` serve for the states of codecs that need no fit, `fitter` runs the fits.
    """

    def __init__(
        self,
        config: RunConfig,
        workload: WorkloadInfo,
        processes: CodecProcesses,
        fitter: Fitter,
        reporter: Reporter,
    ) -> None:
        self.config = config
        self.workload = workload
        self.fit_ids = workload.sample_ids["fit"]
        """The training samples that are here."""
        self.processes = processes
        self.fitter = fitter
        self.reporter = reporter
        self.cache = StateCache(config.cache_dir, reporter.log)
        self._data_hashes: dict[int, str] = {}
        self._fit_sets: dict[int, tuple[str, ...]] = {}
        self._missing_logged = False

    def state_of(self, cell: PlannedCell) -> FittedState:
        """Return the cell's fitted state. If there is none, fit the codec now, in the process of the fitter.

        Where no training samples are here, the state is that of an unfitted codec, if it works without a fit.

        Raises CodecFailure if `needs_fit` raised, and any error of the fit or the export.
        """
        if cell.needs_fit_fault is not None:
            raise CodecFailure(cell.needs_fit_fault)
        if not cell.needs_fit:
            return _unfitted_state(cell, self.processes, self.config.timeout_s)
        found = self.find(cell)
        if found is not None:
            return self._with_tail(cell, found)
        if cell.works_unfitted and not self.fit_ids:
            return _unfitted_state(cell, self.processes, self.config.timeout_s)
        return self._with_tail(cell, self._fit(cell))

    def _with_tail(self, cell: PlannedCell, state: FittedState) -> FittedState:
        """Return a state with what the edge's part takes from the tail; it is kept without."""
        if not cell.codec.completes_states:
            return state
        edge = self.fitter.complete(
            cell.codec, cell.spec, cell.key.split, cell.key.point, state.edge, timeout_s=self.config.timeout_s
        )
        return replace(state, edge=edge)

    def expect(self, cells: Sequence[PlannedCell]) -> None:
        """Tell the reporter which of these cells have to be fitted; if there are some, have the fits' model built."""
        lacking = [cell for cell in cells if self.lacks_fit(cell)]
        self.reporter.expect_fits(_one_a_state(self, lacking), self.config.max_fit_s)
        if lacking:
            self.fitter.warm()

    def without_long_fits(self, cells: Sequence[PlannedCell], *, requested: bool) -> list[PlannedCell]:
        """Return the cells; those that need a long fit and have no state are skipped, with the command that fits them.

        `requested` is True if each codec runs at one requested point, whatever the configuration says. With `fit` in
        the configuration, all cells are returned as they are.
        """
        if self.config.fit:
            return list(cells)
        return [
            replace(
                cell, skip_reason=f"needs a long fit: `{fit_command(self.config, cell, requested)}` makes its state"
            )
            if cell.codec.long_fit and self.lacks_fit(cell)
            else cell
            for cell in cells
        ]

    def fit_all(self, cells: Sequence[PlannedCell], into: Path | None = None, *, further: bool = False) -> FitSummary:
        """Fit every cell that needs a fit and has no state yet.

        States go to the user cache, or to `into`/<codec>, from where a package can ship them. Existing states are kept,
        with two exceptions. With `fresh` in the configuration, the cell is fitted again. With `further`, the cell is
        fitted further, from its existing state, if its codec overrides `Codec.starts_from`. A failed fit is counted and
        the others go on. Raises DataError if a state cannot be written or training data is missing.
        """
        summary = FitSummary()
        fitted = [cell for cell in cells if _takes_fit(cell)]
        self.reporter.plan(len(fitted))
        due = [cell for cell in fitted if self._is_due(cell, into, further=further)]
        self.reporter.expect_fits(_one_a_state(self, due), self.config.max_fit_s)
        if fitted and into is None:
            self.cache.require_writable()
        for cell in fitted:
            try:
                self._fit_into(cell, into, summary, further=further)
            except (DataError, PluginError):  # the workload's, not the codec's
                raise
            except CodecbenchError as error:
                if isinstance(error, CodecFailure) and error.code == FailureCode.UNSUITED:
                    self.reporter.finish("skipped", f"{cell.label}: {error}")
                    continue
                summary.add_failure(f"{cell.label}: {error}", error.frames)
                self.reporter.finish("failed", f"{cell.label}: {error}")
        return summary

    def fit_sets(self, codec: CodecInfo, spec: TensorSpec) -> tuple[str, ...]:
        """Return the sample sets whose fitted states of this codec are accepted, in order of preference.

        The first set is the codec's training samples in the complete dataset: shipped states belong to it. The last is
        the samples that are available here, on which new fits run. If nothing is missing, they are one and the same.
        """
        limit = sample_limit(codec, spec)
        if limit not in self._fit_sets:
            found = (list(ids[:limit]) for ids in (self.workload.training_ids, self.fit_ids))
            self._fit_sets[limit] = tuple(dict.fromkeys(sample_set_id("fit", ids) for ids in found))
        return self._fit_sets[limit]

    def fit_key(self, cell: PlannedCell, fit_set: str) -> str:
        """Return the key of the cell's fitted state on one of `fit_sets`."""
        key = cell.key
        return states.fit_key(self.workload.weights_sha256, fit_set, key.split, cell.codec, dict(key.point), key.seed)

    def find(self, cell: PlannedCell) -> FittedState | None:
        """Return the cell's state from the user cache or from the shipped ones, or None.

        A state that was fitted on other data under the same identifiers does not count, here and in `read`.
        """
        return self._first(cell, lambda key: self.cache.find(cell.codec, key))

    def read(self, cell: PlannedCell, folder: Path) -> FittedState | None:
        """Return the cell's state from a folder, or None."""
        return self._first(cell, lambda key: states.read(folder, key))

    def _first(self, cell: PlannedCell, find: Callable[[str], FittedState | None]) -> FittedState | None:
        """Return the first current state that `find` gives for the keys of the cell."""
        fit_sets = self.fit_sets(cell.codec, cell.spec)
        for fit_set in fit_sets:
            state = find(self.fit_key(cell, fit_set))
            if state is not None and (fit_set != fit_sets[-1] or self._is_of_this_data(state, cell)):
                return state
        return None

    def _is_of_this_data(self, state: FittedState, cell: PlannedCell) -> bool:
        """True unless the state says that it was fitted on other data than what is here now."""
        return state.data_hash is None or state.data_hash == self._data_hash(cell)

    def _sample_count(self, cell: PlannedCell) -> int:
        """Return the number of samples here that a fit of this cell takes."""
        return min(sample_limit(cell.codec, cell.spec), len(self.fit_ids))

    def _data_hash(self, cell: PlannedCell) -> str:
        """Return the hash of a few of the samples that a fit of this cell takes."""
        count = self._sample_count(cell)
        if count not in self._data_hashes:
            self._data_hashes[count] = self.fitter.data_hash(count)
        return self._data_hashes[count]

    def lacks_fit(self, cell: PlannedCell) -> bool:
        """True if the cell has to be fitted, and has no state yet."""
        if not _takes_fit(cell) or cell.needs_fit_fault is not None or (cell.works_unfitted and not self.fit_ids):
            return False
        return self.find(cell) is None

    def _present(self, cell: PlannedCell, into: Path | None) -> FittedState | None:
        """Return the cell's state where `fit_all` would write it, or None."""
        return self.read(cell, into / cell.codec.name) if into is not None else self.find(cell)

    def _is_due(self, cell: PlannedCell, into: Path | None, *, further: bool) -> bool:
        """True if `fit_all` will fit the cell."""
        goes_further = further and cell.codec.overrides_starts_from
        return self.config.fresh or goes_further or self._present(cell, into) is None

    def _fit_into(self, cell: PlannedCell, into: Path | None, summary: FitSummary, *, further: bool) -> None:
        folder = into / cell.codec.name if into is not None else None
        present = self._present(cell, into)
        before = (present or self.find(cell)) if further and cell.codec.overrides_starts_from else None
        if present is not None and before is None and not self.config.fresh:
            summary.present += 1
            self.reporter.finish("ok", f"{cell.label}: there already")
            return
        state = self._fit(cell, folder, before, required=True)
        summary.fitted += 1
        sizes = f"{len(state.device):,} and {len(state.edge):,} bytes"
        self.reporter.finish("ok", f"{cell.label}: fitted in {state.fit_s:.1f} s, {sizes}")

    def _fit(
        self,
        cell: PlannedCell,
        folder: Path | None = None,
        before: FittedState | None = None,
        *,
        required: bool = False,
    ) -> FittedState:
        """Fit one cell on the available samples, and write its state to a folder, by default the user cache.

        With `required`, a state that cannot be written there is an error. The fit starts from the state `before`, whose
        seconds are added, or else from the neighbour's state if there is one. It resumes an interrupted fit.
        """
        check_stopped()
        if not self.fit_ids:
            fetch = f"run 'codecbench data get {self.workload.dataset}'" if self.workload.dataset else "give it some"
            raise DataError(
                f"workload {self.workload.name!r}: no sample of 'fit' is here, to fit {cell.label}; {fetch}"
            )
        key, fit_set = cell.key, self.fit_sets(cell.codec, cell.spec)[-1]
        fit_key, data_hash = self.fit_key(cell, fit_set), self._data_hash(cell)
        partial_key = f"{fit_key}-{data_hash[:8]}"
        if self.config.fresh:
            self.cache.drop_partial(partial_key)
        self._log_missing_samples(cell)
        neighbour_cell = neighbour(cell)
        start = before
        if before is None and neighbour_cell is not None:
            start = (self.read(neighbour_cell, folder) if folder is not None else None) or self.find(neighbour_cell)
        self.reporter.fitting(cell, 0.0, "")
        try:
            fitted = self.fitter.fit(
                cell.codec, cell.spec, key.split, key.point, key.seed, count=self._sample_count(cell),
                groups=self.workload.fit_groups, max_s=self.config.max_fit_s,
                timeout_s=1.5 * self.config.max_fit_s + self.config.timeout_s, start=start,
                partial=self.cache.read_partial(partial_key),
                on_progress=functools.partial(self.reporter.fitting, cell),
                on_saved=lambda partial: self.cache.keep_partial(partial_key, partial),
            )  # fmt: skip
        finally:
            self.reporter.fitted()
        if before is not None:
            started_from = before.about.get("starts_from")
            fitted = replace(fitted, fit_s=(fitted.fit_s or 0.0) + (before.fit_s or 0.0))
        else:
            started_from = dict(neighbour_cell.key.point) if neighbour_cell is not None and start is not None else None
        point = cell.codec.fitted_point(key.point)
        about = {**key.to_json(), "point": point, "sample_set": fit_set, "starts_from": started_from}
        state = replace(fitted, about=about, data_hash=data_hash)
        if folder is not None:
            states.keep(fit_key, state, folder)
        else:
            self.cache.keep(fit_key, state, required=required)
        self.cache.drop_partial(partial_key)
        return state

    def _log_missing_samples(self, cell: PlannedCell) -> None:
        """Log once that a fit uses fewer samples than with the complete dataset."""
        limit = sample_limit(cell.codec, cell.spec)
        here, every = (len(ids[:limit]) for ids in (self.fit_ids, self.workload.training_ids))
        if here < every and not self._missing_logged:
            self._missing_logged = True
            fetch = f"; run 'codecbench data get {self.workload.dataset}' for all" if self.workload.dataset else ""
            self.reporter.log(f"{here:,} of {every:,} training samples are here{fetch}")


def _takes_fit(cell: PlannedCell) -> bool:
    """True if the codec takes the tensor and needs a fit."""
    return cell.is_runnable and cell.needs_fit


def _one_a_state(fits: Fits, cells: Sequence[PlannedCell]) -> list[PlannedCell]:
    """Return the cells without those that share the state of an earlier one, which is fitted for all of them."""
    found: dict[str, PlannedCell] = {}
    for cell in cells:
        found.setdefault(fits.fit_key(cell, fits.fit_sets(cell.codec, cell.spec)[-1]), cell)
    return list(found.values())


def _unfitted_state(cell: PlannedCell, processes: CodecProcesses, timeout_s: float) -> FittedState:
    """Return the state of a codec that was not fitted."""
    if not cell.codec.exports_state:
        return FittedState()
    with CodecClient(processes.start()) as client:
        return FittedState(*client.export(cell.codec.reference, cell.spec, cell.key.point, timeout_s=timeout_s))
