"""How samples go through a split: in chunks whose activations fit the scratch space, in batches of one request."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from codecbench.codec import TensorSpec
from codecbench.errors import UsageError
from codecbench.experiment.cells import SCORED
from codecbench.harness.side_by_side import Pass, PendingReply
from codecbench.measure import Deadline, Stopwatch
from codecbench.results.repeats import is_finite
from codecbench.workers.client import HEADS_TIMEOUT_S
from codecbench.workers.closing import Closing
from codecbench.workers.connection import WorkerClient
from codecbench.workers.pair import Pair
from codecbench.workers.protocol import MODEL_BATCH
from codecbench.workers.tensor_file import TensorFile
from codecbench.workload import Subset

Shapes = Sequence[tuple[int, ...]]

BATCH = 128
"""Samples in one request. Smaller ones are multiples of MODEL_BATCH: models run on the same samples together."""
TIMED_BATCHES = 4
"""Batches from which the samples of the timing pass are drawn."""
SHARES = 4
"""Parts of the scratch space: the activations of a chunk, the decoded tensors of two cells, and those that are kept."""

GB = 1e9


@dataclass(frozen=True)
class SampleBatch:
    """Samples of one subset that go through a codec together, and their rows in the order of the whole pass."""

    subset: Subset
    positions: range
    first: int

    @property
    def end(self) -> int:
        """The row behind the last one."""
        return self.first + len(self.positions)


@dataclass(frozen=True)
class Chunk:
    """Batches whose activations are on disk at the same time."""

    batches: Sequence[SampleBatch]

    @property
    def first(self) -> int:
        """The first row of the chunk in the order of the whole pass."""
        return self.batches[0].first

    @property
    def end(self) -> int:
        """The row behind the last one."""
        return self.batches[-1].end

    @property
    def count(self) -> int:
        """The number of rows from the first to the last sample."""
        return self.end - self.first

    def only(self, positions: Collection[int]) -> Chunk:
        """Return a chunk of those batches that have one of these test samples."""
        return Chunk([b for b in self.batches if b.subset == "test" and any(at in b.positions for at in positions)])


def batches_of(counts: Mapping[Subset, int], size: int = BATCH) -> list[SampleBatch]:
    """Return the batches of all scored samples: the test samples, then the choice samples."""
    found: list[SampleBatch] = []
    for subset in SCORED:
        for start in range(0, counts[subset], size):
            first = found[-1].end if found else 0
            found.append(SampleBatch(subset, range(start, min(start + size, counts[subset])), first))
    return found


def chunks_of(counts: Mapping[Subset, int], sample_bytes: int, scratch_gb: float) -> list[Chunk]:
    """Return the chunks of all scored samples, each as large as its share of the scratch space allows.

    Raises UsageError if the scratch space does not even hold MODEL_BATCH samples.
    """
    room = int(scratch_gb * GB / SHARES / max(1, sample_bytes))
    if room < MODEL_BATCH:
        needed_mb = math.ceil(MODEL_BATCH * SHARES * sample_bytes / 1e6)
        raise UsageError(
            f"--scratch-gb {scratch_gb:g}: tensors of {sample_bytes / 1e6:.1f} MB need at least {needed_mb / 1e3}"
        )
    size = min(BATCH, room // MODEL_BATCH * MODEL_BATCH)
    chunks: list[list[SampleBatch]] = []
    for batch in batches_of(counts, size):
        if not chunks or batch.end - chunks[-1][0].first > room:
            chunks.append([])
        chunks[-1].append(batch)
    return [Chunk(found) for found in chunks]


def drawn_positions(count: int, limit: int, seed: int) -> list[int]:
    """Return positions of test samples to time or to digest, in an order drawn from the seed.

    They come from at most TIMED_BATCHES batches: a run that goes on with the timing needs the heads of these only.
    """
    draw = random.Random(seed)  # noqa: S311 - repeatable, not a secret
    starts = list(range(0, count, BATCH))
    chosen = sorted(draw.sample(starts, min(len(starts), TIMED_BATCHES)))
    pool = [position for start in chosen for position in range(start, min(start + BATCH, count))]
    return draw.sample(pool, min(limit, len(pool)))


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
