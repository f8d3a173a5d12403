"""Starts sealed processes of codecs, plugins and fits: forked from a clean process, or by exec where that is unsafe."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from codecbench.errors import WorkerDied
from codecbench.measure import memory_bytes
from codecbench.workers.client import FitClient, ModelBuilder
from codecbench.workers.closing import Closing
from codecbench.workers.connection import WorkerClient
from codecbench.workers.launch import Process, WorkerProcess, describe_end, kill_session, make_folder, parent_connection
from codecbench.workers.pair import Pair
from codecbench.workers.protocol import Role


def can_fork() -> bool:
    """True where a process that has imported torch may be forked: on Linux. macOS's libraries do not allow it."""
    return sys.platform == "linux"


class ForkServer(ModelBuilder):
    """A clean process: one thread, libraries imported. Its forks serve `serves`: "codec", "plugin" or "fit".

    For codecs it has imported torch and numpy, and for fits it has built a workload's model. `sources` are the files
    and packages of plugins whose modules the forks may import.
    """

    role: ClassVar[Role] = "forks"

    def __init__(self, serves: Role, sources: Sequence[Path] = ()) -> None:
        super().__init__(threads=1, memory_limit_bytes=memory_bytes())
        self.serves: Role = serves
        self._control = socket.socket(fileno=os.dup(self._process.connection.fileno()))
        self.send("prepare", {"serves": serves, "sources": [str(source) for source in sources]})

    def fork(self, connection: socket.socket, log: int, home: Path, memory_limit_bytes: int) -> int:
        """Fork a process that answers at `connection` and prints to `log`; return its process id."""
        self.ready()
        with self._exchange():
            self.send("fork", {"home": str(home), "memory_bytes": memory_limit_bytes})
            socket.send_fds(self._control, [b"\0"], [connection.fileno(), log])
            return int(self.receive().fields["pid"])

    def end_of(self, pid: int, *, wait_s: float) -> int | None:
        """Return the exit status of a forked process, negative for a signal; None if it runs on after `wait_s`."""
        with self._exchange():
            status = self.call("wait", {"pid": pid, "wait_s": wait_s}).fields["status"]
        return None if status is None else int(status)

    def ready(self) -> None:
        """Wait until the process has imported everything. Raises WorkerError if it could not."""
        if self.pending:
            self.receive()

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """End the process if its block is interrupted: the next request would get the answer to this one."""
        try:
            yield
        except KeyboardInterrupt:
            self.close()
            raise

    def close(self) -> None:
        """Kill the process and remove its folder."""
        if not self.closed:
            self._control.close()
        super().close()


class ForkedProcess:
    """A process forked from a fork server, with its own session, output file and empty home."""

    def __init__(self, server: ForkServer, memory_limit_bytes: int) -> None:
        self._server = server
        self._status: int | None = None
        self.folder, home = make_folder(server.serves)
        parent_end, worker_end = socket.socketpair()
        try:
            with worker_end, (self.folder / "stderr").open("wb") as log:
                self.pid = server.fork(worker_end, log.fileno(), home, memory_limit_bytes)
        except BaseException:
            parent_end.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.connection = parent_connection(parent_end)

    @property
    def running(self) -> bool:
        """True until the process has ended."""
        return self._end(0.0) is None

    def kill(self) -> None:
        """Kill the process and its children, and remove its folder."""
        self.connection.close()
        if self._status is None:  # else its number may be another process's by now
            kill_session(self.pid)
            self._end(5.0)
        shutil.rmtree(self.folder, ignore_errors=True)

    def cause_of_end(self) -> str:
        """Return why the process ended by itself: its exit status or signal, and the last line of its output."""
        return describe_end(self._end(5.0) or 0, self.folder)

    def _end(self, wait_s: float) -> int | None:
        if self._status is None:
            try:
                self._status = self._server.end_of(self.pid, wait_s=wait_s)
            except WorkerDied:
                self._status = 0  # its processes end with it
        return self._status


class SealedProcesses(Closing):
    """Starts processes of one role, "codec", "plugin" or "fit", which seal themselves. A context manager that ends all.

    `sources` are the files and packages of plugins whose modules the processes may import. By default they are forked
    where that is safe, else started by exec.
    """

    def __init__(self, serves: Role, sources: Sequence[Path] = (), *, fork: bool | None = None) -> None:
        self.serves: Role = serves
        self.sources = tuple(sources)
        self._fork = can_fork() if fork is None else fork
        self._server: ForkServer | None = None

    def warm(self) -> None:
        """Start the fork server, if there is one, without waiting for it."""
        if self._fork and (self._server is None or not self._server.alive):
            self.close()  # what is left of one that was killed
            self._server = ForkServer(self.serves, self.sources)

    def start(self, memory_limit_bytes: int | None = None) -> Process:
        """Return a new process, which waits for its first request."""
        limit_bytes = memory_limit_bytes or memory_bytes() // 2
        if self._fork:
            self.warm()
            assert self._server is not None
            return ForkedProcess(self._server, limit_bytes)
        process = WorkerProcess(self.serves, threads=1, memory_limit_bytes=limit_bytes)
        try:
            WorkerClient(process=process).call("prepare", {"sources": [str(source) for source in self.sources]})
        except BaseException:
            process.kill()
            raise
        return process

    def close(self) -> None:
        """End the fork server and all processes that were forked from it."""
        if self._server is not None:
            self._server.close()
        self._server = None


class CodecProcesses(SealedProcesses):
    """Starts the codec processes of a run."""

    def __init__(self, sources: Sequence[Path] = (), *, fork: bool | None = None) -> None:
        super().__init__("codec", sources, fork=fork)


class FitProcesses(SealedProcesses):
    """Starts the processes of fits, each with a workload's model, which the fork server builds once for all.

    `pair` knows the workload. On a GPU no process is forked: CUDA does not allow it.
    """

    def __init__(self, pair: Pair, sources: Sequence[Path] = (), *, fork: bool | None = None) -> None:
        on_cpu = pair.workload.torch_device == "cpu"
        super().__init__("fit", sources, fork=can_fork() and on_cpu if fork is None else fork)
        self._pair = pair
        self._builds: ForkServer | None = None

    def warm(self) -> None:
        """Start the fork server, if there is one, and let it build the model, without waiting for it."""
        before = self._server
        super().warm()
        if self._server is not None and self._server is not before:
            self._builds = self._server
            self._pair.workload.start(self._server)

    def client(self) -> FitClient:
        """Return a client of a new process that has the model."""
        self.warm()
        if self._server is not None and self._builds is self._server:
            self._server.ready()
            self._pair.finish(self._server)
            self._builds = None
        client = FitClient(process=self.start())
        if self._server is None:
            try:
                self._pair.set_up(client)
            except BaseException:
                client.close()
                raise
        return client
