"""The activations of a chunk: computed batch by batch, beside the cells that wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from codecbench.codec import TensorSpec
from codecbench.errors import DataError
from codecbench.harness.chunks import Chunk, ChunkActivations, batches_of
from codecbench.harness.side_by_side import Pass, Tail, run_side_by_side
from codecbench.measure import Deadline
from codecbench.workers.pair import Pair
from codecbench.workers.tensor_file import TensorFile

SPEC = TensorSpec((2,))
BATCHES = batches_of({"test": 5, "choice": 2}, size=3)


class Device:
    """A device whose head gives the row's number; at position `hangs` it does not answer, at `fails` it raises."""

    def __init__(self, *, hangs: int | None = None, fails: int | None = None) -> None:
        self.connection, self._process = Pipe()
        self.hangs = hangs
        self.fails = fails
        self.pending = self.closed = False
        self.requests: list[tuple[str, range]] = []

    def start_head(self, subset: str, positions: range, file: TensorFile, first_row: int) -> None:
        self.pending = True
        self.requests.append((subset, positions))
        self._rows: Sequence[int] = range(first_row, first_row + len(positions))
        for row in self._rows:
            file.write(row, np.full(2, row, np.float32))
        if self.hangs != len(self.requests) - 1:
            self._process.send_bytes(b"answer")

    def has_answer(self, wait_s: float) -> bool:
        return self.connection.poll(wait_s)

    def finish_head(self, deadline: Deadline) -> tuple[list[tuple[int, ...]], bytes]:
        assert deadline.remaining_s() > 1000
        self.connection.recv_bytes()
        self.pending = False
        if self.fails == len(self.requests) - 1:
            raise DataError("an image does not open")
        return [(2,)] * len(self._rows), str(self.requests[-1]).encode()

    def close(self) -> None:
        self.closed = True


def activations_of(device: Device, folder: Path) -> ChunkActivations:
    pair = SimpleNamespace(device=device, edge=None)
    return ChunkActivations(cast(Pair, pair), SPEC, Chunk(BATCHES), folder)


def tail() -> Tail:
    return Tail(cast(Pair, SimpleNamespace(edge=None)))


def test_each_batch_is_there_before_a_cell_gets_it(tmp_path: Path) -> None:
    device, seen = Device(), list[list[float]]()
    with activations_of(device, tmp_path) as activations:

        def cell() -> Pass:
            for batch in BATCHES:
                yield from activations.needed(batch, Deadline(60.0))
                seen.append([float(values[0]) for values in activations.of(batch)])

        run_side_by_side([cell(), cell(), cell()], tail(), head=activations.run_head())
        assert activations.targets == {b: str((b.subset, b.positions)).encode() for b in BATCHES}
    assert sorted(seen) == sorted([[0.0, 1.0, 2.0], [3.0, 4.0], [5.0, 6.0]] * 3)
    assert device.requests == [(batch.subset, batch.positions) for batch in BATCHES]  # each once, for all cells
    assert list(tmp_path.iterdir()) == []


def test_time_in_the_head_is_not_a_cells_time(tmp_path: Path) -> None:
    with activations_of(Device(), tmp_path) as activations:
        deadline = Deadline(60.0)
        (waiting,) = (activations.needed(BATCHES[0], deadline),)
        awaited = next(waiting)
        assert not awaited.ready()
        before = deadline.remaining_s()
        run_side_by_side([], tail(), head=activations.run_head())
        assert awaited.ready()
        assert list(waiting) == []
        assert deadline.remaining_s() > before
        assert list(activations.needed(BATCHES[1], deadline)) == []  # nothing to wait for


def test_a_mistake_in_the_workload_ends_all_cells(tmp_path: Path) -> None:
    device, seen = Device(fails=1), list[int]()
    with activations_of(device, tmp_path) as activations:

        def cell() -> Pass:
            for number, batch in enumerate(BATCHES):
                yield from activations.needed(batch, Deadline(60.0))
                seen.append(number)

        with pytest.raises(DataError, match="does not open"):
            run_side_by_side([cell()], tail(), head=activations.run_head())
    assert seen == [0]
    assert not device.closed  # it has answered: it can go on


def test_an_interrupted_head_is_ended(tmp_path: Path) -> None:
    """Else its answer would be taken for that to the next request."""
    device = Device(hangs=0)
    with activations_of(device, tmp_path) as activations:

        def interrupted() -> Pass:
            yield from ()
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_side_by_side([interrupted()], tail(), head=activations.run_head())
    assert device.closed


def test_values_that_are_not_finite_are_found_once(tmp_path: Path) -> None:
    class Infinite(Device):
        def start_head(self, subset: str, positions: range, file: TensorFile, first_row: int) -> None:
            super().start_head(subset, positions, file, first_row)
            if first_row == 3:
                file.write(4, np.array([np.inf, 0], np.float32))

    with activations_of(Infinite(), tmp_path) as activations:
        run_side_by_side([], tail(), head=activations.run_head())
        found: Any = [activations.finite[batch] for batch in BATCHES]
        assert found == [[True] * 3, [True, False], [True, True]]
        assert not activations.all_finite()
