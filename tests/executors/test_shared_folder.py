"""Units in a folder that several machines see: each is taken once, and servers end when their run does."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread

import pytest
from support import crews
from support.crews import set_up

from codecbench.executors import shared_folder
from codecbench.executors.executor import LOST, UnitRequest
from codecbench.executors.shared_folder import UnitFolder, serve
from codecbench.workers.protocol import Reply, unpack_frame


@pytest.fixture(autouse=True)
def _crews_without_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crews.without_models(tmp_path, monkeypatch)
    monkeypatch.setattr(shared_folder, "POLL_S", 0.02)


def served(folder: UnitFolder, *servers: str) -> list[Thread]:
    threads = [Thread(target=serve, args=(str(folder.path), server, 60.0)) for server in servers]
    for thread in threads:
        thread.start()
    return threads


def replies(folder: UnitFolder, count: int) -> dict[int, Reply]:
    found: dict[int, Reply] = {}
    while len(found) < count:
        Event().wait(0.02)
        found |= {number: unpack_frame(frame) for number, frame in folder.replies()}
    return found


def test_servers_share_the_units_and_end_with_the_run(tmp_path: Path) -> None:
    with UnitFolder(tmp_path / "units", set_up()) as folder:
        for number in range(6):
            folder.put(number, UnitRequest(number, {"ends": number == 5}, []).to_frame())
        threads = served(folder, "a", "b")
        found = replies(folder, 6)
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(6))
    assert found[0].blobs == [b"scores"]
    assert found[5].fields[LOST] == "its crew ended with status 9"
    assert folder.has_served("a")
    assert not folder.has_served("c")
    assert not [*folder.taken_by("a"), *folder.taken_by("b")]


def test_what_a_server_had_taken_is_known_when_it_is_gone(tmp_path: Path) -> None:
    with UnitFolder(tmp_path / "units", set_up()) as folder:
        for number in range(3):
            folder.put(number, b"unit")
        assert [shared_folder._take(folder.path, "a") for _ in range(2)] == ["00000000", "00000001"]
        (folder.path / "replies" / "00000000").write_bytes(b"reply")
        assert folder.taken_by("a") == [1]
        assert folder.taken_by("a") == []
        assert shared_folder._take(folder.path, "b") == "00000002"
        assert shared_folder._take(folder.path, "b") is None


def test_a_server_ends_at_its_limit_and_without_a_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with UnitFolder(tmp_path / "units", set_up()) as folder:
        assert serve(str(folder.path), "a", 0.0) == "its time is over"
        monkeypatch.setattr(shared_folder, "ABANDONED_S", 0.05)
        assert serve(str(folder.path), "b", 60.0) == "the run has gone"
    assert serve(str(folder.path), "c", 60.0) == "the run has ended"


def test_a_folder_that_is_not_shared_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        serve(str(tmp_path / "elsewhere"), "a", 60.0)
