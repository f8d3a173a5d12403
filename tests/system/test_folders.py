"""Temporary folders: removed at the end of a process, and after one that could not do it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from codecbench.errors import DataError
from codecbench.system.folders import LOCK

MAKES = """
import sys
from codecbench.system.folders import make_folder
folder = make_folder("scratch")
(folder / "activations").write_bytes(bytes(1000))
print(folder, flush=True)
"""


@contextmanager
def process(temporary: Path, then: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has made a temporary folder, and the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", MAKES + then], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    ) as started:  # fmt: skip
        assert started.stdout is not None
        yield started, Path(started.stdout.readline().strip())


def end(temporary: Path) -> None:
    """A process that makes a temporary folder and ends."""
    with process(temporary, ""):
        pass


@pytest.mark.parametrize("then", ["", "sys.exit(3)", "raise KeyboardInterrupt"])
def test_nothing_is_left_by_a_process_that_ends(tmp_path: Path, then: str) -> None:
    with process(tmp_path, "import os; sys.stderr = open(os.devnull, 'w');" + then) as (_, folder):
        assert tmp_path in folder.parents
    assert not list(tmp_path.iterdir())


def test_folders_of_killed_processes_are_removed_and_those_of_running_ones_stay(tmp_path: Path) -> None:
    with process(tmp_path, "sys.stdin.read()") as (killed, abandoned):
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert abandoned.is_dir()
    with process(tmp_path, "sys.stdin.read()") as (running, kept):
        assert not abandoned.parent.exists()
        end(tmp_path)
        assert (kept / "activations").exists()
        running.communicate("")
    assert not list(tmp_path.iterdir())


def test_a_lock_outlives_its_owners_children_no_longer_than_the_owner(tmp_path: Path) -> None:
    """A process that the owner started does not hold the lock."""
    then = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); sys.stdin.read()"
    with process(tmp_path, then) as (killed, abandoned):
        assert killed.stdout is not None
        child = int(killed.stdout.readline())
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    try:
        end(tmp_path)
        assert not abandoned.exists()
    finally:
        os.kill(child, signal.SIGKILL)


def test_what_codecbench_has_not_made_stays(tmp_path: Path) -> None:
    mine = tmp_path / "codecbench-results"
    mine.mkdir()
    full = tmp_path / "codecbench-0123abcd"
    (full / "data").mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / LOCK).touch()
    (tmp_path / "codecbench-4567abcd").symlink_to(elsewhere)
    before = sorted(tmp_path.rglob("*"))
    end(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_of_a_process_killed_before_it_had_its_lock_is_removed(tmp_path: Path) -> None:
    (tmp_path / "codecbench-0123abcd").mkdir()
    end(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_cleared_away_is_made_again(tmp_path: Path) -> None:
    then = (
        "import shutil; shutil.rmtree(folder.parent); again = make_folder('scratch');"
        "sys.exit(not again.is_dir() or again == folder)"
    )
    with process(tmp_path, then) as (started, _):
        pass
    assert started.returncode == 0


def test_no_room_for_temporary_folders_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from codecbench.system import folders

    def full(*_arguments: object, **_options: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(
        DataError, match=r"cannot make a temporary folder \(the disk is full\); make room or set TMPDIR"
    ):
        folders.make_folder("scratch")
