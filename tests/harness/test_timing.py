"""The timing pass: the steps of each sample, the cost on the device, and the check of repeats."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.factories import make_info
from support.paths import REPEATING
from support.runs import RAW_BYTES, KeptProcesses, record_of, run

from codecbench.codec import TensorSpec
from codecbench.errors import CodecFailure
from codecbench.experiment.cells import PlannedCell
from codecbench.fitting.states import FittedState
from codecbench.harness.scored_cell import ScoredCell
from codecbench.harness.timing import Failure, TimingPass, Timings
from codecbench.measure import percentile
from codecbench.results.cell import CellKey
from codecbench.results.store import Store
from codecbench.workers.answers import EncoderCost, HeadCost, TimedStep


def test_a_record_keeps_the_steps_of_each_timed_sample(measured: Path) -> None:
    record = record_of(measured, "raw", "stem")
    assert record.timed is not None
    assert record.time is not None
    assert record.timed.payload_bytes == [RAW_BYTES["stem"]] * 24
    for step in ("head_s", "encode_s", "decode_s", "tail_s"):
        seconds, summary = getattr(record.timed, step), getattr(record.time, step)
        assert len(seconds) == summary.n == 24
        assert percentile(seconds, 0.5) == pytest.approx(summary.median, abs=1e-8)
    others = [r.timed for r in Store(measured).records() if r.key.split == "stem" and r.timed is not None]
    assert len(others) > 1
    assert all(other.head_s == record.timed.head_s for other in others)


def test_timings_have_a_sample_each(measured: Path) -> None:
    for record in Store(measured).records():
        if record.status == "ok":
            assert record.time is not None
            steps = (record.time.head_s, record.time.encode_s, record.time.decode_s, record.time.tail_s)
            assert [step.n for step in steps] == [24] * 4
            assert all(0 < step.median <= step.p95 for step in steps)
            assert record.time.fit_s is None


def test_costs_are_null_where_nothing_was_counted(measured: Path) -> None:
    cost = record_of(measured, "raw", "stem").cost
    assert cost is not None
    assert cost.head_flop == 2 * 27 * 6 * 16
    assert (cost.encoder_flop, cost.encoder_parameters, cost.decoder_flop) == (None, None, None)
    assert cost.head_peak_bytes is not None
    assert cost.head_peak_bytes > 0
    assert cost.device_peak_bytes == max(cost.head_peak_bytes, cost.encoder_peak_bytes or 0)


# --- turns and failures ----------------------------------------------------------------------------------------------

ROW = TensorSpec((2,))
POSITIONS = (7, 3, 9, 4)


class Machine:
    """Stands for the pair and for the processes of codecs: notes what it is asked for, in order.

    An encoder of level `n` gives the sample and `n` as bytes, its decoder the sample. `faults` are called with each
    request, and may raise. `step_s` is what every step takes.
    """

    def __init__(self, step_s: float = 0.1) -> None:
        self.device = self.edge = self
        self.step_s = step_s
        self.asked: list[tuple[str, int, int]] = []
        self.fault: Callable[[str, int, int], None] = lambda _what, _level, _position: None

    def note(self, what: str, level: int, position: int) -> None:
        self.asked.append((what, level, position))
        self.fault(what, level, position)

    @contextmanager
    def single_threaded(self) -> Iterator[None]:
        yield

    def start(self) -> Machine:
        return self

    def head_cost(self, subset: str, position: int) -> HeadCost:
        return HeadCost(7, 100)

    def time_head(self, subset: str, position: int) -> float:
        self.note("head", 0, position)
        return float(position)

    def time_tail(self, tensor: Any) -> float:
        return 0.3


class FakeClient:
    """A codec's process on a Machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.level, self.side = 0, ""

    def start_open(self, codec: str, spec: Any, point: Mapping[str, Any], side: str, state: bytes) -> None:
        self.level, self.side = point["level"], side
        self.machine.note(f"open {side} {state.decode()}", self.level, 0)

    def finish_open(self, deadline: Any) -> None:
        pass

    def close(self) -> None:
        if self.side:  # else it is the process without a codec
            self.machine.note(f"close {self.side}", self.level, 0)

    def encoder_cost(self, sample: Any, *, timeout_s: float) -> EncoderCost:
        return EncoderCost(None, None, 200)

    def decoder_flop(self, payload: bytes, *, timeout_s: float) -> int | None:
        return 10 * payload[-1]

    def encode_timed(self, sample: Any, *, empty: Any = None, timeout_s: float) -> tuple[bytes, TimedStep]:
        self.machine.note("encode", self.level, int(sample[0]))
        return sample.tobytes() + bytes([self.level]), self.step

    def decode_timed(self, payload: bytes, *, empty: Any = None, timeout_s: float) -> tuple[Any, TimedStep]:
        tensor = np.frombuffer(payload[:-1], np.float32)
        self.machine.note("decode", self.level, int(tensor[0]))
        return tensor, self.step

    @property
    def step(self) -> TimedStep:
        return TimedStep(self.machine.step_s, self.machine.step_s, 0.0)


def cell_of(level: int) -> ScoredCell:
    """A cell that was scored: its payloads and tensors are those of the machine."""
    key = CellKey("tiny", "stem", "raw", 1, {"level": level}, 0, "test-5")
    scored = ScoredCell(PlannedCell(key, make_info("raw"), ROW), FittedState(b"D", b"E"))
    for position in POSITIONS:
        scored.see(position, sample(position).tobytes() + bytes([level]), sample(position), keep=True)
    return scored


def sample(position: int) -> Any:
    return np.array([position, 0.5], np.float32)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr("codecbench.harness.timing.CodecClient", FakeClient)
    return Machine()


def measure(machine: Machine, *cells: ScoredCell) -> list[Timings | Failure]:
    pair: Any = machine
    timing = TimingPass(pair, pair, {at: sample(at) for at in POSITIONS}, seed=0, timeout_s=9.0)
    found = timing.measure(cells)
    return [found[cell.id] for cell in cells]


def test_all_encoders_have_ended_before_a_decoder_starts(machine: Machine) -> None:
    measure(machine, cell_of(1), cell_of(2))
    sides = [what for what, _, _ in machine.asked if what.startswith(("open", "close"))]
    assert sides == ["open device D"] * 2 + ["close device"] * 2 + ["open edge E"] * 2 + ["close edge"] * 2


def test_the_cells_take_turns(machine: Machine) -> None:
    measure(machine, cell_of(1), cell_of(2), cell_of(3))
    # After the turns that are not timed, each turn starts with another cell. They warm up before: first by the sample
    # itself, then, as long as it is not known that the step is slow, by the sample before.
    order = [level for what, level, _ in machine.asked if what == "encode"]
    assert order == [
        1, 2, 3, 2, 2, 3, 3, 1, 1, 3, 3, 1, 1, 2, 2,
        1, 1, 2, 2, 3, 3, 2, 3, 1, 3, 1, 2, 1, 2, 3,
    ]  # fmt: skip
    assert [at for what, _, at in machine.asked if what == "head"] == [*POSITIONS[:3], *POSITIONS]


def test_a_quick_step_is_warmed_up_before_each_sample(machine: Machine) -> None:
    machine.step_s = 0.001
    measure(machine, cell_of(1))
    assert [at for what, _, at in machine.asked if what == "encode"] == [7, 7, 3, 3, 9, 9, 7, 7, 3, 3, 9, 9, 4]


def test_decoders_get_the_samples_in_another_order(machine: Machine) -> None:
    measure(machine, cell_of(1))
    encoded = [at for what, _, at in machine.asked if what == "encode"][-4:]
    decoded = [at for what, _, at in machine.asked if what == "decode"][-4:]
    assert (tuple(encoded), sorted(decoded)) == (POSITIONS, sorted(POSITIONS))
    assert encoded != decoded


def test_timings_are_in_one_order(machine: Machine) -> None:
    (found,) = measure(machine, cell_of(1))
    assert isinstance(found, Timings)
    assert found.head_s == [float(position) for position in POSITIONS]
    assert (found.encode_s, found.decode_s, found.tail_s, found.payload_bytes) == (
        [0.1] * 4,
        [0.1] * 4,
        [0.3] * 4,
        [9] * 4,
    )
    assert (found.cost.head_flop, found.cost.encoder_peak_bytes, found.cost.device_peak_bytes) == (7, 200, 200)
    assert found.cost.decoder_flop == 10


@pytest.mark.parametrize("step", ["encode", "decode"])
def test_a_cell_that_fails_has_its_reason_and_costs_no_other(machine: Machine, step: str) -> None:
    def fail(what: str, level: int, position: int) -> None:
        if (what, level, position) == (step, 2, 4):
            raise CodecFailure(f"{step}: KeyError: 'table'")

    machine.fault = fail
    first, bad, third = measure(machine, cell_of(1), cell_of(2), cell_of(3))
    assert bad == Failure(f"{step}: KeyError: 'table'")
    for found in (first, third):
        assert isinstance(found, Timings)
        assert found.head_s == [float(position) for position in POSITIONS]
    failed_at = machine.asked.index((step, 2, 4))
    assert machine.asked[failed_at + 1] == (f"close {'device' if step == 'encode' else 'edge'}", 2, 0)
    assert not [request for request in machine.asked[failed_at + 2 :] if request[1] == 2]


def test_groups_are_timed_one_after_another(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codecbench.harness.timing.GROUP", 2)
    found = measure(machine, cell_of(1), cell_of(2), cell_of(3))
    assert all(isinstance(timings, Timings) for timings in found)
    assert [level for what, level, _ in machine.asked if what == "close edge"] == [1, 2, 3]
    third = machine.asked.index(("open device D", 3, 0))
    assert ("close edge", 2, 0) in machine.asked[:third]


def test_a_time_that_was_not_earned_fails_the_cell(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeClient, "step", TimedStep(0.001, 0.0405, 0.0005))
    (found,) = measure(machine, cell_of(1))
    assert found == Failure("encode reported 1 ms, took 40 ms")


# --- repeats ---------------------------------------------------------------------------------------------------------


def test_a_tensor_of_an_earlier_run_that_differs_is_scored_again(machine: Machine) -> None:
    resumed, rounded = cell_of(1), cell_of(2)
    resumed.resumed = True
    for seen in [*resumed.seen.values(), *rounded.seen.values()]:
        seen.tensor, seen.tensor_sha256 = None, "another"
    again, kept_too_few = measure(machine, resumed, rounded)
    assert again == Failure("the decoded tensors of an earlier run are needed", again=True)
    assert isinstance(kept_too_few, Timings)  # no tensor to compare with, for lack of room


def test_other_answers_in_the_repeat_fail_their_cells_only(tmp_path: Path, shared: KeptProcesses) -> None:
    summary, _ = run(tmp_path, "other-bytes", "same", "other-tensor", "other-rounding", plugin=(REPEATING,))
    assert (summary.ok, summary.failed) == (2, 2)
    assert {record_of(tmp_path, codec).status for codec in ("same", "other-rounding")} == {"ok"}
    alone = r"d alone by a new instance, test sample \d+ gives "
    assert re.fullmatch(
        f"encode{alone}other bytes than those that were scored", record_of(tmp_path, "other-bytes").reason or ""
    )
    assert re.fullmatch(
        f"decode{alone}another tensor than the one that was scored: values differ by up to 0.25",
        record_of(tmp_path, "other-tensor").reason or "",
    )
