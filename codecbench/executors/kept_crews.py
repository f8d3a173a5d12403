"""Crews that a process of a cluster keeps from one unit to the next: each thread of it has one."""

from __future__ import annotations

import threading

from codecbench.errors import CodecbenchError, WorkerDied
from codecbench.executors.crew import CrewProcess
from codecbench.executors.executor import lost_frame
from codecbench.executors.processes import core_shares
from codecbench.workers.protocol import pack_error


class KeptCrews:
    """The crew of each thread, and the frame that has set it up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._crews: dict[int, tuple[bytes, CrewProcess]] = {}
        self._order: dict[int, int] = {}

    def run(self, set_up: bytes, unit: bytes, *, crews: int = 1, number: int | None = None) -> bytes:
        """Return the frame of the reply to a unit, from a crew that is set up by a frame: an error, or that it is lost.

        A crew that was set up for another run ends. `crews` of them share the cores; `number` is this one's, by default
        that of the thread in the order in which they came.
        """
        thread = threading.get_ident()
        with self._lock:
            kept = self._crews.pop(thread, None)
            own = self._order.setdefault(thread, len(self._order)) if number is None else number
        crew = None if kept is None else kept[1]
        try:
            if kept is None or kept[0] != set_up:
                if crew is not None:
                    crew.close()
                crew = CrewProcess(set_up, core_shares(crews)[own % crews])
                crew.ready()
            assert crew is not None
            reply = crew.run(unit)
        except BaseException as error:
            if crew is not None:
                crew.close()
            if isinstance(error, WorkerDied):
                return lost_frame(error)
            if isinstance(error, CodecbenchError):
                return pack_error(error)
            raise
        with self._lock:
            self._crews[thread] = set_up, crew
        return reply

    def end(self, set_up: bytes) -> None:
        """End the crews that were set up by this frame and have no unit."""
        with self._lock:
            ended = [thread for thread, (own, _) in self._crews.items() if own == set_up]
            crews = [self._crews.pop(thread)[1] for thread in ended]
        for crew in crews:
            crew.close()


_own = KeptCrews()


def run_unit(set_up: bytes, unit: bytes, crews: int, number: int | None = None) -> bytes:
    """Run a unit by a crew of this process; see `KeptCrews.run`."""
    return _own.run(set_up, unit, crews=crews, number=number)


def end_crews(set_up: bytes) -> None:
    """End the crews of this process that were set up by this frame."""
    _own.end(set_up)
