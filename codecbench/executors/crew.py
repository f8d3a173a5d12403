"""A crew seen from outside: a process that runs units with model and codec processes of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from codecbench.errors import CodecbenchError, WorkerDied
from codecbench.system.folders import make_folder
from codecbench.workers.closing import Closing
from codecbench.workers.launch import describe_end, kill_session, parent_connection
from codecbench.workers.protocol import unpack_error, unpack_frame

PROGRAM = "codecbench.harness.units"
"""The module that runs as a crew: of a layer above this one, so it is started by its name."""
END_S = 10
"""The time that a crew has to tidy up before it is killed."""


class CrewProcess(Closing):
    """A crew, started by exec in a session of its own, which is set up by a frame from `codecbench.harness.units`.

    `cores` are the processors that it and its processes may use; None leaves them as they are. `set_up` is waited for
    by `ready`. All calls raise WorkerDied once the process has ended.
    """

    def __init__(self, set_up: bytes, cores: Sequence[int] | None = None) -> None:
        self.folder = make_folder("crew")
        self.closed = False
        parent_end, crew_end = socket.socketpair()
        words = [str(crew_end.fileno()), str(os.getpid()), ",".join(map(str, cores or ()))]
        with crew_end, (self.folder / "stderr").open("wb") as log:
            self._process = start_program(words, crew_end.fileno(), log)
        self.connection = parent_connection(parent_end)
        self._send(set_up)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ready(self) -> None:
        """Wait until the crew is set up. Raises the error that it gives if it cannot be."""
        error = unpack_error(unpack_frame(self._receive()))
        if error is not None:
            raise error

    def run(self, frame: bytes) -> bytes:
        """Have the crew run a unit; return the frame of its reply, which may be an error."""
        self._send(frame)
        return self._receive()

    def close(self) -> None:
        """End the process and its own ones, after it has tidied up."""
        if self.closed:
            return
        self.closed = True
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=END_S)
            except subprocess.TimeoutExpired:
                kill_session(self._process.pid)
        self._process.wait()
        self.connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _send(self, frame: bytes) -> None:
        try:
            self.connection.send_bytes(frame)
        except OSError as error:
            raise self._died() from error

    def _receive(self) -> bytes:
        try:
            while not self.connection.poll(1.0):
                pass  # a unit has no time limit of its own: cells have
            return self.connection.recv_bytes()
        except (OSError, EOFError) as error:
            raise self._died() from error

    def _died(self) -> CodecbenchError:
        try:
            status = self._process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            status = 0
        return WorkerDied(f"its crew {describe_end(status, self.folder)}")


def start_program(words: Sequence[str], descriptor: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the program of a crew with these arguments, which keeps a descriptor open."""
    # A codec or workload may be in a folder that only pytest or a script has put on the path.
    path = os.pathsep.join(dict.fromkeys(str(Path(place).resolve()) for place in sys.path))
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", PROGRAM, *words], pass_fds=[descriptor], stdin=subprocess.DEVNULL, stdout=log,
        stderr=log, env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
    )  # fmt: skip
