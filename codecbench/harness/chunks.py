"""The order in which samples go through a split: chunks that fit the scratch space, in batches of one request."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from codecbench.errors import UsageError
from codecbench.experiment.cells import SCORED
from codecbench.workers.protocol import MODEL_BATCH
from codecbench.workload import Subset

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
