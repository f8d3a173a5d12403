"""The accuracy pass: encodes, decodes and scores every sample of a chunk, in codec processes that are new for it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecbench.codec import TensorSpec
from codecbench.errors import CodecbenchError, CodecFailure, DataError, FailureCode, PayloadError, PluginError
from codecbench.experiment.cells import SCORED, PlannedCell
from codecbench.harness.chunks import ChunkActivations, SampleBatch, Shapes, batches_of
from codecbench.harness.scored_cell import ScoredCell
from codecbench.harness.side_by_side import CELLS, Awaited, Pass, PendingReply, Score, Tail
from codecbench.measure import Deadline, cores
from codecbench.results.outcomes import FULL_MODEL, Columns, joined, of_full_model
from codecbench.results.quality import psnr_db, ssim
from codecbench.results.repeats import NOT_CARRIED, not_finite_fault
from codecbench.workers.answers import Encoded, FullModelRun
from codecbench.workers.client import EdgeClient
from codecbench.workers.closing import Closing
from codecbench.workers.codec_client import CodecClient
from codecbench.workers.forks import CodecProcesses
from codecbench.workers.pair import Pair
from codecbench.workers.tensor_file import TensorFile
from codecbench.workload import SampleId, Subset

_VALUE_FAULTS = (FailureCode.RAISED, FailureCode.NOT_FINITE)
"""The faults that values of a tensor cause."""


def score_full_model(
    pair: Pair, counts: Mapping[Subset, int], *, two_looks: bool = False
) -> dict[Subset, FullModelRun]:
    """Return the runs of the full model on the scored samples; with `two_looks`, that of the test images has both."""
    return {subset: run_full_model(pair, subset, counts, two_looks=two_looks and subset == "test") for subset in SCORED}


def run_full_model(
    pair: Pair, subset: Subset, counts: Mapping[Subset, int], *, two_looks: bool = False
) -> FullModelRun:
    """Run the full model on a subset's samples, in the batches in which tails run."""
    device = pair.device
    with pair.all_cores(device):
        batches = [batch for batch in batches_of(counts) if batch.subset == subset]
        found = [device.run_full_model(subset, batch.positions, two_looks=two_looks) for batch in batches]
    looks = [run.two_looks for run in found if run.two_looks is not None]
    return FullModelRun(
        joined([run.outcomes for run in found]), sum(run.forward_s for run in found),
        joined(looks) if looks and len(looks) == len(found) else None,
    )  # fmt: skip


class OpenedCell(Closing):
    """A cell with an encoder and a decoder process that are new for one chunk. They start at once; call `close`."""

    def __init__(
        self, processes: CodecProcesses, scored: ScoredCell, activations: ChunkActivations, path: Path
    ) -> None:
        cell = scored.cell
        self.scored = scored
        self.decoded = TensorFile(path, cell.spec, activations.chunk.count).create()
        self.encoder = CodecClient(processes.start())
        self.decoder = CodecClient(processes.start())
        codec, point, state = cell.codec.reference, cell.key.point, scored.state
        self.encoder.start_open(codec, cell.spec, point, "device", state.device, tensors=activations.file)
        # A device encodes on one core; an edge has all of them, which the cells at work share.
        threads = max(1, cores() // CELLS)
        self.decoder.start_open(codec, cell.spec, point, "edge", state.edge, tensors=self.decoded, threads=threads)

    def finish(self, deadline: Deadline) -> Pass:
        """Wait until both have restored the codec. Raises CodecFailure if one could not."""
        for client in (self.encoder, self.decoder):
            yield PendingReply(client, deadline)
            client.finish_open(deadline)
        self.scored.isolation = self.encoder.isolation

    def close(self) -> None:
        """End both processes and remove the file of decoded tensors."""
        self.encoder.close()
        self.decoder.close()
        self.decoded.remove()


class AccuracyPass:
    """Runs the samples of chunks through the codecs of a split, and scores the model's outputs.

    `sample_ids` are the identifiers of the scored samples, `full_model` the outcomes of the model without a split,
    `seen` the positions of the test samples that a new instance will encode again, in order; `keep` tells how many of
    their decoded tensors are kept for it. With `skip_exact`, the tail does not run where a tensor is decoded exactly.
    `on_scored` is told how many samples of a cell were scored.
    """

    def __init__(
        self, pair: Pair, processes: CodecProcesses, sample_ids: Mapping[Subset, Sequence[SampleId]],
        full_model: Mapping[Subset, Columns], *, folder: Path, seen: Sequence[int], keep: int, timeout_s: float,
        skip_exact: bool = True, on_scored: Callable[[int], None] = lambda _samples: None,
    ) -> None:  # fmt: skip
        self.tail = Tail(pair)
        self.processes = processes
        self.sample_ids = sample_ids
        self.full_model = full_model
        self.folder = folder
        self.seen = {position: order < keep for order, position in enumerate(dict.fromkeys(seen))}
        self.timeout_s = timeout_s
        self.skip_exact = skip_exact
        self.on_scored = on_scored
        self._files = itertools.count()

    def run(
        self, scored: ScoredCell, activations: ChunkActivations
    ) -> Generator[Awaited, None, CodecbenchError | None]:
        """Run a chunk through a cell; return the error with which the cell fails, or None.

        Raises DataError or PluginError if the workload fails.
        """
        try:
            with self.open(scored, activations) as opened:
                yield from self.measure(opened, activations)
        except (DataError, PluginError):  # the workload's, not the codec's
            raise
        except CodecbenchError as error:
            raised = isinstance(error, CodecFailure | PayloadError) and error.code in _VALUE_FAULTS
            if raised and not activations.all_finite():
                fault = CodecFailure(NOT_CARRIED)
                fault.frames = error.frames
                return fault
            return error
        return None

    def open(self, scored: ScoredCell, activations: ChunkActivations) -> OpenedCell:
        """Start the processes of a cell for a chunk. Raises WorkerError if they cannot be started."""
        return OpenedCell(self.processes, scored, activations, self.folder / f"decoded-{next(self._files)}")

    def measure(self, opened: OpenedCell, activations: ChunkActivations) -> Pass:
        """Add the samples of the chunk that the cell does not have yet. Raises WorkerError if a step fails."""
        deadline = Deadline(self.timeout_s)
        yield from opened.finish(deadline)
        encoder = opened.encoder
        todo = [batch for batch in activations.chunk.batches if batch.first >= opened.scored.rows]
        waiting: tuple[Score, Columns] | None = None
        yield from activations.needed(todo[0], deadline)
        self._start_encode(opened, activations, todo[0])
        try:
            for batch, following in itertools.zip_longest(todo, todo[1:]):
                yield PendingReply(encoder, deadline)
                encoded = encoder.finish_encode(deadline)
                if following is not None:
                    yield from activations.needed(following, deadline)
                    self._start_encode(opened, activations, following)
                columns, shapes = yield from self._decode(opened, activations, batch, encoded, deadline)
                yield from self._finish_score(opened.scored, waiting, deadline)
                waiting = self._start_score(opened, activations, batch, columns, shapes)
            yield from self._finish_score(opened.scored, waiting, deadline)
        finally:
            if waiting is not None:
                waiting[0].cancelled = True

    def _start_encode(self, opened: OpenedCell, activations: ChunkActivations, batch: SampleBatch) -> None:
        bounds = opened.scored.cell.codec.has_bound and batch.subset == "test"  # tables show their mean over these only
        opened.encoder.start_encode(activations.rows(batch).start, activations.shapes[batch], bounds=bounds)

    def _decode(
        self, opened: OpenedCell, activations: ChunkActivations, batch: SampleBatch, encoded: Encoded,
        deadline: Deadline,
    ) -> Generator[Awaited, None, tuple[Columns, Shapes]]:  # fmt: skip
        """Decode a batch into the file; return its columns without outcomes, and the shapes of the tensors."""
        scored, rows, payloads = opened.scored, activations.rows(batch), encoded.payloads
        if len(payloads) != len(rows):
            raise CodecFailure(f"{len(payloads)} payloads for {len(rows)} samples", code=FailureCode.WRONG_COUNT)
        if encoded.bound_bytes is not None and len(encoded.bound_bytes) != len(rows):
            raise CodecFailure(
                f"{len(encoded.bound_bytes)} bounds for {len(rows)} samples", code=FailureCode.WRONG_COUNT
            )
        opened.decoder.start_decode(rows.start, payloads)
        sizes = [len(payload) for payload in payloads]
        for payload in payloads:
            scored.chain.add(payload)
        yield PendingReply(opened.decoder, deadline)
        shapes = opened.decoder.finish_decode(deadline)
        _check_shapes(shapes, len(rows), scored.cell.spec)
        decoded = opened.decoded.read_rows(rows.start, shapes)
        originals = activations.of(batch)
        if batch.subset == "test":
            scored.raw_bytes += sum(scored.cell.spec.raw_bytes(original.shape) for original in originals)
            for position, payload, tensor in zip(batch.positions, payloads, decoded, strict=True):
                if position in self.seen:
                    scored.see(position, payload, tensor, keep=self.seen[position])
        exact = [_equal_bytes(*both) for both in zip(originals, decoded, strict=True)]
        for original, tensor, is_exact in zip(originals, decoded, exact, strict=True):
            fault = None if is_exact else not_finite_fault(tensor, original)
            if fault is not None:
                raise CodecFailure(fault, code=FailureCode.NOT_FINITE)
        columns = self._columns(scored.cell, batch, sizes, encoded.bound_bytes)
        columns["exact"] = np.array(exact)
        return columns, shapes

    def _columns(
        self, cell: PlannedCell, batch: SampleBatch, sizes: Sequence[int], bounds: Sequence[float | None] | None
    ) -> Columns:
        """Return the columns of a batch that need neither outcomes nor pictures."""
        positions = slice(batch.positions.start, batch.positions.stop)
        full_model = self.full_model[batch.subset]
        columns: Columns = {
            "subset": np.array([batch.subset] * len(sizes)),
            "sample_id": id_column(self.sample_ids[batch.subset][positions]),
            "payload_bytes": np.array(sizes, dtype=np.int64),
            **dict.fromkeys(full_model, np.empty(0)),  # until the batch is scored
            **of_full_model({name: column[positions] for name, column in full_model.items()}),
        }  # fmt: skip
        missing = np.full(len(sizes), np.nan, dtype=np.float32)
        # float32: seven digits are enough for these, and take half the space on disk.
        if cell.codec.has_bound:
            known = missing if bounds is None else [np.nan if bound is None else bound for bound in bounds]
            columns["bound_bytes"] = np.array(known, dtype=np.float32)
        if cell.spec.image:
            columns |= {"psnr_db": missing, "ssim": missing}
        return columns

    def _start_score(
        self, opened: OpenedCell, activations: ChunkActivations, batch: SampleBatch, columns: Columns, shapes: Shapes
    ) -> tuple[Score, Columns]:
        """Hand a batch to the tail; meanwhile, compare its pictures with the originals."""
        rows = activations.rows(batch)
        exact = columns.pop("exact")

        def send(edge: EdgeClient) -> None:
            edge.start_score(
                opened.decoded, rows.start, shapes, targets=activations.targets[batch],
                exact=(exact & self.skip_exact).tolist(), finite=activations.finite[batch],
                full_model={name: columns[FULL_MODEL + name] for name in self.full_model[batch.subset]},
            )  # fmt: skip

        score = self.tail.score(Score(send, self.timeout_s))
        if opened.scored.cell.spec.image and batch.subset == "test":
            decoded = opened.decoded.read_rows(rows.start, shapes)
            columns["psnr_db"], columns["ssim"] = _quality(activations.of(batch), decoded, exact)
        return score, columns

    def _finish_score(self, scored: ScoredCell, waiting: tuple[Score, Columns] | None, deadline: Deadline) -> Pass:
        if waiting is None:
            return
        score, columns = waiting
        yield score
        deadline.extend(score.waited_s)  # another cell's batch is not part of this one's time
        scored.add(columns | score.result())
        self.on_scored(len(columns["payload_bytes"]))


def id_column(sample_ids: Sequence[SampleId]) -> NDArray[Any]:
    """Return identifiers as a column: integers, or texts as objects, of whose ends numpy cuts nothing."""
    texts = any(isinstance(found, str) for found in sample_ids)
    return np.array(sample_ids, dtype=object if texts else np.int64)


def _check_shapes(shapes: Shapes, count: int, spec: TensorSpec) -> None:
    """Raise CodecFailure unless these are shapes of `count` tensors of the spec."""
    wrong = next((reason for shape in shapes if (reason := spec.mismatch(shape, spec.dtype))), None)
    if wrong is not None or len(shapes) != count:
        reason = wrong or f"{len(shapes)} tensors for {count} payloads"
        raise CodecFailure(f"decode gave the wrong tensor: {reason}", code=FailureCode.WRONG_TENSOR)


def _quality(
    originals: Sequence[NDArray[Any]], decoded: Sequence[NDArray[Any]], exact: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the PSNR in dB and the SSIM of each picture. Both are known where a picture is exact."""
    decibels = np.full(len(exact), np.inf, dtype=np.float32)
    similarity = np.ones(len(exact), dtype=np.float32)
    changed = np.flatnonzero(~exact)
    if changed.size:
        before, after = (np.stack([pictures[i] for i in changed.tolist()]) for pictures in (originals, decoded))
        decibels[changed], similarity[changed] = psnr_db(before, after), ssim(before, after)
    return decibels, similarity


def _equal_bytes(left: NDArray[Any], right: NDArray[Any]) -> bool:
    return left.shape == right.shape and left.tobytes() == right.tobytes()
