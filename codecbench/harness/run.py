"""The loop over cells: what is skipped, resumed, fitted, measured and recorded.

For each split: the heads run once; every cell's accuracy pass runs on the test samples and on the choice samples; then
one timing pass goes through all cells of the split sample by sample, so that drift of the machine hits all alike.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from codecbench import __version__, measure
from codecbench.codec import Codec, TensorSpec
from codecbench.devices.layers import ModelLayers
from codecbench.errors import CodecbenchError, CodecFailure, DataError, UsageError, WorkerError, WorkerTimeout, one_line
from codecbench.experiment.config import RunConfig, parse_codec
from codecbench.fitting import states
from codecbench.fitting.fitter import Fitter
from codecbench.harness import provenance
from codecbench.harness.quality import psnr_db, ssim
from codecbench.harness.source_hash import source_sha256
from codecbench.names import pick, suggestion
from codecbench.registry import check_points, codecs, manager, reference, workloads
from codecbench.results.cell import CellKey, point_label, row_label, sample_set_id
from codecbench.results.record import (
    Cost,
    Key,
    NewerSchemaError,
    Provenance,
    Quality,
    Record,
    Samples,
    Seconds,
    Size,
    TensorGroup,
    Time,
    Timed,
)
from codecbench.results.statistics import payload_summary, summarise_choice, summarise_task
from codecbench.results.store import Store
from codecbench.workers.client import Worker
from codecbench.workers.pair import Pair, WorkloadRef, chunks
from codecbench.workers.protocol import Reply, split_outputs, unpack_arrays
from codecbench.workload import Subset, Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Answer = TypeVar("Answer")

WARM_UP = 3
SCORED: tuple[Subset, ...] = ("test", "choice")


class Reporter(Protocol):
    """Where a run says what it does."""

    def plan(self, cells: int) -> None:
        """How many cells will be worked on."""

    def stage(self, text: str) -> None:
        """What begins now, for a whole split."""

    def working(self, text: str) -> None:
        """What is being done now, for one cell."""

    def done(self, status: str, text: str) -> None:
        """One cell has ended."""

    def say(self, line: str) -> None:
        """A line for the user."""


@dataclass(frozen=True)
class PlannedCell:
    """A cell with what is needed to run it. `fault` is what the codec raised when it was asked about this tensor."""

    key: CellKey
    codec: type[Codec]
    spec: TensorSpec
    skip_reason: str | None
    fault: str | None = None

    @property
    def label(self) -> str:
        """`split codec point`, for people."""
        return " ".join(filter(None, (self.key.split, self.key.codec, point_label(self.key.point))))


@dataclass
class Summary:
    """How a run ended: cells by status, those that were there already, and those measured again as stale."""

    ok: int = 0
    skipped: int = 0
    failed: int = 0
    present: int = 0
    stale: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass
class FitSummary:
    """How fits ended: those made, those that were there already, and what failed."""

    fitted: int = 0
    present: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass
class _Scores:
    """Per-sample outcomes of a subset."""

    numerators: NDArray[np.float64]
    denominators: NDArray[np.float64]


@dataclass
class _Measured:
    """A cell between its accuracy pass and its record."""

    cell: PlannedCell
    state: states.FittedState
    columns: Mapping[str, NDArray[Any]]
    samples: Samples
    handles: tuple[int, int] = (0, 0)
    generation: int = -1
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"encode_s": [], "decode_s": [], "tail_s": []})
    payload_bytes: list[int] = field(default_factory=list)
    cost: Cost | None = None
    failure: str | None = None


class Run:
    """One run of a configuration. `plan()` lists its cells; `execute()` does the work."""

    def __init__(self, config: RunConfig, reporter: Reporter) -> None:
        self.config = config
        self.reporter = reporter
        pm = manager(config.plugin)
        self.workload_class = pick(workloads(pm), config.workload, "workload")
        self.workload: Workload = self.workload_class(config.data_dir)
        self.codecs = codecs(pm)
        self.asked = self._asked_codecs()
        self.ids: dict[Subset, list[int]] = {s: list(self.workload.sample_ids(s)) for s in ("fit", "choice", "test")}
        self.counts = self._counts()
        self.sample_sets = {s: sample_set_id(s, self.ids[s][:n]) for s, n in self.counts.items()}
        self._fit_sets: dict[int | None, tuple[str, ...]] = {}
        self._said_what_is_missing = False
        self.store = Store(config.out)
        self.ref = WorkloadRef(reference(self.workload_class), config.data_dir, config.torch_device)
        self.pair = Pair(self.ref, self.counts)
        self.fitter = Fitter(self.ref)
        self.targets: dict[Subset, list[Any]] = {}
        self.uncompressed: dict[Subset, _Scores] = {}
        self.weights_sha256 = self.workload.weights_sha256()
        self.started_utc = measure.utc_now()
        self.source_hashes = {codec: source_sha256(codec) for codec, _ in self.asked}

    def _asked_codecs(self) -> list[tuple[type[Codec], dict[str, Any] | None]]:
        """Codec classes with the one point asked for, or None for the preset's points."""
        if not self.config.codec:
            return [(codec, None) for codec in self.codecs.values()]
        asked = [parse_codec(text) for text in self.config.codec]
        return [(pick(self.codecs, name, "codec"), point or None) for name, point in asked]

    def _counts(self) -> dict[Subset, int]:
        wanted, there = self.config.wanted_samples, len(self.ids["test"])
        if wanted is not None and wanted > there:
            fetch = f"; run 'codecbench data get {self.workload.dataset}' for more" if self.workload.dataset else ""
            raise UsageError(f"--samples {wanted}: workload {self.workload.name!r} has {there} test samples{fetch}")
        test = there if wanted is None else wanted
        choice = self.config.choice_samples(test, len(self.ids["choice"]))
        return {"test": test, "choice": choice}

    # --- the grid -----------------------------------------------------------------------------------------------

    def plan(self) -> list[PlannedCell]:
        """Every cell of this configuration, in the order in which it will run."""
        _ = self.pair.device
        cuts = self.pair.cuts
        return [cell for split in self._splits(cuts) for cell in self._cells(split, cuts[split])]

    def _splits(self, cuts: Mapping[str, TensorSpec]) -> list[str]:
        wanted = self.config.split or (cuts if self.config.all_splits else self.workload.default_splits)
        for name in wanted:
            if name not in cuts:
                hint = suggestion(name, cuts) or f"; see 'codecbench list splits --workload {self.workload.name}'"
                raise UsageError(f"no split point {name!r}{hint}")
        return list(dict.fromkeys(wanted))

    def _cells(self, split: str, spec: TensorSpec) -> list[PlannedCell]:
        cells: dict[str, PlannedCell] = {}
        for codec, asked in self.asked:
            points, fault = _asking(self._points, codec, spec, asked)
            for point in points or [{}]:
                key = CellKey(
                    self.workload.name, split, codec.name, codec.version, point, self.config.seed,
                    self.sample_sets["test"],
                )  # fmt: skip
                reason, fault_here = (None, fault) if fault else _asking(_skip_reason, codec, spec, point)
                cells[key.cell] = PlannedCell(key, codec, spec, reason, fault_here)
        return self._neighbours_first(list(cells.values()))

    def _points(self, codec: type[Codec], spec: TensorSpec, point: dict[str, Any] | None) -> list[dict[str, Any]]:
        defaults = codec.point_defaults(spec)
        if point is not None:
            for key in point:
                if key not in defaults:
                    takes = ", ".join(defaults) or "none"
                    raise UsageError(
                        f"codec {codec.name!r} has no argument {key!r}{suggestion(key, defaults)}; it takes: {takes}"
                    )
            return [{**defaults, **{key: _like(defaults[key], value) for key, value in point.items()}}]
        points = codec.quick_points_for(spec) if self.config.preset == "quick" else codec.points_for(spec)
        check_points(codec, points)
        return [{**defaults, **p} for p in points]

    # --- the work -----------------------------------------------------------------------------------------------

    def execute(self) -> Summary:
        """Measure every cell that has no current record. Raises CodecbenchError where the run cannot go on."""
        summary = Summary()
        with self.store.locked(), self.pair, self.fitter:
            todo = [cell for cell in self.plan() if not self._is_present(cell, summary)]
            self.reporter.plan(len(todo))
            by_split: dict[str, list[PlannedCell]] = {}
            for cell in todo:
                by_split.setdefault(cell.key.split, []).append(cell)
            for split, cells in by_split.items():
                self._run_split(split, cells, summary)
            self._describe_layers()
        return summary

    def _describe_layers(self) -> None:
        """Keep what the uncut model computes, so that device profiles can be applied to it later without torch."""
        try:
            found = self.store.layers(self.workload.name)
        except DataError as error:
            self.reporter.say(f"{error}; describing the model again")
            found = None
        if found is not None and found.weights_sha256 == self.weights_sha256:
            return
        try:
            reply = self.pair.device.call("layers", {"subset": "test", "position": 0}, timeout_s=self.config.timeout_s)
        except WorkerError as error:
            # Cells do not need it; only predictions for other devices do.
            self.reporter.say(
                f"the model's layers cannot be described ({error}); times on other devices are not predicted"
            )
            return
        self.store.write_layers(self.workload.name, ModelLayers.from_json(reply.fields["layers"]))

    def estimate_s(self, cells: Sequence[PlannedCell]) -> float:
        """A rough time for these cells, from one forward pass of the model and a second of work around each cell."""
        count = min(32, self.counts["test"])
        reply = self.pair.device.call("whole", {"subset": "test", "positions": list(range(count))})
        sample_s = float(reply.fields["forward_s"]) / count
        samples = sum(self.counts[s] for s in SCORED)
        running = [c for c in cells if c.skip_reason is None]
        return len(running) * (1.0 + sample_s * (samples + 2 * self.config.timing_samples)) + 6.0

    def _is_present(self, cell: PlannedCell, summary: Summary) -> bool:
        try:
            record = self.store.find(cell.key)
        except NewerSchemaError:
            raise
        except DataError as error:
            self.reporter.say(f"{error}; measuring the cell again")
            self.store.discard(cell.key)
            record = None
        if record is None:
            return False
        if self.config.fresh:
            self.store.discard(cell.key)
            return False
        if not self._is_current(cell, record.provenance.source_hash, record.provenance.weights_hash):
            self.reporter.say(f"{cell.label}: the codec's source or the weights have changed; measuring it again")
            self.store.discard(cell.key)
            summary.stale += 1
            return False
        if record.choice is not None and record.choice.n < self.counts["choice"]:
            asked = self.counts["choice"]
            self.reporter.say(f"{cell.label}: has {record.choice.n} choice samples, not {asked}; measuring it again")
            self.store.discard(cell.key)
            return False
        if record.status == "skipped" and cell.skip_reason is None:
            return False  # what was missing then, an optional package say, is there now
        summary.present += 1
        if record.status == "failed":
            summary.failures.append(f"{cell.label}: {record.reason} (in an earlier run; --fresh tries again)")
        return True

    def _is_current(self, cell: PlannedCell, source_hash: str, weights_hash: str) -> bool:
        return source_hash == self.source_hashes[cell.codec] and weights_hash == self.weights_sha256

    def _run_split(self, split: str, cells: list[PlannedCell], summary: Summary) -> None:
        for cell in cells:
            if cell.fault is not None:
                self._commit(cell, summary, "failed", cell.fault)
            elif cell.skip_reason is not None:
                self._commit(cell, summary, "skipped", cell.skip_reason)
        running = [c for c in cells if c.skip_reason is None and c.fault is None]
        if not running:
            return
        self.reporter.stage(f"{split}: {len(running)} cells, {self.counts['test']} test samples")
        self.prepare(split)
        measured: list[_Measured] = []
        for cell in running:
            self.reporter.working(cell.label)
            try:
                measured.append(self._accuracy_of(cell))
            except CodecbenchError as error:
                self._fail(cell, summary, error)
        self._time(split, measured)
        for item in measured:
            if item.failure is not None:
                self._commit(item.cell, summary, "failed", item.failure)
            else:
                self._commit_ok(item, summary)

    def _fail(self, cell: PlannedCell, summary: Summary, error: CodecbenchError) -> None:
        if isinstance(error, DataError) and not isinstance(error, WorkerError):
            raise error
        self._commit(cell, summary, "failed", str(error))

    def prepare(self, split: str) -> None:
        """Set both processes up for a split, and score the uncut model on the same samples in the same chunks, once."""
        for subset in SCORED if not self.uncompressed else ():
            self.targets[subset] = self.workload.targets(subset, list(range(self.counts[subset])))
            outputs, _ = self.run_uncut(subset)
            self.uncompressed[subset] = self._score(subset, outputs)
        self.pair.use_split(split)

    def run_uncut(self, subset: Subset) -> tuple[list[tuple[Any, ...]], float]:
        """Outputs of the uncut model on a subset's samples, and the seconds of its batched forward passes alone."""
        outputs: list[tuple[Any, ...]] = []
        forward_s = 0.0
        device = self.pair.device
        with self.pair.all_cores(device):
            for chunk in chunks(self.counts[subset]):
                reply = device.call("whole", {"subset": subset, "positions": chunk}, timeout_s=3600)
                outputs += split_outputs(reply)[0]
                forward_s += reply.fields["forward_s"]
        return outputs, forward_s

    def _score(self, subset: Subset, outputs: Sequence[tuple[Any, ...]]) -> _Scores:
        import numpy as np

        pairs = [self.workload.score(o, t) for o, t in zip(outputs, self.targets[subset], strict=True)]
        numerators, denominators = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        return _Scores(numerators, denominators)

    # --- accuracy -----------------------------------------------------------------------------------------------

    def _accuracy_of(self, cell: PlannedCell) -> _Measured:
        import numpy as np

        state = self._state_of(cell)
        partial = self.store.partial(cell.key)
        if partial is not None:
            columns, values, samples = partial
            whole = int((columns["subset"] == "choice").sum()) == self.counts["choice"]
            current = self._is_current(cell, values["source_hash"], values["weights_hash"])
            if whole and current and not self.config.fresh:
                return _Measured(cell, state, columns, samples)
        try:
            deadline = self._deadline()
            handles = self.open_codec(cell, state, deadline)
            parts = [self.accuracy_pass(handles, s, cell, deadline) for s in SCORED]
            columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        except CodecbenchError:
            # Whatever the codec left in the processes, memory above all, must not meet the next cell.
            self.pair.replace()
            raise
        values = {"source_hash": self.source_hashes[cell.codec], "weights_hash": self.weights_sha256}
        samples = self.store.write_samples(cell.key, columns, values)
        return _Measured(cell, state, columns, samples, handles, self.pair.generation)

    def _deadline(self) -> measure.Deadline:
        """The cell's time limit, from when both processes stand ready: that they had to start anew is not its fault."""
        _ = self.pair.device, self.pair.edge
        return measure.Deadline(self.config.timeout_s)

    def ready(self, cell: PlannedCell) -> tuple[int, int]:
        """Set both processes up for one cell; returns the handles of the codec's instances on device and edge."""
        self.prepare(cell.key.split)
        return self.open_codec(cell, self._state_of(cell), self._deadline())

    def open_codec(self, cell: PlannedCell, state: states.FittedState, deadline: measure.Deadline) -> tuple[int, int]:
        """Handles to fresh instances in the device and the edge process, restored from a state."""
        ref, point = reference(cell.codec), cell.key.point
        device, edge = self.pair.device, self.pair.edge
        return (
            device.open_codec(ref, cell.spec, point, "device", state.device, timeout_s=deadline.remaining_s()),
            edge.open_codec(ref, cell.spec, point, "edge", state.edge, timeout_s=deadline.remaining_s()),
        )

    def accuracy_pass(
        self, handles: tuple[int, int], subset: Subset, cell: PlannedCell, deadline: measure.Deadline
    ) -> dict[str, NDArray[Any]]:
        """Encode, carry, decode, run the tail and score every sample of a subset; returns its columns.

        The device encodes the next chunk while the edge decodes the last.
        """
        import numpy as np

        device, edge = self.pair.device, self.pair.edge
        keep = cell.spec.image and subset == "test"
        states_bound = cell.codec.bound_bytes is not Codec.bound_bytes
        ask_bounds = states_bound and subset == "test"  # a table shows their mean over test samples alone
        bounds: list[float | None] = []
        outputs: list[tuple[Any, ...]] = []
        sizes: list[int] = []
        quality: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        groups = chunks(self.counts[subset])

        def ask(chunk: int) -> None:
            fields = {"handle": handles[0], "subset": subset, "chunk": chunk, "bounds": ask_bounds}
            device.send("encode", fields)

        ask(0)
        for chunk, positions in enumerate(groups):
            payloads = _receive(device, deadline)
            if chunk + 1 < len(groups):
                ask(chunk + 1)
            sizes += [len(p) for p in payloads.blobs]
            bounds += payloads.fields.get("bound_bytes", [None] * len(positions))
            try:
                edge.send("decode", {"handle": handles[1], "keep": keep}, payloads.blobs)
                reply = _receive(edge, deadline)
            except CodecbenchError:
                self._drain(device, deadline)
                raise
            part, rest = split_outputs(reply)
            outputs += part
            if keep:
                decoded = unpack_arrays(reply.fields["decoded"], rest)
                originals = self.workload.inputs(subset, positions)
                pictures = np.stack(originals), np.stack(decoded)
                quality.append((psnr_db(*pictures), ssim(*pictures)))
        scores, plain = self._score(subset, outputs), self.uncompressed[subset]
        columns: dict[str, NDArray[Any]] = {
            "subset": np.array([subset] * len(sizes)),
            "sample_id": np.array(self.ids[subset][: len(sizes)], dtype=np.int64),
            "payload_bytes": np.array(sizes, dtype=np.int64),
            "numerator": scores.numerators, "denominator": scores.denominators,
            "uncompressed_numerator": plain.numerators, "uncompressed_denominator": plain.denominators,
        }  # fmt: skip
        # Seven digits are more than these are good for, and half as large on disk.
        if states_bound:
            columns["bound_bytes"] = np.array([np.nan if b is None else b for b in bounds], dtype=np.float32)
        if cell.spec.image:
            missing = np.full(len(sizes), np.nan, dtype=np.float32)
            for at, name in enumerate(("psnr_db", "ssim")):
                columns[name] = np.concatenate([q[at] for q in quality]).astype(np.float32) if keep else missing
        return columns

    def _drain(self, device: Worker, deadline: measure.Deadline) -> None:
        """Take the answer that is still under way, so that the device can serve the next cell."""
        if device.pending:
            try:
                _receive(device, deadline)
            except CodecbenchError:
                self.pair.replace()

    # --- fitting ------------------------------------------------------------------------------------------------

    def fit(self, into: Path | None = None, *, further: bool = False) -> FitSummary:
        """Fit every point of this configuration that needs it and has no state yet, and measure nothing.

        States go to the user cache, or to `into`/<codec>, from where a package can ship them. Those that are there are
        left alone, unless the configuration says `fresh`; or `further` is asked for and the codec's fits start from
        states at all (`Codec.starts_from`): then they are where the next fit starts. A fit that fails is counted, and
        the others go on.
        """
        if further and self.config.fresh:
            raise UsageError("--fresh forgets the states that are there and --further starts from them; take one")
        summary = FitSummary()
        with self.pair, self.fitter:
            cells = [cell for cell in self.plan() if self._is_fitted(cell)]
            self.reporter.plan(len(cells))
            for cell in cells:
                self.reporter.working(f"{cell.label}: fitting")
                try:
                    self._fit_into(cell, into, summary, further=further)
                except CodecbenchError as error:
                    if isinstance(error, DataError):
                        raise
                    summary.failures.append(f"{cell.label}: {error}")
                    self.reporter.done("failed", f"{cell.label}: {error}")
        return summary

    def _is_fitted(self, cell: PlannedCell) -> bool:
        """Whether this cell's codec takes the tensor and has something to learn."""
        if cell.fault is not None or cell.skip_reason is not None:
            return False
        return bool(_asking(cell.codec.needs_fit, cell.spec, **cell.key.point)[0])

    def _fit_into(self, cell: PlannedCell, into: Path | None, summary: FitSummary, *, further: bool) -> None:
        folder = into / cell.codec.name if into is not None else None
        there = self._read(cell, folder) if folder is not None else self._find(cell)
        own, default = (inspect.getattr_static(kind, "starts_from") for kind in (cell.codec, Codec))
        before = (there or self._find(cell)) if further and own is not default else None
        if there is not None and before is None and not self.config.fresh:
            summary.present += 1
            self.reporter.done("ok", f"{cell.label}: there already")
            return
        state = self._fit(cell, folder, before)
        summary.fitted += 1
        sizes = f"{len(state.device):,} and {len(state.edge):,} bytes"
        self.reporter.done("ok", f"{cell.label}: fitted in {state.fit_s:.1f} s, {sizes}")

    def fit_sets(self, codec: type[Codec]) -> tuple[str, ...]:
        """The sample sets under which a fitted state of this codec is looked for, in turn; a fit is made on the last.

        The first is what the codec would be fitted on with the whole dataset there: states that ship are of that one.
        The last is what can be fitted on here. They are one where nothing is missing.
        """
        limit = codec.fit_samples
        if limit not in self._fit_sets:
            found = (list(ids[:limit]) for ids in (self.workload.training_ids(), self.ids["fit"]))
            self._fit_sets[limit] = tuple(dict.fromkeys(sample_set_id("fit", ids) for ids in found))
        return self._fit_sets[limit]

    def fit_key(self, cell: PlannedCell, fit_set: str) -> str:
        """The name of the cell's fitted state on one of `fit_sets`."""
        key = cell.key
        return states.fit_key(self.weights_sha256, fit_set, key.split, cell.codec, dict(key.point), key.seed)

    def _find(self, cell: PlannedCell) -> states.FittedState | None:
        """The cell's state from the user cache or among those that ship."""
        found = (states.find(cell.codec, self.fit_key(cell, fit_set)) for fit_set in self.fit_sets(cell.codec))
        return next((state for state in found if state is not None), None)

    def _read(self, cell: PlannedCell, folder: Path) -> states.FittedState | None:
        """The cell's state from a folder."""
        found = (states.read(folder, self.fit_key(cell, fit_set)) for fit_set in self.fit_sets(cell.codec))
        return next((state for state in found if state is not None), None)

    def neighbour(self, cell: PlannedCell) -> PlannedCell | None:
        """The cell, planned or not, whose state a fit of this one starts from; see `Codec.starts_from`.

        Raises CodecFailure where the codec cannot say.
        """
        point, fault = _asking(cell.codec.starts_from, cell.spec, **cell.key.point)
        if fault is not None:
            raise CodecFailure(fault)
        if point is None:
            return None
        defaults = cell.codec.point_defaults(cell.spec)
        unknown = sorted(set(point) - set(defaults))
        if unknown:
            raise CodecFailure(f"starts_from gave a point with the argument {unknown[0]!r}, which the codec lacks")
        whole = {**defaults, **{key: _like(defaults[key], value) for key, value in point.items()}}
        return replace(cell, key=replace(cell.key, point=whole))

    def _neighbours_first(self, cells: list[PlannedCell]) -> list[PlannedCell]:
        """The cells of a split, each behind the one that its fit starts from; the order is kept where it may be."""
        by_key = {cell.key.cell: cell for cell in cells}
        ordered: dict[str, PlannedCell] = {}
        for cell in cells:
            line: list[PlannedCell] = []
            at: PlannedCell | None = cell
            while at is not None and at.key.cell not in ordered and at not in line:  # a circle is cut where it closes
                line.append(at)
                at = by_key.get(self._neighbour_key(at))
            ordered.update((found.key.cell, found) for found in reversed(line))
        return list(ordered.values())

    def _neighbour_key(self, cell: PlannedCell) -> str:
        if cell.skip_reason is not None or cell.fault is not None:
            return ""
        try:
            found = self.neighbour(cell)
        except CodecFailure:
            return ""  # its fit will fail with the reason
        return found.key.cell if found is not None else ""

    def _state_of(self, cell: PlannedCell) -> states.FittedState:
        """The cell's fitted state: found, or fitted now in a process of its own."""
        needed, fault = _asking(cell.codec.needs_fit, cell.spec, **cell.key.point)
        if fault is not None:
            raise CodecFailure(fault)
        if not needed:
            return self._unfitted_state(cell)
        found = self._find(cell)
        if found is not None:
            return found
        self.reporter.working(f"{cell.label}: fitting")
        return self._fit(cell)

    def _unfitted_state(self, cell: PlannedCell) -> states.FittedState:
        if cell.codec.export is Codec.export:
            return states.FittedState()
        fields = {"codec": reference(cell.codec), "spec": cell.spec.to_json(), "point": dict(cell.key.point)}
        reply = self.pair.device.call("export", fields, timeout_s=self.config.timeout_s)
        return states.FittedState(reply.blobs[0], reply.blobs[1])

    def _fit(
        self, cell: PlannedCell, folder: Path | None = None, before: states.FittedState | None = None
    ) -> states.FittedState:
        """Fit one cell on the samples that are here, and keep its state in a folder, the user cache by default.

        It starts from the state `before`, whose seconds count, or else from its neighbour's where there is one, and
        goes on from where an earlier fit was interrupted.
        """
        key, fit_set = cell.key, self.fit_sets(cell.codec)[-1]
        fit_key = self.fit_key(cell, fit_set)
        if self.config.fresh:
            states.drop_partial(fit_key)
        self._say_what_is_missing(cell.codec)
        neighbour = self.neighbour(cell)
        start = before
        if before is None and neighbour is not None:
            start = (self._read(neighbour, folder) if folder is not None else None) or self._find(neighbour)
        fitted = self.fitter.fit(
            cell.codec, cell.spec, key.split, key.point, key.seed, count=len(self.ids["fit"][: cell.codec.fit_samples]),
            max_s=self.config.max_fit_s, timeout_s=1.5 * self.config.max_fit_s + self.config.timeout_s,
            start=start, partial=states.read_partial(fit_key),
            on_progress=lambda share, text: self.reporter.working(f"{cell.label}: fitting, {share:.0%} {text}"),
            on_saved=lambda partial: states.keep_partial(fit_key, partial),
        )  # fmt: skip
        if before is not None:
            started_from = before.about.get("starts_from")
            fitted = replace(fitted, fit_s=(fitted.fit_s or 0.0) + (before.fit_s or 0.0))
        else:
            started_from = dict(neighbour.key.point) if neighbour is not None and start is not None else None
        state = replace(fitted, about={**key.to_json(), "sample_set": fit_set, "starts_from": started_from})
        states.keep(fit_key, state, folder)
        states.drop_partial(fit_key)
        return state

    def _say_what_is_missing(self, codec: type[Codec]) -> None:
        """Say once that a fit takes fewer samples than with the whole dataset."""
        here, whole = (len(ids[: codec.fit_samples]) for ids in (self.ids["fit"], self.workload.training_ids()))
        if here < whole and not self._said_what_is_missing:
            self._said_what_is_missing = True
            fetch = f"; run 'codecbench data get {self.workload.dataset}' for all" if self.workload.dataset else ""
            self.reporter.say(f"{here:,} of {whole:,} training samples are here{fetch}")

    # --- timing -------------------------------------------------------------------------------------------------

    def _time(self, split: str, measured: list[_Measured]) -> None:
        """Time head, encode, decode and tail, one sample at a time, the cells taking turns."""
        if not measured:
            return
        self.reporter.stage(f"{split}: timing")
        with self.pair.single_threaded():
            self._head_s: list[float] = []
            self._head_cost = self.pair.device.call("head_cost", {"subset": "test", "position": 0}).fields
            for item in measured:
                self._guarded(item, self._cost_of)
            for turn in range(WARM_UP + self.config.timing_samples):
                self._time_turn(measured, turn)

    def _time_turn(self, measured: list[_Measured], turn: int) -> None:
        """One sample through the head and through every cell. Each turn starts with another cell."""
        keep, position = turn >= WARM_UP, turn % self.counts["test"]
        reply = self.pair.device.call("time_head", {"subset": "test", "position": position})
        if keep:
            self._head_s.append(reply.fields["head_s"])
        start = turn % len(measured)
        for item in measured[start:] + measured[:start]:
            self._guarded(item, lambda i: self._time_one(i, position, keep=keep))

    def _guarded(self, item: _Measured, step: Callable[[_Measured], None]) -> None:
        if item.failure is not None:
            return
        try:
            deadline = self._deadline()
            if item.generation != self.pair.generation:
                item.handles = self.open_codec(item.cell, item.state, deadline)
                item.generation = self.pair.generation
            step(item)
        except CodecbenchError as error:
            item.failure = str(error)
            self.pair.replace()

    def _cost_of(self, item: _Measured) -> None:
        fields = {"handle": item.handles[0], "subset": "test", "position": 0}
        encoder = self.pair.device.call("encoder_cost", fields, timeout_s=self.config.timeout_s).fields
        peaks = [p for p in (self._head_cost["head_peak_bytes"], encoder["encoder_peak_bytes"]) if p is not None]
        item.cost = Cost(**self._head_cost, **encoder, device_peak_bytes=max(peaks, default=None))

    def _time_one(self, item: _Measured, position: int, *, keep: bool) -> None:
        timeout_s = self.config.timeout_s
        fields = {"handle": item.handles[0], "subset": "test", "position": position}
        encoded = self.pair.device.call("time_encode", fields, timeout_s=timeout_s)
        decoded = self.pair.edge.call("time_decode", {"handle": item.handles[1]}, encoded.blobs, timeout_s=timeout_s)
        if keep:
            item.seconds["encode_s"].append(encoded.fields["encode_s"])
            item.seconds["decode_s"].append(decoded.fields["decode_s"])
            item.seconds["tail_s"].append(decoded.fields["tail_s"])
            item.payload_bytes.append(len(encoded.blobs[0]))

    # --- records ------------------------------------------------------------------------------------------------

    def _commit(self, cell: PlannedCell, summary: Summary, status: Any, reason: str) -> None:
        record = Record(
            cell=cell.key.cell, status=status, reason=reason, key=Key(**cell.key.to_json()),
            row=row_label(cell.codec, cell.key.point), provenance=self._provenance(cell),
        )  # fmt: skip
        self.store.discard(cell.key)
        self._finish(cell, record, summary)

    def _commit_ok(self, item: _Measured, summary: Summary) -> None:
        cell = item.cell
        metric = self.workload.metric
        test, choice = (_rows(item.columns, subset) for subset in SCORED)
        times = {name: _seconds(values) for name, values in item.seconds.items()}
        record = Record(
            cell=cell.key.cell,
            status="ok",
            key=Key(**cell.key.to_json()),
            row=row_label(cell.codec, cell.key.point),
            tensor=TensorGroup(
                shape=list(cell.spec.shape), dtype=cell.spec.dtype,
                raw_bytes=self.pair.raw_bytes["test"] / self.counts["test"],
            ),
            size=Size(
                payload_bytes=payload_summary(test["payload_bytes"]),
                device_state_bytes=len(item.state.device), edge_state_bytes=len(item.state.edge),
                estimated_bytes=_mean_bound(test),
            ),
            time=Time(head_s=_seconds(self._head_s), fit_s=item.state.fit_s, **times),
            timed=Timed(payload_bytes=item.payload_bytes, head_s=_rounded(self._head_s), **{
                name: _rounded(values) for name, values in item.seconds.items()
            }),
            cost=item.cost,
            task=summarise_task(metric, *(test[name] for name in OUTCOMES)),
            choice=summarise_choice(
                metric, self.sample_sets["choice"], choice["payload_bytes"], *(choice[name] for name in OUTCOMES)
            ),
            quality=_quality(test) if cell.spec.image else None,
            samples=item.samples,
            provenance=self._provenance(cell),
        )  # fmt: skip
        self._finish(cell, record, summary)

    def _finish(self, cell: PlannedCell, record: Record, summary: Summary) -> None:
        self.store.write(cell.key, record)
        setattr(summary, record.status, getattr(summary, record.status) + 1)
        if record.status == "failed":
            summary.failures.append(f"{cell.label}: {record.reason}")
        self.reporter.done(record.status, f"{cell.label}: {record.reason}" if record.reason else cell.label)

    def _provenance(self, cell: PlannedCell) -> Provenance:
        commit, dirty = provenance.git_state()
        return Provenance(
            codecbench=__version__, plugin=_plugin_label(cell.codec), source_hash=self.source_hashes[cell.codec],
            weights_hash=self.weights_sha256, threads=1, torch_device=self.config.torch_device, git=commit,
            dirty=dirty, command=self._command(cell), started_utc=self.started_utc, **provenance.machine(),
        )  # fmt: skip

    def _command(self, cell: PlannedCell) -> str:
        """The command that makes this cell again. Plugin files are named without their folders."""
        key = cell.key
        codec = f"{key.codec}:{point_label(key.point)}" if key.point else key.codec
        parts = ["codecbench run", f"--workload {key.workload}", f"--codec {codec}", f"--split {key.split}"]
        parts += [f"--preset {self.config.preset}", f"--samples {self.counts['test']}", f"--seed {key.seed}"]
        parts += [f"--plugin {path.name}" for path in self.config.plugin]
        parts += [f"--torch-device {self.config.torch_device}"] if self.config.torch_device != "cpu" else []
        return " ".join(parts)


OUTCOMES = ("numerator", "denominator", "uncompressed_numerator", "uncompressed_denominator")


def _skip_reason(codec: type[Codec], spec: TensorSpec, point: Mapping[str, Any]) -> str | None:
    reason = codec.unavailable()
    return reason if reason is not None else codec.skip_reason(spec, **point)


def _asking(question: Callable[..., Answer], *about: Any, **point: Any) -> tuple[Answer | None, str | None]:
    """What a codec's class says when it is asked about a tensor, or what it raised, in one line.

    Errors of the user and of the contract pass through; any other costs the codec's own cells only.
    """
    try:
        return question(*about, **point), None
    except CodecbenchError:
        raise
    except Exception as error:
        return None, f"asked about this tensor, the codec raised {one_line(error)}"


def _like(default: Any, value: Any) -> Any:
    """A whole number given where a point has a fraction is the same operating point: 1 is 1.0."""
    return float(value) if type(default) is float and type(value) is int else value


def _receive(worker: Worker, deadline: measure.Deadline) -> Reply:
    try:
        return worker.receive(timeout_s=deadline.remaining_s())
    except WorkerTimeout as error:
        raise WorkerTimeout(
            f"no answer from the {worker.role} process within the cell's limit of {deadline.limit_s:g} s (--timeout-s)"
        ) from error


def _rows(columns: Mapping[str, NDArray[Any]], subset: Subset) -> dict[str, NDArray[Any]]:
    keep = columns["subset"] == subset
    return {name: values[keep] for name, values in columns.items()}


def _seconds(values: list[float]) -> Seconds:
    return Seconds(median=measure.percentile(values, 0.5), p95=measure.percentile(values, 0.95), n=len(values))


def _rounded(seconds: list[float]) -> list[float]:
    """To ten nanoseconds, below which a clock tells nothing of a step."""
    return [round(value, 8) for value in seconds]


def _mean_bound(test: Mapping[str, NDArray[Any]]) -> float | None:
    """The mean Shannon bound of the payloads, or None where the codec gave none for some."""
    import numpy as np

    bounds = test.get("bound_bytes")
    return None if bounds is None or np.isnan(bounds).any() else float(bounds.mean(dtype=np.float64))


def _quality(test: Mapping[str, NDArray[Any]]) -> Quality:
    import numpy as np

    inexact = test["psnr_db"][np.isfinite(test["psnr_db"])]
    mean_db = float(inexact.mean(dtype=np.float64)) if inexact.size else None
    return Quality(psnr_db=mean_db, ssim=float(test["ssim"].mean(dtype=np.float64)))


@lru_cache
def _plugin_label(codec: type[Codec]) -> str:
    """Distribution and version of the codec's package, or the name of its single file."""
    top = codec.__module__.partition(".")[0]
    names = packages_distributions().get(top)
    if names:
        return f"{names[0]} {version(names[0])} ({codec.__module__})"
    return f"file {Path(inspect.getsourcefile(codec) or codec.__module__).name}"
