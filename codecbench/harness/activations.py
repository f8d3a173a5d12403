"""The activations of a chunk: the head computes them batch by batch, while codecs work on those that are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from codecbench.codec import TensorSpec
from codecbench.harness.chunks import Chunk, SampleBatch
from codecbench.harness.side_by_side import Pass, PendingReply
from codecbench.measure import Deadline, Stopwatch
from codecbench.results.repeats import is_finite
from codecbench.workers.client import HEADS_TIMEOUT_S
from codecbench.workers.closing import Closing
from codecbench.workers.connection import WorkerClient
from codecbench.workers.pair import Pair
from codecbench.workers.tensor_file import TensorFile

Shapes = Sequence[tuple[int, ...]]


class ChunkActivations(Closing):
    """The activations of a chunk in a file, and the shapes and the pickled targets of each batch that is there.

    `run_head` fills it, as a pass beside those of the cells. `close` removes the file.
    """

    def __init__(self, pair: Pair, spec: TensorSpec, chunk: Chunk, folder: Path) -> None:
        self.chunk = chunk
        self.file = TensorFile(folder / "activations", spec, chunk.count).create()
        self.shapes: dict[SampleBatch, Shapes] = {}
        self.targets: dict[SampleBatch, bytes] = {}
        self.finite: dict[SampleBatch, list[bool]] = {}
        """Whether each activation of a batch holds neither an infinity nor NaN."""
        self._pair = pair

    def run_head(self) -> Pass:
        """Run the head over the chunk. Raises DataError if the workload fails, and WorkerError if its process ends."""
        device = self._pair.device
        try:
            for batch in self.chunk.batches:
                deadline = Deadline(HEADS_TIMEOUT_S)
                device.start_head(batch.subset, batch.positions, self.file, self.rows(batch).start)
                yield PendingReply(device, deadline)
                shapes, self.targets[batch] = device.finish_head(deadline)
                self.finite[batch] = [is_finite(each) for each in self.file.read_rows(self.rows(batch).start, shapes)]
                self.shapes[batch] = shapes
        finally:
            if device.pending:  # the next request would get this answer
                device.close()

    def needed(self, batch: SampleBatch, deadline: Deadline) -> Pass:
        """Wait for the activations of a batch, without counting the time against the deadline of a cell."""
        if batch not in self.shapes:
            waiting = Stopwatch()
            yield _BatchThere(self, batch)
            deadline.extend(waiting.elapsed_s())

    def rows(self, batch: SampleBatch) -> range:
        """The rows of a batch in the file."""
        return range(batch.first - self.chunk.first, batch.end - self.chunk.first)

    def all_finite(self) -> bool:
        """Return True if no activation that is there has an infinity or NaN."""
        return all(all(finite) for finite in self.finite.values())

    def of(self, batch: SampleBatch) -> list[NDArray[Any]]:
        """Return views of the activations of a batch."""
        return self.file.read_rows(self.rows(batch).start, self.shapes[batch])

    def close(self) -> None:
        """Remove the file."""
        self.file.remove()


class _BatchThere:
    """The activations of a batch, which a pass of the head computes."""

    def __init__(self, activations: ChunkActivations, batch: SampleBatch) -> None:
        self._activations = activations
        self._batch = batch

    def ready(self) -> bool:
        """True once they are there."""
        return self._batch in self._activations.shapes

    def sources(self) -> list[WorkerClient]:
        """Return nothing: the head's pass watches its process for all passes together."""
        return []

    def remaining_s(self) -> None:
        """Return None: the head's pass watches the time, too."""
