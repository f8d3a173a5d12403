"""Starting and ending a worker process: what it inherits, where it lives, and why it ended."""

from __future__ import annotations

import os
import shutil
import signal
import site
import socket
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from codecbench.measure import memory_bytes
from codecbench.workers.protocol import Role
from codecbench.workload import data_folders

BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
"""What tells numpy's matrix products how many threads to take. Torch is told by `torch.set_num_threads`."""


class WorkerProcess:
    """A process started by exec, in a session, folder, home and temporary folder of its own.

    `connection` carries frames to it and back. `threads` is torch's thread count there; `memory_limit_bytes` bounds its
    private memory.
    """

    def __init__(self, role: Role, *, threads: int, memory_limit_bytes: int | None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"codecbench-{role}-"))
        home = self.folder / "home"
        home.mkdir()
        ours, theirs = socket.socketpair()
        limit_bytes = memory_limit_bytes or memory_bytes() // 2
        with theirs, (self.folder / "stderr").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [
                    sys.executable, "-m", "codecbench.workers.process",
                    role, str(theirs.fileno()), str(threads), str(limit_bytes), str(os.getpid()),
                ],
                cwd=home, env=_environment(role, home), pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.connection: Connection[Any, Any] = Connection(ours.detach())

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """True until the process has ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process and what it started at once, and remove its folder."""
        self.connection.close()
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cause_of_end(self) -> str:
        """The reason for which the process ended by itself, from its status and the last line of what it printed."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            status = 0
        log = self.folder / "stderr"
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
        if status < 0:
            cause = f"was killed by {signal.Signals(-status).name}"
            if -status == signal.SIGKILL:
                cause += ", perhaps because the machine had no memory left"
            return cause
        return f"ended with status {status}" + (f": {lines[-1]}" if lines else "")


def _environment(role: Role, home: Path) -> dict[str, str]:
    """The parent's environment, with home and temporary folders replaced and modules found where the parent does.

    Only the roles that read inputs learn where datasets lie.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "CODECBENCH_"))}
    # A codec under test may lie in a folder that only pytest or a script put on the path.
    env["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(str(Path(p).resolve()) for p in sys.path))
    if role != "edge":
        env["CODECBENCH_DATA"] = os.pathsep.join(str(place.resolve()) for place in data_folders())
    if role != "fit":
        # Steps are timed on one thread, and torch is not all that has some: those of numpy's matrix products keep a
        # core busy for a while after each, which made a tail behind such a decoder half as slow again.
        env.update(dict.fromkeys(BLAS_THREADS, "1"))
    # The C library would give the memory of large activations back after each layer and fault it in again for the next,
    # which costs a tail a third of its time. (The names are glibc's; elsewhere they mean nothing.)
    env.setdefault("MALLOC_TRIM_THRESHOLD_", str(1 << 30))
    env.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 << 20))
    env.update(HOME=str(home), TMPDIR=str(home), PYTHONUSERBASE=site.getuserbase(), PYTHONDONTWRITEBYTECODE="1")
    return env
