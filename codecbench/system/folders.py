"""The temporary folders of this process, and the removal of what killed processes have left.

All of them lie in one folder, `codecbench-<random>` in the system's temporary folder. It holds a lock that the system
releases when the process ends, however it ends; the next process that makes one removes those without a living owner.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from codecbench.errors import DataError
from codecbench.system.files import reason_of

PREFIX = "codecbench-"
LOCK = "codecbench.lock"
_NAME = re.compile(rf"{PREFIX}[0-9a-f]{{8}}")


class _ProcessFolder:
    """The folder that holds all temporary folders of this process. It is made for the first of them."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._lock: int | None = None

    def make(self, name: str) -> Path:
        """Make an empty folder for this user alone, whose name begins with `codecbench-<name>-`; return it."""
        # When the system's folder was cleared meanwhile, or is another one now, there has to be a new one.
        if self._path is None or not self._path.is_dir() or self._path.parent != _system_folder():
            self.remove()
            _remove_abandoned(_system_folder())
            self._path, self._lock = _locked_folder(_system_folder())
        return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}-", dir=self._path))

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
        self._path = self._lock = None

    def forget(self) -> None:
        """Leave the folder to the parent, in a process that was forked from the one that made it."""
        if self._lock is not None:
            os.close(self._lock)
        self._path = self._lock = None


_own = _ProcessFolder()
os.register_at_fork(after_in_child=_own.forget)
atexit.register(_own.remove)


def make_folder(name: str) -> Path:
    """Make an empty temporary folder for this user alone; return it. Raises DataError if there is no room for one."""
    try:
        return _own.make(name)
    except OSError as error:
        raise DataError(
            f"cannot make a temporary folder ({reason_of(error)}); make room or set TMPDIR elsewhere"
        ) from error


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """Make an empty temporary folder, which is removed at the end of a with block."""
    folder = make_folder(name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _system_folder() -> Path:
    return Path(tempfile.gettempdir())


def _locked_folder(parent: Path) -> tuple[Path, int | None]:
    """Make a folder with a lock that this process holds; return both. No lock where the file system has none."""
    while True:
        path = parent / f"{PREFIX}{secrets.token_hex(4)}"
        try:
            path.mkdir(mode=0o700)
            lock = os.open(path / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except (FileExistsError, FileNotFoundError):
            if not parent.is_dir():
                raise
            continue  # another process took it for abandoned before it had its lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        except OSError:
            os.close(lock)
            return path, None
        if (path / LOCK).exists():
            return path, lock
        os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    """Remove this user's folders whose processes have ended."""
    for path in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = path.lstat()
            if _NAME.fullmatch(path.name) and stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    try:
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        path.rmdir()  # made by a process that ended before it had its lock; one that is full is not ours
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)
