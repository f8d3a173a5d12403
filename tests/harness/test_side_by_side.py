"""Passes that run side by side: in order, two at a time, with one tail for all."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import Pipe
from typing import Any, cast

import numpy as np
import pytest

from codecbench.errors import CodecFailure, WorkerDied, WorkerTimeout
from codecbench.harness.side_by_side import Pass, PendingReply, Score, Tail, run_side_by_side
from codecbench.measure import Deadline
from codecbench.results.outcomes import Columns
from codecbench.workers.client import EdgeClient
from codecbench.workers.connection import WorkerClient
from codecbench.workers.pair import Pair


class Client:
    """A client whose process answers when `answer` is called."""

    def __init__(self) -> None:
        self.connection, self._process = Pipe()
        self.closed = False
        self.received = 0

    def answer(self) -> None:
        self._process.send_bytes(b"answer")

    def has_answer(self, wait_s: float) -> bool:
        return self.connection.poll(wait_s)

    def receive(self) -> None:
        assert self.has_answer(0)
        self.connection.recv_bytes()
        self.received += 1

    def close(self) -> None:
        self.closed = True


class Edge(Client):
    """An edge whose tail scores a batch as soon as it gets it, unless it hangs or raises."""

    def __init__(self, *, hangs: bool = False, error: Exception | None = None) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.hangs = hangs
        self.error = error

    def start(self, batch: int) -> None:
        self.batches.append(batch)
        if not self.hangs:
            self.answer()

    def finish_score(self, deadline: Deadline) -> Columns:
        if not self.has_answer(deadline.remaining_s()):
            self.closed = True
            raise WorkerTimeout("no answer")
        self.receive()
        if self.error is not None:
            raise self.error
        return {"numerator": np.array([float(self.batches[-1])]), "denominator": np.ones(1)}


class Edges:
    """A pair that starts these edges one after another, each when the one before has ended."""

    def __init__(self, *edges: Edge) -> None:
        self.edges = list(edges)

    @property
    def edge(self) -> Edge:
        while self.edges[0].closed:
            self.edges.pop(0)
        return self.edges[0]


def tail_of(*edges: Edge) -> Tail:
    return Tail(cast(Pair, Edges(*(edges or (Edge(),)))))


def batch(number: int, limit_s: float = 60.0) -> Score:
    return Score(lambda edge: cast(Any, edge).start(number), limit_s)


def answer_of(client: Client, limit_s: float = 60.0) -> PendingReply:
    return PendingReply(cast(WorkerClient, client), Deadline(limit_s))


def scoring(number: int, scores: dict[int, float | str], tail: Tail) -> Pass:
    """A pass of one batch; notes the outcome or the error."""
    score = tail.score(batch(number))
    yield score
    try:
        scores[number] = score.result()["numerator"][0]
    except (CodecFailure, WorkerDied, WorkerTimeout) as error:
        scores[number] = str(error)


def test_passes_begin_in_order_and_two_at_a_time() -> None:
    events: list[str] = []
    clients = [Client() for _ in range(3)]

    def steps(name: str, client: Client, then: Callable[[], None] | None = None) -> Pass:
        events.append(f"{name} begins")
        if then is not None:
            then()
        yield answer_of(client)
        client.receive()
        events.append(f"{name} ends")

    # The second pass answers itself; the first waits until the third has begun.
    passes = (
        steps(name, client, then)
        for name, client, then in zip(
            "abc", clients, (None, clients[1].answer, lambda: (clients[0].answer(), clients[2].answer())), strict=True
        )
    )
    run_side_by_side(passes, tail_of())
    assert events[:4] == ["a begins", "b begins", "b ends", "c begins"]
    assert sorted(events[4:]) == ["a ends", "c ends"]


def test_an_answer_that_never_comes_is_waited_for_until_the_deadline() -> None:
    client, seen = Client(), []

    def steps() -> Pass:
        yield answer_of(client, limit_s=0.05)
        seen.append(client.has_answer(0))

    run_side_by_side([steps()], tail_of())
    assert seen == [False]


def test_an_error_of_a_pass_ends_all_others() -> None:
    ended: list[str] = []

    def waits() -> Pass:
        try:
            yield answer_of(Client())
        finally:
            ended.append("waits")

    def fails() -> Pass:
        raise KeyboardInterrupt
        yield  # makes it a generator

    def never() -> Pass:
        ended.append("never")
        yield answer_of(Client())

    with pytest.raises(KeyboardInterrupt):
        run_side_by_side([waits(), fails(), never()], tail_of())
    assert ended == ["waits"]


def test_the_tail_scores_batches_of_all_passes_in_turn() -> None:
    edge, scores = Edge(), dict[int, float | str]()
    tail = tail_of(edge)
    run_side_by_side([scoring(number, scores, tail) for number in range(5)], tail)
    assert scores == {number: float(number) for number in range(5)}
    assert edge.received == 5


def test_a_batch_that_fails_costs_no_other_pass() -> None:
    scores: dict[int, float | str] = {}
    tail = tail_of(Edge(error=CodecFailure("not finite")))
    run_side_by_side([scoring(0, scores, tail)], tail)
    assert scores == {0: "not finite"}


def test_a_tail_that_has_died_is_replaced_for_the_next_batch() -> None:
    scores: dict[int, float | str] = {}
    tail = tail_of(Edge(hangs=True), Edge())

    def hangs() -> Pass:
        score = tail.score(batch(0, limit_s=0.05))
        yield score
        with pytest.raises(WorkerTimeout):
            score.result()

    run_side_by_side([hangs(), scoring(1, scores, tail)], tail)
    assert scores == {1: 1.0}


def test_the_time_before_its_turn_is_known_of_a_batch() -> None:
    tail = tail_of(Edge(hangs=True), Edge())
    first, second = tail.score(batch(0, limit_s=0.1)), tail.score(batch(1, limit_s=60.0))
    tail.collect()
    tail.collect()
    assert isinstance(first.error, WorkerTimeout)
    assert first.waited_s < 0.1 <= second.waited_s
    assert second.result()["numerator"][0] == 1.0


def test_a_cancelled_batch_is_not_scored() -> None:
    edge = Edge()
    tail = tail_of(edge)
    tail.score(batch(0))
    tail.score(batch(1)).cancelled = True
    last = tail.score(batch(2))
    for _ in range(3):
        tail.collect()
    assert last.ready()
    assert edge.batches == [0, 2]


def test_the_answer_to_a_batch_that_nobody_waits_for_is_received() -> None:
    """Else the next request, in another pass, would get it."""
    edge = Edge()
    tail = tail_of(edge)

    def gives_up() -> Pass:
        yield from ()
        tail.score(batch(0)).cancelled = True

    run_side_by_side([gives_up()], tail)
    assert (edge.received, edge.closed) == (1, False)


def test_an_interrupted_tail_is_ended() -> None:
    edge = Edge(hangs=True)
    tail = tail_of(edge)

    def interrupted() -> Pass:
        yield from ()
        tail.score(batch(0))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_side_by_side([interrupted()], tail)
    assert edge.closed


def test_an_edge_client_is_what_a_tail_needs() -> None:
    """The stand-ins above have what the real classes have."""
    assert {"connection", "has_answer", "close", "finish_score"} <= set(dir(EdgeClient))
