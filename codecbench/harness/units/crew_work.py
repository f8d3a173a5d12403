"""The work of a crew: it sets up the processes of a run, and scores the cells of units with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from codecbench.descriptions.data_hash import scored_positions
from codecbench.descriptions.workload_info import WorkloadInfo
from codecbench.errors import CodecbenchError, UsageError
from codecbench.experiment.cells import PlannedCell
from codecbench.fitting.states import FittedState
from codecbench.harness.accuracy import AccuracyPass
from codecbench.harness.chunks import Chunk, ChunkActivations
from codecbench.harness.scored_cell import ScoredCell
from codecbench.harness.side_by_side import Pass, run_side_by_side
from codecbench.harness.units.unit import CellScores, CrewSetUp, ScoringUnit, scores_reply
from codecbench.harness.units.versions import check_versions
from codecbench.results.cell import sample_set_id
from codecbench.results.digests import PayloadChain
from codecbench.results.outcomes import Columns
from codecbench.system.folders import temporary_folder
from codecbench.workers.closing import Closing
from codecbench.workers.forks import CodecProcesses
from codecbench.workers.pair import Pair, WorkloadRef
from codecbench.workers.plugins import PluginCatalogue
from codecbench.workers.protocol import OperationResult, Reply
from codecbench.workload import Subset


class CrewWork(Closing):
    """Serves the operations of a crew: `set_up` first, then units, one after another."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def close(self) -> None:
        """End the processes."""
        self._stack.close()

    def op_set_up(self, request: Reply) -> OperationResult:
        """Start the processes of a run. Raises UsageError if something differs from what the main process has."""
        run = self._run = CrewSetUp(**request.fields["run"])
        check_versions(run.versions)
        for file in run.sources:
            if not Path(file).exists():
                raise UsageError(f"{file} is not there where a crew runs; put it where all machines find it")
        self._check_codecs(run)
        data_dir = None if run.data_dir is None else Path(run.data_dir)
        self._processes = self._stack.enter_context(CodecProcesses([Path(file) for file in run.sources]))
        self._processes.warm()
        self._pair = self._stack.enter_context(Pair(WorkloadRef(run.workload, data_dir, run.torch_device)))
        self._pair.warm()
        workload = self._pair.device.describe_workload()
        self._check_workload(run, workload)
        self._sample_ids = {subset: list(workload.sample_ids[subset][:n]) for subset, n in run.counts.items()}
        return {}, []

    def op_score_unit(self, request: Reply) -> OperationResult:
        """Return the scores of a unit's cells."""
        unit, states, full_model = ScoringUnit.received(request)
        self._pair.use_split(unit.split)
        cells = [_CellAtWork(unit, cell, state) for cell, state in zip(unit.cells, states, strict=True)]
        with temporary_folder("scratch") as folder:
            accuracy = AccuracyPass(
                self._pair, self._processes, self._sample_ids, _placed(unit, full_model, self._run.counts),
                folder=folder, seen=[*unit.kept, *unit.positions("test")], keep=len(unit.kept),
                timeout_s=self._run.timeout_s,
            )  # fmt: skip
            with ChunkActivations(self._pair, unit.spec, Chunk(unit.batches), folder) as activations:
                passes: Iterator[Pass] = (cell.run(accuracy, activations) for cell in cells)
                run_side_by_side(passes, accuracy.tail, head=activations.run_head())
        return scores_reply([cell.scores() for cell in cells])

    def _check_workload(self, run: CrewSetUp, found: WorkloadInfo) -> None:
        """Raise UsageError if the workload here is another one than in the main process."""
        fit = len(found.sample_ids["fit"])
        here = {
            "weights of the model": (found.weights_sha256, run.weights_sha256),
            "source of the workload": (found.source_hash, run.workload_source),
            **{
                f"{subset} samples": (sample_set_id(subset, found.sample_ids[subset][:count]), run.sample_sets[subset])
                for subset, count in run.counts.items()
            },
        }  # fmt: skip
        differing = [name for name, (own, expected) in here.items() if own != expected]
        if not differing and self._pair.device.data_hash(scored_positions(run.counts, fit)) != run.data_hash:
            differing = ["data of the workload"]
        if differing:
            raise UsageError(f"where a crew runs, the {' and the '.join(differing)} differ; make them the same")

    def _check_codecs(self, run: CrewSetUp) -> None:
        if not run.codec_sources:
            return
        with PluginCatalogue([Path(file) for file in run.plugins]) as catalogue:
            for info in catalogue.infos(list(run.codec_sources)):
                if info.source_hash != run.codec_sources[info.name]:
                    raise UsageError(
                        f"codec {info.name!r} has another source where a crew runs ({info.plugin}); install the same "
                        "version there"
                    )


class _DigestList(PayloadChain):
    """The digest of each payload, in the place of a chain."""

    def __init__(self) -> None:
        super().__init__()
        self.digests: list[bytes] = []

    def add_digest(self, digest: bytes) -> None:
        """Append a payload by its SHA-256."""
        self.digests.append(digest)


class _CellAtWork:
    """One cell of a unit while it is scored."""

    def __init__(self, unit: ScoringUnit, cell: PlannedCell, state: FittedState) -> None:
        self._unit = unit
        self._chain = _DigestList()
        self._scored = ScoredCell(cell, state, self._chain, rows=unit.rows.start)
        self._error: CodecbenchError | None = None

    def run(self, accuracy: AccuracyPass, activations: ChunkActivations) -> Pass:
        """Run the unit's samples through the cell."""
        self._error = yield from accuracy.run(self._scored, activations)

    def scores(self) -> CellScores:
        """Return the scores."""
        scored, error = self._scored, self._error
        if error is not None:
            return CellScores(scored.id, str(error), tuple(error.frames))
        assert scored.isolation is not None
        seen = [scored.seen[position] for position in self._unit.positions("test")]
        return CellScores(
            scored.id, None, (), scored.columns, scored.raw_bytes, scored.isolation.to_json(),
            tuple(self._chain.digests), tuple(bytes.fromhex(each.tensor_sha256) for each in seen),
            {at: found.tensor for at in self._unit.kept if (found := scored.seen.get(at)) and found.tensor is not None},
        )  # fmt: skip


def _placed(
    unit: ScoringUnit, full_model: Mapping[Subset, Columns], counts: Mapping[Subset, int]
) -> dict[Subset, Columns]:
    """Return columns in which the outcomes of the unit's samples stand at their positions."""
    found: dict[Subset, Columns] = {}
    for subset, columns in full_model.items():
        own = unit.positions(subset)
        found[subset] = {name: np.empty(counts[subset], column.dtype) for name, column in columns.items()}
        for name, column in columns.items():
            found[subset][name][own.start : own.stop] = column
    return found
