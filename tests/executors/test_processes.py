"""Crews on this machine: their cores, and what becomes of units whose crews cannot start or end."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support import crews
from support.crews import set_up

from codecbench.errors import UsageError, WorkerDied
from codecbench.executors import crew
from codecbench.executors.executor import UnitRequest, outcome_of
from codecbench.executors.processes import ProcessExecutor, core_shares


@pytest.fixture(autouse=True)
def _crews_without_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crews.without_models(tmp_path, monkeypatch)


def test_a_unit_comes_back_and_a_lost_one_is_named_and_the_crew_replaced() -> None:
    with closing(ProcessExecutor(set_up(), 1)) as executor:
        assert (executor.slots, executor.capacity) == (1, 2)
        for number, fields in enumerate(({}, {"ends": True}, {})):
            executor.submit(UnitRequest(number, fields, []))
        found = [outcome for _ in range(3) for outcome in executor.wait()]
    assert [outcome.number for outcome in found] == [0, 1, 2]
    first, lost, last = found
    assert lost.lost == "its crew ended with status 9"
    assert first.reply is not None
    assert last.reply is not None
    assert last.reply.blobs == [b"scores"]
    assert last.reply.fields["pid"] != first.reply.fields["pid"]


def test_an_executor_that_is_closed_leaves_no_crew_though_one_is_at_work() -> None:
    executor = ProcessExecutor(set_up(), 1)
    executor.submit(UnitRequest(0, {}, []))
    (outcome,) = executor.wait()
    assert outcome.reply is not None
    executor.submit(UnitRequest(1, {"sleep_s": 60}, []))
    executor.close()
    with pytest.raises(ProcessLookupError):
        os.kill(outcome.reply.fields["pid"], 0)


def test_what_keeps_crews_from_starting_ends_the_run() -> None:
    with closing(ProcessExecutor(set_up(fails=True), 1)) as executor:
        (outcome,) = executor.wait()
    assert isinstance(outcome.error, UsageError)
    assert str(outcome.error) == "another version"


def test_a_crew_that_ends_at_once_is_reported_by_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(sys.path[-1]) / "crew_without_model.py").write_text("import sys\nsys.exit('out of order')")
    with closing(ProcessExecutor(set_up(), 1)) as executor:
        (outcome,) = executor.wait()
    assert isinstance(outcome.error, WorkerDied)
    assert str(outcome.error) == "its crew ended with status 1: out of order"


def test_each_crew_has_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {8, 2, 3, 5}, raising=False)
    assert core_shares(2) == [[2, 3], [5, 8]]
    assert core_shares(4) == [[2], [3], [5], [8]]
    assert core_shares(6) == [[2], [3], [5], [8], [2], [3]]
    monkeypatch.delattr(os, "sched_getaffinity")
    assert core_shares(2) == [None, None]


def test_a_reply_that_cannot_be_read_is_a_lost_unit() -> None:
    outcome = outcome_of(7, b"\0\0")
    assert outcome.number == 7
    assert outcome.lost is not None
    assert outcome.lost.startswith("what came back cannot be read")


def test_a_crew_is_told_its_cores_and_ends_at_sigterm() -> None:
    with crew.CrewProcess(set_up(), [0]) as found:
        found.ready()
        reply = outcome_of(0, found.run(UnitRequest(0, {}, []).to_frame())).reply
        assert reply is not None
        assert reply.fields["cores"] == "0"
        os.kill(found.pid, signal.SIGTERM)
        with pytest.raises(WorkerDied, match=r"^its crew was killed by SIGTERM$"):
            found.run(UnitRequest(1, {}, []).to_frame())
    assert not found.folder.exists()
