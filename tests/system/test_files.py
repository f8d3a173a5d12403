"""Files that are written completely or not at all, and texts with a byte-order mark."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from codecbench.errors import DataError, UsageError
from codecbench.system.files import replace_file, require_writable, write_file


class Killed(BaseException):
    """Stands for a signal that ends the process."""


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), Killed()])
@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_what_was_there_stays_until_the_new_file_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, step: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(self: Path, *_arguments: object) -> None:
        self.touch()
        raise error

    monkeypatch.setattr(Path, step, fail)
    with pytest.raises(type(error)):
        replace_file(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_stay_and_new_files_have_the_usual_ones(tmp_path: Path) -> None:
    usual, kept = tmp_path / "usual", tmp_path / "kept"
    usual.touch()
    kept.touch()
    kept.chmod(0o640)
    new = tmp_path / "new"
    for path in (new, kept):
        replace_file(path, b"x")
    assert stat.S_IMODE(new.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    replace_file(link, b"new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_pipe_is_written_to_as_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    replace_file(pipe, b"page")
    reader.join()
    assert read == [b"page"]
    assert list(tmp_path.iterdir()) == [pipe]


def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, running, others = (tmp_path / f".page.{end}.tmp" for end in (ended.pid, os.getppid(), "draft"))
    for path in (dead, running, others):
        path.touch()
    replace_file(tmp_path / "page", b"x")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "page", running, others])


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none/page", "No such file or directory"), ("file/page", "Not a directory"), ("", "Is a directory")],
)
def test_a_file_that_cannot_be_written_is_one_line_before_and_after_the_work(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / name
    expected = f"cannot write {path} ({reason}); choose another --file"
    for attempt in (require_writable, lambda *a, **k: write_file(a[0], "text", **k)):
        with pytest.raises(DataError) as caught:
            attempt(path, advice="choose another --file", raises=DataError)
        assert str(caught.value) == expected
    require_writable(tmp_path / "new")
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=r"cannot write .*page \(the disk is full\); choose another file"):
        write_file(tmp_path / "page", "text")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_read_only_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page"
    path.write_text("mine")
    monkeypatch.setattr(os, "access", lambda *_arguments: False)  # as for a user who is not root
    for attempt in (require_writable, lambda path: write_file(path, "text")):
        with pytest.raises(UsageError, match=r"\(Permission denied\); choose another file"):
            attempt(path)
    assert path.read_text() == "mine"
