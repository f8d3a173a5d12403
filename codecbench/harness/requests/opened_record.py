"""The cell of a record, opened again: its processes, with the codec of today."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from codecbench.errors import UsageError
from codecbench.experiment.cells import PlannedCell, Reporter
from codecbench.experiment.config import RunConfig
from codecbench.harness.provenance import changed, sources_of
from codecbench.harness.run import Run
from codecbench.results.record import Record
from codecbench.system.folders import temporary_folder
from codecbench.workers.codec_client import CodecClient
from codecbench.workers.pair import Pair
from codecbench.workers.protocol import MODEL_BATCH
from codecbench.workers.tensor_file import TensorFile


@dataclass(frozen=True)
class OpenedRecord:
    """The processes of a cell: the model's on the two sides, an encoder and a decoder."""

    job: Run
    cell: PlannedCell
    encoder: CodecClient
    decoder: CodecClient

    @property
    def pair(self) -> Pair:
        """The model's two processes."""
        return self.job.pair

    def payload(self, position: int) -> bytes:
        """Return the payload of a test sample, after head and encoder."""
        (payload,) = self.encoder.encode_samples([self.pair.device.activation("test", position)], batched=False)
        return payload

    def activations(self, positions: Sequence[int]) -> Iterator[NDArray[Any]]:
        """Yield the activations of test samples as those that were scored: their last bits depend on their batch."""
        with temporary_folder("scratch") as folder:
            file = TensorFile(folder / "activations", self.cell.spec, MODEL_BATCH).create()
            for position in positions:
                first = position // MODEL_BATCH * MODEL_BATCH
                together = range(first, min(first + MODEL_BATCH, self.job.grid.counts["test"]))
                shapes, _ = self.pair.device.run_head("test", together, file, 0)
                yield file.read_rows(0, shapes)[position - first].copy()

    def answer(self, payload: bytes) -> bytes:
        """Return the bytes of the model's outputs for a payload, after decoder and tail."""
        (decoded,) = self.decoder.decode_payloads([payload], batched=False, finite=False)
        return b"".join(output.tobytes() for output in self.pair.edge.outputs(decoded))


@contextmanager
def opened_cell(
    config: RunConfig, record: Record, samples: int, reporter: Reporter, *, fits: bool = True, same: bool = False
) -> Iterator[OpenedRecord]:
    """Yield the processes of a record's cell, set up for `samples` test samples.

    `config` gives plugins, data folder, cache and time limits. What has changed since the record is reported. Raises
    UsageError if the cell cannot run here; without `fits` also if its codec has no fitted state here; with `same` if
    something has changed.
    """
    key = record.key
    narrowed = config.model_copy(
        update={"codec": [key.codec], "split": [key.split], "seed": key.seed, "samples": samples}
    )
    with Run(narrowed, reporter, points={key.codec: key.point}) as job:
        (cell,) = job.plan()
        if cell.skip_reason is not None:
            raise UsageError(f"{cell.label} cannot run here: {cell.skip_reason}")
        if not fits and job.fits.lacks_fit(cell):
            raise UsageError(f"{cell.label} has no fitted state here")
        now = {
            "source_hash": cell.codec.source_hash, "weights_hash": job.workload.weights_sha256,
            "workload_source_hash": job.workload.source_hash,
        }  # fmt: skip
        difference = changed(now, sources_of(record))
        if same and (difference is not None or job.sample_sets["test"] != key.sample_set):
            raise UsageError(f"{difference or 'the samples here are others'} since its record")
        if difference is not None:
            reporter.log(f"{cell.label}: {difference} since its record; 'codecbench run' renews it")
        reporter.stage(f"setting up {cell.label}")
        job.pair.use_split(key.split)
        state, reference, limit_s = job.fits.state_of(cell), cell.codec.reference, config.timeout_s
        with CodecClient(job.processes.start()) as encoder, CodecClient(job.processes.start()) as decoder:
            encoder.open(reference, cell.spec, key.point, "device", state.device, timeout_s=limit_s)
            decoder.open(reference, cell.spec, key.point, "edge", state.edge, timeout_s=limit_s)
            yield OpenedRecord(job, cell, encoder, decoder)
