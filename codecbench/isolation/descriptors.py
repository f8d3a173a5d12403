"""The open descriptors of a codec's process. What two processes have inherited together would join them."""

from __future__ import annotations

import os
import stat

_FOLDER = "/proc/self/fd"


def detach_streams(output: int | None = None) -> None:
    """Give this process standard streams that it shares with no other codec's process.

    Standard input is empty. What is printed goes to the descriptor `output`, a pipe or file of this process's own.
    Without one, a terminal is opened anew for writing only, a pipe or a socket stays as it is, and what would go to a
    file is dropped: a file has one position for all processes, which one moves and another reads.
    """
    _replace(0, os.devnull, os.O_RDONLY)
    for stream in (1, 2):
        if output is not None:
            os.dup2(output, stream)
            continue
        try:
            kind = os.fstat(stream).st_mode
        except OSError:  # closed
            continue
        if stat.S_ISCHR(kind):
            _replace(stream, f"{_FOLDER}/{stream}", os.O_WRONLY)
        elif stat.S_ISREG(kind):
            _replace(stream, os.devnull, os.O_WRONLY)


def _replace(stream: int, path: str, flags: int) -> None:
    try:
        opened = os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:  # a terminal of another user, or no /proc
        opened = os.open(os.devnull, flags | os.O_CLOEXEC)
    os.dup2(opened, stream)
    os.close(opened)
