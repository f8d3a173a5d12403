"""The timing pass: the steps of each sample, and the cost on the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.runs import RAW_BYTES, record_of

from codecbench.codec import TensorSpec
from codecbench.errors import CodecFailure
from codecbench.experiment.cells import PlannedCell
from codecbench.fitting.states import FittedState
from codecbench.harness.opened_cell import OpenedCell
from codecbench.harness.timing import Failure, Steps, TimingPass, Timings
from codecbench.measure import percentile
from codecbench.registry import codecs, manager
from codecbench.results.cell import CellKey
from codecbench.results.store import Store
from codecbench.workers.answers import EncoderCost, HeadCost, TimedDecode, TimedEncode


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
    assert (cost.encoder_flop, cost.encoder_parameters) == (None, None)
    assert cost.head_peak_bytes is not None
    assert cost.head_peak_bytes > 0
    assert cost.device_peak_bytes == max(cost.head_peak_bytes, cost.encoder_peak_bytes or 0)


# --- turns and failures ----------------------------------------------------------------------------------------------


class RecordingPair:
    """A pair whose processes only keep their requests. The codec of level `BAD` fails at its fifth encoding."""

    def __init__(self) -> None:
        self.device = self.edge = self
        self.generation = 0
        self.heads: list[int] = []
        self.encodings: list[int] = []
        self.opened: list[int] = []

    @contextmanager
    def single_threaded(self) -> Iterator[None]:
        yield

    def replace(self) -> None:
        self.generation += 1

    def open_codec(self, codec: str, spec: Any, point: Mapping[str, Any], *state: Any, timeout_s: float) -> int:
        self.opened.append(point["level"])
        return int(point["level"])

    def head_cost(self, subset: str, position: int) -> HeadCost:
        return HeadCost(7, 100)

    def encoder_cost(self, handle: int, subset: str, position: int, *, timeout_s: float) -> EncoderCost:
        return EncoderCost(None, None, 200)

    def time_head(self, subset: str, position: int) -> float:
        self.heads.append(position)
        return float(len(self.heads))

    def time_encode(self, handle: int, subset: str, position: int, *, timeout_s: float) -> TimedEncode:
        self.encodings.append(handle)
        if handle == BAD and self.encodings.count(BAD) == 5:
            raise CodecFailure("encode: KeyError: 'table'")
        return TimedEncode(b"12345", 0.1)

    def time_decode(self, handle: int, payload: bytes, *, timeout_s: float) -> TimedDecode:
        return TimedDecode(0.2, 0.3)


BAD = 2


@pytest.fixture
def recorded() -> tuple[RecordingPair, dict[str, Timings | Failure]]:
    """Three cells of which one fails, timed on four samples of five."""
    pair: Any = RecordingPair()
    cells = []
    for level in (1, BAD, 3):
        key = CellKey("tiny", "stem", "raw", 1, {"level": level}, 0, "test-5")
        planned = PlannedCell(key, codecs(manager())["raw"], TensorSpec((1,)), None)
        cells.append(OpenedCell(pair, planned, FittedState()))
    timed = TimingPass(pair, test_samples=5, timing_samples=4, timeout_s=9.0).measure(cells)
    return pair, {f"level {cell.cell.key.point['level']}": timed[cell.id] for cell in cells}


def test_the_cells_take_turns(recorded: tuple[RecordingPair, dict[str, Timings | Failure]]) -> None:
    pair, _ = recorded
    assert pair.encodings == [1, 2, 3, 2, 3, 1, 3, 1, 2, 1, 2, 3, 2, 3, 1, 3, 1, 1, 3]
    assert pair.heads == [0, 1, 2, 3, 4, 0, 1]


def test_a_cell_that_fails_has_its_reason_and_costs_no_other(
    recorded: tuple[RecordingPair, dict[str, Timings | Failure]],
) -> None:
    pair, timed = recorded
    assert timed["level 2"] == Failure("encode: KeyError: 'table'")
    for name in ("level 1", "level 3"):
        found = timed[name]
        assert isinstance(found, Timings)
        assert found.head_s == [4.0, 5.0, 6.0, 7.0]
        assert found.steps == [Steps(0.1, 0.2, 0.3, 5)] * 4
        assert (found.cost.head_flop, found.cost.device_peak_bytes) == (7, 200)
    # Both sides of each cell once, and after the processes were replaced those of the cells that go on once more.
    assert pair.opened == [1, 1, 2, 2, 3, 3, 3, 3, 1, 1]
