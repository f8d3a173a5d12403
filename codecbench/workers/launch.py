"""Starts and ends worker processes: by exec, or forked from a fork server; finds the cause of their end."""

from __future__ import annotations

import os
import shutil
import signal
import site
import socket
import struct
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from codecbench.measure import memory_bytes
from codecbench.system import folders
from codecbench.workers.protocol import Role
from codecbench.workload import data_folders

BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
"""Environment variables for the threads of numpy's matrix products. Torch's are set by `torch.set_num_threads`."""

OWN_LOG = 2
"""The descriptor of a worker's output: a file that was opened for it alone, whose last line may tell why it ended."""


STALL_S = 60
"""The time in which a worker has to send or take the next part of a frame once it has begun."""


class Process(Protocol):
    """A running worker process, as its client sees it."""

    connection: Connection[Any, Any]
    folder: Path

    @property
    def pid(self) -> int:
        """The process id."""

    @property
    def running(self) -> bool:
        """True until the process has ended."""

    def kill(self) -> None:
        """Kill the process and its children, and remove its folder."""

    def cause_of_end(self) -> str:
        """Return why the process ended by itself: its exit status or signal, and the last line of its output."""


class WorkerProcess:
    """A process started by exec, with its own session, working folder, home and temporary folder.

    `connection` exchanges frames with it. `threads` is torch's thread count in it; `memory_limit_bytes` limits its
    private memory.
    """

    def __init__(self, role: Role, *, threads: int, memory_limit_bytes: int | None) -> None:
        self.folder, home = make_folder(role)
        parent_end, worker_end = socket.socketpair()
        limit_bytes = memory_limit_bytes or memory_bytes() // 2
        with worker_end, (self.folder / "stderr").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [
                    sys.executable, "-m", "codecbench.workers.process",
                    role, str(worker_end.fileno()), str(threads), str(limit_bytes), str(os.getpid()),
                ],
                cwd=home, env=_environment(role, home), pass_fds=[worker_end.fileno()], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.connection = parent_connection(parent_end)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """True until the process has ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill the process and its children, and remove its folder."""
        self.connection.close()
        kill_session(self._process.pid)
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cause_of_end(self) -> str:
        """Return why the process ended by itself: its exit status or signal, and the last line of its output."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            status = 0
        return describe_end(status, self.folder)


def parent_connection(parent_end: socket.socket) -> Connection[Any, Any]:
    """Return the parent's end of a connection. A worker that stops within a frame costs STALL_S, not for ever."""
    if sys.platform != "win32":
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            parent_end.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", STALL_S, 0))
    return Connection(parent_end.detach())


def make_folder(role: Role) -> tuple[Path, Path]:
    """Make a worker's folder; return it and the empty folder in it that is the worker's home."""
    folder = folders.make_folder(role)
    home = folder / "home"
    home.mkdir()
    return folder, home


def kill_session(pid: int) -> None:
    """Kill a process that leads a session, and everything in its process group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def describe_end(status: int, folder: Path) -> str:
    """Return an exit status, negative for a signal, in words, with the last line of the worker's output."""
    log = folder / "stderr"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [line for line in text.splitlines() if line.strip()]
    if status < 0:
        cause = f"was killed by {signal.Signals(-status).name}"
        if -status == signal.SIGKILL:
            cause += ", perhaps because the machine had no memory left"
        return cause
    return f"ended with status {status}" + (f": {lines[-1]}" if lines else "")


def home_variables(home: Path) -> dict[str, str]:
    """Return the environment variables that make a folder the home and temporary folder of a process."""
    # torch.optim makes sure at its first use that the last of these is there, and in a fit no folder can be made.
    return dict.fromkeys(("HOME", "TMPDIR", "TORCHINDUCTOR_CACHE_DIR"), str(home))


def _environment(role: Role, home: Path) -> dict[str, str]:
    """Return the parent's environment with its own home and temporary folder, and with the parent's import path.

    Only the device's model process gets dataset folders: no other reads inputs.
    """
    left_out = ("XDG_", "CODECBENCH_", "PYTHONIOENCODING")
    env = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    # A codec under test may be in a folder that only pytest or a script has put on the path.
    env["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(str(Path(p).resolve()) for p in sys.path))
    if role == "device":
        env["CODECBENCH_DATA"] = os.pathsep.join(str(place.resolve()) for place in data_folders())
    # Steps are timed on one thread. Not only torch has threads: those of numpy's matrix products keep a core busy
    # for a while after each product, which made the tail after such a decoder 1.5 times as slow.
    env.update(dict.fromkeys(BLAS_THREADS, "1"))
    if role in ("forks", "codec", "fit"):
        # A seal binds the thread that closes it and those that it starts, so there may be no other thread by then.
        env["OMP_NUM_THREADS"] = "1"
    # A thread of a parallel operation waits for the others at full speed. Where one is held up by another process, that
    # takes the processor from it, and operations took ten times as long; so it sleeps after some microseconds.
    env.setdefault("GOMP_SPINCOUNT", "5000")
    # By default glibc returns the memory of large activations to the system after each layer, and page faults for the
    # next layer cost two thirds of a network's time at 224 x 224. (Other C libraries ignore these variables.)
    env.setdefault("MALLOC_TRIM_THRESHOLD_", str(1 << 30))
    env.setdefault("MALLOC_MMAP_MAX_", "0")
    env.update(home_variables(home))
    env.update(PYTHONUSERBASE=site.getuserbase(), PYTHONDONTWRITEBYTECODE="1", PYTHONUTF8="1")
    return env
