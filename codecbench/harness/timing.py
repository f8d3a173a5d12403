"""The timing pass: times head, encode, decode and tail of the cells of a split, one sample at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from codecbench.errors import CodecbenchError
from codecbench.harness.opened_cell import Handles, OpenedCell, start_deadline
from codecbench.results.record import Cost
from codecbench.workers.answers import HeadCost
from codecbench.workers.pair import Pair

Result = TypeVar("Result")

WARM_UP = 3
"""Untimed samples that run through every cell before timing starts."""


@dataclass(frozen=True)
class Steps:
    """The seconds of one sample's steps after the head, and the size of its payload."""

    encode_s: float
    decode_s: float
    tail_s: float
    payload_bytes: int


@dataclass(frozen=True)
class Timings:
    """The timed samples of a cell. `head_s` and the head's part of `cost` are the same for all cells of a split."""

    head_s: list[float]
    steps: list[Steps]
    cost: Cost

    def seconds(self) -> dict[str, list[float]]:
        """Return the seconds of each step except the head, under the step's name in a record."""
        return {
            "encode_s": [step.encode_s for step in self.steps],
            "decode_s": [step.decode_s for step in self.steps],
            "tail_s": [step.tail_s for step in self.steps],
        }


@dataclass(frozen=True)
class Failure:
    """The reason why a cell could not be timed, in one line."""

    reason: str


@dataclass
class _Running:
    """The cost and the timed steps so far of a cell."""

    cost: Cost
    steps: list[Steps] = field(default_factory=list)


class TimingPass:
    """Times cells in turns, one sample at a time, so that drift of the machine affects all cells equally.

    `test_samples` is the number of test samples, `timing_samples` the number that is timed, `timeout_s` the limit of
    each step. `pair` must be set up for the cells' split.
    """

    def __init__(self, pair: Pair, *, test_samples: int, timing_samples: int, timeout_s: float) -> None:
        self.pair = pair
        self.test_samples = test_samples
        self.timing_samples = timing_samples
        self.timeout_s = timeout_s

    def measure(self, cells: Sequence[OpenedCell]) -> dict[str, Timings | Failure]:
        """Return the timings or the failure of each cell, by the cell's id. A failed cell does not affect the others.

        Raises WorkerError if the head fails.
        """
        if not cells:
            return {}
        with self.pair.single_threaded():
            head_s: list[float] = []
            head_cost = self.pair.device.head_cost("test", 0)
            running = {cell.id: self._guarded(cell, lambda h: _Running(self._cost(h, head_cost))) for cell in cells}
            for turn in range(WARM_UP + self.timing_samples):
                self._time_turn(turn, cells, running, head_s)
        return {
            cell_id: found if isinstance(found, Failure) else Timings(head_s, found.steps, found.cost)
            for cell_id, found in running.items()
        }

    def _time_turn(
        self, turn: int, cells: Sequence[OpenedCell], running: dict[str, _Running | Failure], head_s: list[float]
    ) -> None:
        """Time one sample through the head and through every cell. Each turn starts with the next cell."""
        keep, position = turn >= WARM_UP, turn % self.test_samples
        seconds = self.pair.device.time_head("test", position)
        if keep:
            head_s.append(seconds)
        start = turn % len(cells)
        for cell in (*cells[start:], *cells[:start]):
            timed = running[cell.id]
            if isinstance(timed, Failure):
                continue
            steps = self._guarded(cell, lambda handles: self._time_steps(handles, position))
            if isinstance(steps, Failure):
                running[cell.id] = steps
            elif keep:
                timed.steps.append(steps)

    def _guarded(self, cell: OpenedCell, step: Callable[[Handles], Result]) -> Result | Failure:
        try:
            deadline = start_deadline(self.pair, self.timeout_s)
            return step(cell.handles(deadline))
        except CodecbenchError as error:
            self.pair.replace()
            return Failure(str(error))

    def _cost(self, handles: Handles, head: HeadCost) -> Cost:
        encoder = self.pair.device.encoder_cost(handles.device, "test", 0, timeout_s=self.timeout_s)
        peaks = [peak for peak in (head.peak_bytes, encoder.peak_bytes) if peak is not None]
        return Cost(
            head_flop=head.flop, head_peak_bytes=head.peak_bytes, encoder_flop=encoder.flop,
            encoder_parameters=encoder.parameters, encoder_peak_bytes=encoder.peak_bytes,
            device_peak_bytes=max(peaks, default=None),
        )  # fmt: skip

    def _time_steps(self, handles: Handles, position: int) -> Steps:
        device, edge = self.pair.device, self.pair.edge
        encoded = device.time_encode(handles.device, "test", position, timeout_s=self.timeout_s)
        decoded = edge.time_decode(handles.edge, encoded.payload, timeout_s=self.timeout_s)
        return Steps(encoded.encode_s, decoded.decode_s, decoded.tail_s, len(encoded.payload))
