"""The timing pass: times head, encode, decode and tail of the cells of a split, one sample at a time.

It is the check of repeats, too: new encoder processes encode some of the samples again, one by one. When all
of them have ended, new decoder processes decode, in another order. The payloads have to equal the scored ones byte for
byte, the decoded tensors within the kit's tolerance.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from codecbench.codec import Side
from codecbench.errors import CodecbenchError, CodecFailure, DataError, FailureCode, PluginError
from codecbench.harness.earned import unearned
from codecbench.harness.scored_cell import ScoredCell
from codecbench.measure import Deadline
from codecbench.results.digests import payload_sha256, tensor_sha256
from codecbench.results.record import Cost
from codecbench.results.repeats import difference, not_finite_fault
from codecbench.workers.answers import HeadCost, TimedStep
from codecbench.workers.codec_client import CodecClient
from codecbench.workers.forks import CodecProcesses
from codecbench.workers.pair import Pair

WARM_UP = 3
"""Samples that run through every cell untimed before timing starts."""
GROUP = 24
"""Cells that are timed in turns together. Each has a process, and these must fit into memory."""
SLOW_S = 0.02
"""A step that takes longer is not warmed up before each sample: what is left in the caches does not matter to it."""


@dataclass(frozen=True)
class Timings:
    """The timed samples of a cell, in one order. `head_s` and the head's part of `cost` are those of its group."""

    head_s: list[float]
    encode_s: list[float]
    decode_s: list[float]
    tail_s: list[float]
    payload_bytes: list[int]
    cost: Cost


@dataclass(frozen=True)
class Failure:
    """The reason why a cell could not be timed, in one line. With `again`, it has to be scored once more."""

    reason: str
    again: bool = False
    frames: Sequence[str] = ()
    """The lines of the plugin's own code where it failed."""


class ScoreAgain(Exception):
    """The tensors of the accuracy pass are needed for a comparison, and an earlier run did not leave them."""


@dataclass
class _Timed:
    """A cell in the pass: its process, and what was found by sample."""

    scored: ScoredCell
    client: CodecClient | None = None
    cost: Cost | None = None
    payloads: dict[int, bytes] = field(default_factory=dict)
    times: dict[Side, dict[int, TimedStep]] = field(default_factory=lambda: {"device": {}, "edge": {}})
    tail_s: dict[int, float] = field(default_factory=dict)
    last: Any = None
    """The sample or payload of the last step, which warms up the next one."""
    failure: Failure | None = None

    def close(self) -> None:
        """End the process."""
        if self.client is not None:
            self.client.close()
        self.client, self.last = None, None


class TimingPass:
    """Times cells in turns, one sample at a time, so that drift of the machine affects all cells of a group equally.

    `activations` are those of the test samples at their positions, in the order of the pass; the first WARM_UP of them
    run untimed and may be repeated. `timeout_s` is the limit of each step.
    """

    def __init__(
        self, pair: Pair, processes: CodecProcesses, activations: Mapping[int, NDArray[Any]], *, seed: int,
        timeout_s: float,
    ) -> None:  # fmt: skip
        self.pair = pair
        self.processes = processes
        self.activations = activations
        self.positions = list(activations)
        self.shuffled = random.Random(seed + 1).sample(self.positions, len(self.positions))  # noqa: S311 - an order
        self.timeout_s = timeout_s

    def measure(self, cells: Sequence[ScoredCell]) -> dict[str, Timings | Failure]:
        """Return the timings or the failure of each cell, by the cell's id. A failed cell does not affect the others.

        Raises WorkerError if the head fails.
        """
        found: dict[str, Timings | Failure] = {}
        with self.pair.single_threaded():
            for start in range(0, len(cells), GROUP):
                found |= self._measure_group([_Timed(scored) for scored in cells[start : start + GROUP]])
        return found

    def _measure_group(self, group: Sequence[_Timed]) -> dict[str, Timings | Failure]:
        head_s: dict[int, float] = {}
        self._empty = CodecClient(self.processes.start())
        try:
            self._open(group, "device")
            head_cost = self.pair.device.head_cost("test", self.positions[0])
            for timed in group:
                self._guarded(timed, lambda timed: self._count_cost(timed, head_cost))
            self._run_turns(group, self.positions, lambda turn, at: self._encode_turn(turn, group, at, head_s))
            for timed in group:
                timed.close()  # no encoder runs any more when the first decoder starts
            self._open(group, "edge")
            for timed in group:
                self._guarded(timed, self._count_decoder_flop)
            self._run_turns(group, self.shuffled, lambda turn, at: self._decode_turn(turn, group, at))
        finally:
            self._empty.close()
            for timed in group:
                timed.close()
        return {timed.scored.id: self._result(timed, head_s) for timed in group}

    def _open(self, group: Sequence[_Timed], side: Side) -> None:
        """Start a codec process for each cell that has not failed."""
        for timed in group:
            self._guarded(timed, lambda timed: self._start(timed, side))
        for timed in group:
            self._guarded(timed, lambda timed: self._client(timed).finish_open(Deadline(self.timeout_s)))

    def _start(self, timed: _Timed, side: Side) -> None:
        cell, state = timed.scored.cell, timed.scored.state
        timed.client = CodecClient(self.processes.start())
        timed.client.start_open(
            cell.codec.reference, cell.spec, cell.key.point, side, state.device if side == "device" else state.edge
        )

    def _run_turns(self, group: Sequence[_Timed], positions: Sequence[int], turn: Callable[[int, int], None]) -> None:
        """Call `turn` with a number, negative for a turn that is not timed, and a position."""
        warm = [positions[i % len(positions)] for i in range(WARM_UP)]
        for number, position in enumerate((*warm, *positions), -WARM_UP):
            if any(timed.failure is None for timed in group):
                turn(number, position)

    def _encode_turn(self, turn: int, group: Sequence[_Timed], position: int, head_s: dict[int, float]) -> None:
        seconds = self.pair.device.time_head("test", position)
        if turn >= 0:
            head_s[position] = seconds
        for timed in _rotated(group, turn):
            self._guarded(timed, lambda timed: self._encode(timed, position, keep=turn >= 0))

    def _decode_turn(self, turn: int, group: Sequence[_Timed], position: int) -> None:
        for timed in _rotated(group, turn):
            self._guarded(timed, lambda timed: self._decode(timed, position, keep=turn >= 0))

    def _encode(self, timed: _Timed, position: int, *, keep: bool) -> None:
        sample, client = self.activations[position], self._client(timed)
        if self._needs_warming(timed, "device"):
            client.encode_timed(timed.last, timeout_s=self.timeout_s)
        payload, step = client.encode_timed(sample, empty=self._empty, timeout_s=self.timeout_s)
        timed.last = sample
        if keep:
            timed.payloads[position] = payload
            timed.times["device"][position] = step
            _check_payload(timed.scored, position, payload)

    def _decode(self, timed: _Timed, position: int, *, keep: bool) -> None:
        payload, client = timed.payloads[position], self._client(timed)
        if self._needs_warming(timed, "edge"):
            client.decode_timed(timed.last, timeout_s=self.timeout_s)
        tensor, step = client.decode_timed(payload, empty=self._empty, timeout_s=self.timeout_s)
        timed.last = payload
        reason = timed.scored.cell.spec.mismatch(tensor.shape, str(tensor.dtype))
        if reason:
            raise CodecFailure(f"decode gave the wrong tensor: {reason}", code=FailureCode.WRONG_TENSOR)
        reason = not_finite_fault(tensor, self.activations[position])
        if reason:
            raise CodecFailure(reason, code=FailureCode.NOT_FINITE)
        tail_s = self.pair.edge.time_tail(tensor)
        if keep:
            timed.times["edge"][position] = step
            timed.tail_s[position] = tail_s
            _check_tensor(timed.scored, position, tensor)

    def _needs_warming(self, timed: _Timed, side: Side) -> bool:
        """True if a sample should run untimed before the next one: other cells have used the caches since the last."""
        times = timed.times[side]
        return timed.last is not None and (not times or next(reversed(times.values())).reported_s < SLOW_S)

    def _count_cost(self, timed: _Timed, head: HeadCost) -> None:
        encoder = self._client(timed).encoder_cost(self.activations[self.positions[0]], timeout_s=self.timeout_s)
        peaks = [peak for peak in (head.peak_bytes, encoder.peak_bytes) if peak is not None]
        timed.cost = Cost(
            head_flop=head.flop, head_peak_bytes=head.peak_bytes, encoder_flop=encoder.flop,
            encoder_parameters=encoder.parameters, encoder_peak_bytes=encoder.peak_bytes,
            device_peak_bytes=max(peaks, default=None), decoder_flop=None,
        )  # fmt: skip

    def _count_decoder_flop(self, timed: _Timed) -> None:
        assert timed.cost is not None
        flop = self._client(timed).decoder_flop(timed.payloads[self.positions[0]], timeout_s=self.timeout_s)
        timed.cost = timed.cost.model_copy(update={"decoder_flop": flop})

    def _client(self, timed: _Timed) -> CodecClient:
        assert timed.client is not None
        return timed.client

    def _guarded(self, timed: _Timed, step: Callable[[_Timed], None]) -> None:
        """Run a step of a cell that has not failed; an error of its codec fails this cell only."""
        if timed.failure is not None:
            return
        try:
            step(timed)
        except ScoreAgain:
            timed.failure = Failure("the decoded tensors of an earlier run are needed", again=True)
        except (DataError, PluginError):  # the workload's, not the codec's
            raise
        except CodecbenchError as error:
            timed.failure = Failure(str(error), frames=error.frames)
        if timed.failure is not None:
            timed.close()

    def _result(self, timed: _Timed, head_s: Mapping[int, float]) -> Timings | Failure:
        if timed.failure is not None:
            return timed.failure
        sides: tuple[tuple[Literal["encode", "decode"], Side], ...] = (("encode", "device"), ("decode", "edge"))
        for step, side in sides:
            reason = unearned(step, list(timed.times[side].values()))
            if reason is not None:
                return Failure(reason)
        assert timed.cost is not None
        encode, decode = ([timed.times[side][at].reported_s for at in self.positions] for _, side in sides)
        return Timings(
            [head_s[at] for at in self.positions], encode, decode, [timed.tail_s[at] for at in self.positions],
            [len(timed.payloads[at]) for at in self.positions], timed.cost,
        )  # fmt: skip


def _rotated(group: Sequence[_Timed], turn: int) -> Sequence[_Timed]:
    """Return the cells, starting with another one each turn."""
    start = turn % len(group)
    return [*group[start:], *group[:start]]


def _check_payload(scored: ScoredCell, position: int, payload: bytes) -> None:
    """Raise CodecFailure if a new instance encodes a sample to other bytes than those that were scored."""
    if position in scored.seen and payload_sha256(payload) != scored.seen[position].payload_sha256:
        raise CodecFailure(
            f"encoded alone by a new instance, test sample {position} gives other bytes than those that were scored",
            code=FailureCode.NOT_REPEATED,
        )


def _check_tensor(scored: ScoredCell, position: int, tensor: NDArray[Any]) -> None:
    """Raise CodecFailure if a new instance decodes a payload to another tensor than the one that was scored."""
    seen = scored.seen.get(position)
    if seen is None or tensor_sha256(tensor) == seen.tensor_sha256:
        return
    if seen.tensor is None:
        if scored.resumed:
            raise ScoreAgain
        return  # more tensors than there was room to keep
    reason = difference(tensor, seen.tensor, lossless="lossless" in scored.cell.codec.tags)
    if reason is not None:
        raise CodecFailure(
            f"decoded alone by a new instance, test sample {position} gives another tensor than the one that was "
            f"scored: {reason}", code=FailureCode.NOT_REPEATED,
        )  # fmt: skip
