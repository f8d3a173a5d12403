"""The size of units: long beside their overhead, short beside a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from codecbench.harness.chunks import Chunk

UNIT_S = 60.0
"""The time that a unit should take: long beside its overhead, short beside a run."""
UNITS_PER_SLOT = 4
"""The units of a run for each crew, at least, so that all crews end at about the same time."""
FEWEST_CELLS = 8
"""The cells of a split that share a run of the head, where a unit of all of them would take long."""


@dataclass(frozen=True)
class UnitSize:
    """The most batches and the most cells of a unit."""

    batches: int
    cells: int

    @classmethod
    def of(cls, splits: Sequence[tuple[Sequence[Chunk], int]], slots: int, sample_s: float) -> UnitSize:
        """Return the size of the units of a run, from the chunks and the number of cells of each split.

        `slots` units run at once; `sample_s` is the time of the full model on a sample.
        """
        batches = [batch for chunks, _ in splits for chunk in chunks for batch in chunk.batches]
        batch_s = max(1e-9, sample_s * max((len(batch.positions) for batch in batches), default=1))
        cells = max((count for _, count in splits), default=1)
        shared = max(1, min(cells, max(FEWEST_CELLS, int(UNIT_S / batch_s))))
        fitting = int(UNIT_S / (batch_s * (shared + 1)))
        return cls(max(1, min(fitting, math.ceil(len(batches) / (UNITS_PER_SLOT * slots)))), shared)

    def count(self, chunks: Sequence[Chunk], cells: int) -> int:
        """Return the number of units of a split."""
        ranges = sum(math.ceil(len(chunk.batches) / self.batches) for chunk in chunks)
        return ranges * math.ceil(cells / self.cells)
