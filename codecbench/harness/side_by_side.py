"""Runs the accuracy passes of several cells side by side: while one waits for a process, another goes on.

Everything happens in one thread. A pass is a generator that yields what it waits for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from multiprocessing.connection import wait
from typing import Protocol

from codecbench.errors import CodecbenchError
from codecbench.measure import Deadline, Stopwatch
from codecbench.results.outcomes import Columns
from codecbench.workers.client import EdgeClient
from codecbench.workers.connection import WorkerClient
from codecbench.workers.pair import Pair

CELLS = 2
"""Cells whose passes run at the same time. Each has an encoder, a decoder and a file of decoded tensors."""


class Awaited(Protocol):
    """Something that a pass waits for."""

    def ready(self) -> bool:
        """True once the pass can go on."""

    def sources(self) -> list[WorkerClient]:
        """Return the processes whose answers may change that."""

    def remaining_s(self) -> float | None:
        """Return the seconds after which the pass goes on in any case; None if there is no limit."""


Pass = Generator[Awaited, None, None]


class PendingReply:
    """A process's reply to its pending request. After the deadline, receiving it raises WorkerTimeout."""

    def __init__(self, client: WorkerClient, deadline: Deadline) -> None:
        self._client = client
        self._deadline = deadline

    def ready(self) -> bool:
        """True if there is something to receive: a reply, the end of the process, or the end of the time."""
        return self._client.closed or self._deadline.remaining_s() <= 0 or self._client.has_answer(0)

    def sources(self) -> list[WorkerClient]:
        """Return the process."""
        return [self._client]

    def remaining_s(self) -> float:
        """Return the seconds to the deadline."""
        return self._deadline.remaining_s()


class Score:
    """A batch for the tail, and its outcomes once they are there. `limit_s` is its time limit, from its turn on."""

    def __init__(self, send: Callable[[EdgeClient], None], limit_s: float) -> None:
        self.send = send
        self.limit_s = limit_s
        self.outcomes: Columns | None = None
        self.error: CodecbenchError | None = None
        self.cancelled = False
        self.waited_s = 0.0
        """The seconds before its turn."""
        self.queued = Stopwatch()

    def ready(self) -> bool:
        """True once there are outcomes, or an error."""
        return self.outcomes is not None or self.error is not None

    def sources(self) -> list[WorkerClient]:
        """Return nothing: `Tail` watches its process for all passes together."""
        return []

    def remaining_s(self) -> None:
        """Return None: `Tail` watches the time, too."""

    def result(self) -> Columns:
        """Return the outcomes, or raise the error."""
        if self.error is not None:
            raise self.error
        assert self.outcomes is not None
        return self.outcomes


class Tail:
    """The edge's process, shared by all cells: it scores one batch after another, in the order in which they come."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._edge = pair.edge
        self._waiting: deque[Score] = deque()
        self._at_work: tuple[Score, Deadline] | None = None

    def score(self, score: Score) -> Score:
        """Take a batch, which is scored once all before it are; return it."""
        self._waiting.append(score)
        self._go_on()
        return score

    def owed(self) -> PendingReply | None:
        """Return the answer that the process owes, if it is at work."""
        return None if self._at_work is None else PendingReply(self._edge, self._at_work[1])

    def collect(self) -> None:
        """Receive the outcomes of the batch at work, waiting for them, and begin with the next one."""
        if self._at_work is not None:
            (score, deadline), self._at_work = self._at_work, None
            try:
                score.outcomes = self._edge.finish_score(deadline)
            except CodecbenchError as error:
                score.error = error
        self._go_on()

    def drop(self) -> None:
        """End a process that is still at work, for a pass that has failed: the next request would get its answer."""
        if self._at_work is not None:
            self._edge.close()
        self._at_work = None
        self._waiting.clear()

    def _go_on(self) -> None:
        while self._at_work is None and self._waiting:
            score = self._waiting.popleft()
            if score.cancelled:
                continue
            try:
                self._edge = self._pair.edge  # a new one, if the last one has died
                score.waited_s = score.queued.elapsed_s()
                score.send(self._edge)
                self._at_work = score, Deadline(score.limit_s)
            except CodecbenchError as error:
                score.error = error


def run_side_by_side(passes: Iterable[Pass], tail: Tail, *, head: Pass | None = None, at_once: int = CELLS) -> None:
    """Run all passes to their end, in their order, so many at a time, and the head's pass beside them.

    An error of a pass ends all, and is raised.
    """
    coming = iter(passes)
    running: dict[Pass, Awaited] = {}
    try:
        if head is not None:
            _advance(running, head)
        while True:
            while len(running) - (head in running) < at_once and (begun := next(coming, None)) is not None:
                _advance(running, begun)
            if not running:
                tail.collect()  # a pass that failed may have left a batch at work
                return
            owed = tail.owed()
            if owed is not None and owed.ready():
                tail.collect()
            ready = [begun for begun, awaited in running.items() if awaited.ready()]
            for begun in ready:
                _advance(running, begun)
            if not ready:
                owed = tail.owed()
                _wait_for([*running.values(), *([] if owed is None else [owed])])
    finally:
        for begun in running:
            begun.close()
        tail.drop()


def _advance(running: dict[Pass, Awaited], begun: Pass) -> None:
    """Run a pass to the next point where it waits, or to its end."""
    running.pop(begun, None)
    awaited = next(begun, None)
    if awaited is not None:
        running[begun] = awaited


def _wait_for(awaited: Iterable[Awaited]) -> None:
    """Wait until one of these may be ready."""
    connections = [client.connection for each in awaited for client in each.sources()]
    limits = [limit for each in awaited if (limit := each.remaining_s()) is not None]
    wait(connections, min(limits, default=None))
