"""Units in a folder that several machines see: one side puts them there, servers on the machines take them.

Everything in it is written whole or not at all, and a unit is taken by renaming it, which one server alone can do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

from codecbench.executors.kept_crews import KeptCrews
from codecbench.measure import Stopwatch
from codecbench.system.files import replace_file
from codecbench.workers.closing import Closing

POLL_S = 0.2
"""The time between two looks at the folder."""
HEARTBEAT_S = 10.0
"""The time between two signs of life of the main process."""
ABANDONED_S = 180.0
"""Servers end when the main process has given no sign of life for so long."""

_SET_UP, _END, _LIFE = "set-up", "end", "life"
_UNITS, _TAKEN, _REPLIES, _SERVERS = "units", "taken", "replies", "servers"


class UnitFolder(Closing):
    """The main process's side of the folder, which it makes. `close` tells all servers to end."""

    def __init__(self, path: Path, set_up: bytes) -> None:
        self.path = path
        for name in (_UNITS, _TAKEN, _REPLIES, _SERVERS):
            (path / name).mkdir(parents=True)
        self._closing = Event()
        replace_file(path / _SET_UP, set_up)
        replace_file(path / _LIFE, b"0")
        Thread(target=self._live, daemon=True).start()

    def put(self, number: int, unit: bytes) -> None:
        """Add a unit."""
        replace_file(self.path / _UNITS / f"{number:08}", unit)

    def replies(self) -> Iterator[tuple[int, bytes]]:
        """Take the replies that are there, by the number of their unit."""
        for path in sorted((self.path / _REPLIES).iterdir()):
            if path.name.isdecimal():
                frame = path.read_bytes()
                path.unlink()
                yield int(path.name), frame

    def taken_by(self, server: str) -> list[int]:
        """Return the numbers of the units that a server has taken and not replied to, and forget that it has them."""
        found = []
        for path in (self.path / _TAKEN).glob(f"*@{server}"):
            number = path.name.partition("@")[0]
            path.unlink()
            if not (self.path / _REPLIES / number).exists():
                found.append(int(number))
        return found

    def has_served(self, server: str) -> bool:
        """Return True once a server has found the folder."""
        return (self.path / _SERVERS / server).exists()

    def close(self) -> None:
        """Tell all servers to end."""
        self._closing.set()
        with suppress(OSError):
            replace_file(self.path / _END, b"")

    def _live(self) -> None:
        beats = 0
        while not self._closing.wait(HEARTBEAT_S):
            beats += 1
            with suppress(OSError):
                replace_file(self.path / _LIFE, str(beats).encode())


def serve(path: str, server: str, limit_s: float) -> str:
    """Run units of a folder until its owner ends, or `limit_s` has passed; return why it ended.

    Raises FileNotFoundError if the folder is not there.
    """
    folder = Path(path)
    set_up = (folder / _SET_UP).read_bytes()
    replace_file(folder / _SERVERS / server, b"")
    crews, age, silence, life = KeptCrews(), Stopwatch(), Stopwatch(), b""
    try:
        while True:
            if not folder.is_dir() or (folder / _END).exists():
                return "the run has ended"
            if age.elapsed_s() >= limit_s:
                return "its time is over"
            with suppress(OSError):
                if (beat := (folder / _LIFE).read_bytes()) != life:
                    life, silence = beat, Stopwatch()
            if silence.elapsed_s() >= ABANDONED_S:
                return "the run has gone"
            number = _take(folder, server)
            if number is None:
                Event().wait(POLL_S)
                continue
            mine = folder / _TAKEN / f"{number}@{server}"
            replace_file(folder / _REPLIES / number, crews.run(set_up, mine.read_bytes()))
            mine.unlink(missing_ok=True)
    finally:
        crews.end(set_up)


def _take(folder: Path, server: str) -> str | None:
    """Take the first unit that no other server has taken; return its number."""
    for path in sorted((folder / _UNITS).iterdir()):
        if path.name.isdecimal():
            with suppress(OSError):
                path.rename(folder / _TAKEN / f"{path.name}@{server}")
                return path.name
    return None
