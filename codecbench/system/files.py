"""Files that are written completely or not at all, and texts that may begin with a byte-order mark."""

from __future__ import annotations

import errno
import glob
import os
import shutil
from contextlib import suppress
from pathlib import Path

from codecbench.errors import CodecbenchError, UsageError

_NAME_CHARACTERS = 80
"""The part of a file's name that its temporary name has: names have at most 255 bytes."""


def replace_file(path: Path, content: bytes) -> None:
    """Write a file completely or not at all: under a temporary name in its folder, then renamed. Raises OSError.

    Symbolic links are followed, permissions are kept, and a pipe or device is written to as it is.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path = path.resolve()
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    _remove_left_over(path)
    temporary = path.with_name(f".{path.name[:_NAME_CHARACTERS]}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def write_file(
    path: Path,
    content: bytes | str,
    *,
    advice: str = "choose another file",
    raises: type[CodecbenchError] = UsageError,
) -> None:
    """Write a file as `replace_file` does. An error is one line of the class `raises`, which ends with `advice`."""
    try:
        replace_file(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise raises(f"cannot write {path} ({reason_of(error)}); {advice}") from error


def require_writable(
    path: Path, *, advice: str = "choose another file", raises: type[CodecbenchError] = UsageError
) -> None:
    """Raise what `write_file` would if a file cannot be written there, before the work whose result is written."""
    if path.is_dir():
        reason = os.strerror(errno.EISDIR)
    elif not path.parent.is_dir():
        reason = os.strerror(errno.ENOTDIR if path.parent.exists() else errno.ENOENT)
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        reason = os.strerror(errno.EACCES)
    else:
        return
    raise raises(f"cannot write {path} ({reason}); {advice}")


def reason_of(error: OSError) -> str:
    """Return why the system refused, for a message of one line."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return error.strerror or str(error)


def _remove_left_over(path: Path) -> None:
    """Remove temporary files that ended processes have left for this file."""
    for left in path.parent.glob(f".{glob.escape(path.name[:_NAME_CHARACTERS])}.*.tmp"):
        number = left.name.removesuffix(".tmp").rpartition(".")[2]
        if number.isdecimal() and not _is_running(int(number)):
            with suppress(OSError):
                left.unlink()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
