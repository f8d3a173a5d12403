"""A planned cell with instances of its codec in the device process and in the edge process."""

from __future__ import annotations

from typing import NamedTuple

from codecbench import measure
from codecbench.experiment.cells import PlannedCell
from codecbench.fitting.states import FittedState
from codecbench.registry import reference
from codecbench.workers.pair import Pair


class Handles(NamedTuple):
    """The handles of a codec's instances in the two processes."""

    device: int
    edge: int


class OpenedCell:
    """A cell with its fitted state. Its codec is opened at first use, and again after a process has been replaced."""

    def __init__(self, pair: Pair, cell: PlannedCell, state: FittedState) -> None:
        self.pair = pair
        self.cell = cell
        self.state = state
        self._handles = Handles(0, 0)
        self._generation = -1

    @property
    def id(self) -> str:
        """The cell's identifier, a hash of its key."""
        return self.cell.key.cell

    def handles(self, deadline: measure.Deadline) -> Handles:
        """Return the handles of the codec's restored instances. Raises WorkerError if one cannot be created."""
        if self._generation != self.pair.generation:
            self._handles = self._open(deadline)
            self._generation = self.pair.generation
        return self._handles

    def _open(self, deadline: measure.Deadline) -> Handles:
        codec, spec, point = reference(self.cell.codec), self.cell.spec, self.cell.key.point
        device, edge = self.pair.device, self.pair.edge
        return Handles(
            device.open_codec(codec, spec, point, "device", self.state.device, timeout_s=deadline.remaining_s()),
            edge.open_codec(codec, spec, point, "edge", self.state.edge, timeout_s=deadline.remaining_s()),
        )


def start_deadline(pair: Pair, limit_s: float) -> measure.Deadline:
    """Return a cell's time limit. It starts once both processes are ready, so a restart does not count."""
    _ = pair.device, pair.edge
    return measure.Deadline(limit_s)
