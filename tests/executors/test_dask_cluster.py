"""Units as tasks of a Dask cluster: of one of its own, of one that is there, and of one that is gone."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import crews
from support.crews import set_up

from codecbench.errors import UsageError
from codecbench.executors import dask_cluster
from codecbench.executors.dask_cluster import DaskExecutor
from codecbench.executors.executor import UnitOutcome, UnitRequest

distributed = pytest.importorskip("distributed", reason="Dask is not installed")


@pytest.fixture(autouse=True)
def _crews_without_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crews.without_models(tmp_path, monkeypatch)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster whose workers are threads of this process."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs=50
    ) as found:
        yield found


def outcomes(executor: DaskExecutor, *units: dict[str, Any]) -> list[UnitOutcome]:
    """What becomes of these units, in their order."""
    for number, fields in enumerate(units):
        executor.submit(UnitRequest(number, fields, []))
    found: list[UnitOutcome] = []
    while len(found) < len(units):
        found += executor.wait()
    return sorted(found, key=lambda outcome: outcome.number)


def test_workers_of_a_cluster_run_units_and_keep_their_crews(cluster: Any) -> None:
    with closing(DaskExecutor(set_up(), cluster.scheduler_address)) as executor:
        assert (executor.slots, executor.capacity) == (2, 4)
        found = outcomes(executor, *[{}] * 6, {"ends": True})
    *replies, lost = found
    assert all(outcome.reply is not None and outcome.reply.blobs == [b"scores"] for outcome in replies)
    assert 1 <= len({outcome.reply.fields["pid"] for outcome in replies if outcome.reply}) <= 2
    assert (lost.lost, lost.ended_crews) == ("its crew ended with status 9", 1)


def test_a_unit_whose_worker_is_killed_is_lost_and_its_cluster_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crews.without_models_anywhere(tmp_path, monkeypatch)
    with closing(DaskExecutor(set_up(), None, 1)) as executor:
        (first,) = outcomes(executor, {})
        executor.submit(UnitRequest(1, {"sleep_s": 60}, []))
        (pid,) = executor._client.run(os.getpid).values()
        os.kill(pid, signal.SIGKILL)
        (lost,) = executor.wait()
        (last,) = outcomes(executor, {})
    assert first.reply is not None
    assert last.reply is not None
    assert (lost.number, lost.lost, lost.ended_crews) == (1, "the workers that ran it ended", 1)


def test_an_error_of_a_crew_is_one_of_the_run(cluster: Any) -> None:
    with closing(DaskExecutor(set_up(fails=True), cluster.scheduler_address)) as executor:
        (outcome,) = outcomes(executor, {})
    assert isinstance(outcome.error, UsageError)
    assert str(outcome.error) == "another version"


def test_a_cluster_that_is_gone_ends_the_run_with_what_is_scored(cluster: Any) -> None:
    with closing(DaskExecutor(set_up(), cluster.scheduler_address)) as executor:
        executor.submit(UnitRequest(0, {"sleep_s": 60}, []))
        cluster.close()
        (outcome,) = executor.wait()
    assert isinstance(outcome.error, UsageError)
    assert str(outcome.error).endswith("has gone; the same command goes on from there")


def test_an_address_where_nobody_listens_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    for wrong in (address, "nonsense://", "127.0.0.1:notaport"):
        with pytest.raises(UsageError, match=f"^--dask {wrong}: no scheduler answers there; `dask scheduler`"):
            DaskExecutor(set_up(), wrong)


def test_a_cluster_without_workers_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "WORKERS_S", 0.2)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None, silence_logs=50) as empty,
        pytest.raises(UsageError, match="the scheduler has no workers; start some with `dask worker"),
    ):
        DaskExecutor(set_up(), empty.scheduler_address)
