"""Worker processes that are forked from one that has imported torch, where a test is not about how they are started.

An import of torch takes seconds, a fork milliseconds. What a forked worker does is what one that is started by exec
does: the same program runs in it, with the environment, folder, session and descriptors of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.measure import memory_bytes
from codecbench.workers import connection, forks, launch
from codecbench.workers.protocol import Role
from support.paths import SUPPORT

if TYPE_CHECKING:
    import pytest

SERVER = Path(__file__).with_name("prepared_server.py")


def program(module: str) -> str:
    """The source of a program that calls `main` of a module, whose workers are forked from the server."""
    return f"""
import sys
sys.path.append(sys.argv[2])
from support.prepared import use_server
use_server(int(sys.argv[1]))
sys.path.remove(sys.argv[2])
del sys.argv[1:3]
from {module} import main
main()
"""


COMMAND = program("codecbench.cli.main")
"""A command of the tool as a program of its own, whose workers are forked from the server."""


class PreparedServer:
    """The process that has imported torch. It starts with the first worker."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def share(self, patch: pytest.MonkeyPatch, *, sealed: bool = True) -> None:
        """Have workers forked from it: models, fork servers and, with `sealed`, what is not forked from these."""
        for module in (connection, forks) if sealed else (connection,):
            patch.setattr(module, "WorkerProcess", self.worker)

    @property
    def control(self) -> socket.socket:
        """Where to ask for workers."""
        if self._process is None:
            self._control, server_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with server_end:
                self._process = subprocess.Popen(
                    [sys.executable, str(SERVER), str(server_end.fileno())], pass_fds=[server_end.fileno()],
                    env=launch._environment("forks", Path.home()), stdin=subprocess.DEVNULL,
                )  # fmt: skip
        return self._control

    def worker(self, role: Role, *, threads: int, memory_limit_bytes: int | None) -> PreparedWorker:
        """Stands for `WorkerProcess`."""
        return PreparedWorker(self.control, role, threads, memory_limit_bytes or memory_bytes() // 2)

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `codecbench WORDS` as a program of its own, whose workers are forked from here."""
        descriptor = self.control.fileno()
        return subprocess.run(
            [sys.executable, "-c", COMMAND, str(descriptor), str(SUPPORT.parent), *words], pass_fds=[descriptor],
            text=True, timeout=600, **options,
        )  # fmt: skip

    def close(self) -> None:
        """End it, and with it all workers."""
        if self._process is not None:
            self._control.close()
            self._process.wait()
            self._process = None


def use_server(descriptor: int) -> None:
    """Have all workers of this process forked from the server at the socket of this descriptor."""

    def worker(role: Role, *, threads: int, memory_limit_bytes: int | None) -> PreparedWorker:
        with socket.socket(fileno=os.dup(descriptor)) as control:
            return PreparedWorker(control, role, threads, memory_limit_bytes or memory_bytes() // 2)

    for module in (connection, forks):
        module.WorkerProcess = worker  # type: ignore[misc, assignment]


class PreparedWorker:
    """Stands for a `WorkerProcess`."""

    def __init__(self, server: socket.socket, role: Role, threads: int, memory_limit_bytes: int) -> None:
        self.folder, home = launch.make_folder(role)
        parent_end, worker_end = socket.socketpair()
        self._life, its_life = socket.socketpair()
        request = {"words": [role, threads, memory_limit_bytes], "env": launch._environment(role, home)}
        (self.folder / "request.json").write_text(json.dumps(request))
        with worker_end, its_life, (self.folder / "stderr").open("wb") as log:
            descriptors = [worker_end.fileno(), its_life.fileno(), log.fileno()]
            socket.send_fds(server, [str(self.folder).encode()], descriptors)
        self.pid = int(self._life.recv(16))
        self._status: int | None = None
        self.connection = launch.parent_connection(parent_end)

    @property
    def running(self) -> bool:
        """True until the process has ended."""
        return self._end(0.0) is None

    def kill(self) -> None:
        """Kill the process and its children, and remove its folder."""
        self.connection.close()
        if self.running:  # else its number may be another process's by now
            launch.kill_session(self.pid)
            self._end(5.0)
        self._life.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cause_of_end(self) -> str:
        """Return why the process ended by itself."""
        return launch.describe_end(self._end(5.0) or 0, self.folder)

    def _end(self, wait_s: float) -> int | None:
        if self._status is None:
            self._life.settimeout(wait_s)
            try:
                self._status = int(self._life.recv(16) or 0)
            except (BlockingIOError, TimeoutError):
                return None
        return self._status
