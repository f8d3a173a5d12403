"""A planned cell whose codec is open in the device and the edge process."""

from __future__ import annotations

from typing import NamedTuple

from codecbench import measure
from codecbench.experiment.cells import PlannedCell
from codecbench.fitting.states import FittedState
from codecbench.registry import reference
from codecbench.workers.pair import Pair


class Handles(NamedTuple):
    """Where a codec's instances are found in the two processes."""

    device: int
    edge: int


class OpenedCell:
    """A cell with its fitted state. Its codec is opened when first needed, and again where a process was replaced."""

    def __init__(self, pair: Pair, cell: PlannedCell, state: FittedState) -> None:
        self.pair = pair
        self.cell = cell
        self.state = state
        self._handles = Handles(0, 0)
        self._generation = -1

    @property
    def id(self) -> str:
        """The hash of the cell's key."""
        return self.cell.key.cell

    def handles(self, deadline: measure.Deadline) -> Handles:
        """Handles to the codec's instances, restored from the state. Raises WorkerError where one cannot be made."""
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
    """A cell's time limit, from when both processes stand ready: that they had to start anew is not its fault."""
    _ = pair.device, pair.edge
    return measure.Deadline(limit_s)
