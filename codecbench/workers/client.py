"""The parent's side of the device, edge and fit processes, and the pipe of bytes between them.

Each worker is started by exec, in a session, folder, home and temporary folder of its own, and speaks frames over a
socket pair: a JSON header and byte strings, never pickle. Only a frame's byte strings carry payloads, so what crosses
from device to edge is what `Worker.encode` returned. `codecbench.workers.process.session` is the other end.
"""

from __future__ import annotations

import os
import shutil
import signal
import site
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from codecbench.codec import Side, TensorSpec
from codecbench.errors import WorkerDied, WorkerTimeout
from codecbench.measure import Deadline, memory_bytes
from codecbench.workers.protocol import Reply, Role, _error, pack_arrays, pack_frame, unpack_arrays, unpack_frame
from codecbench.workload import data_folders

if TYPE_CHECKING:
    from numpy.typing import NDArray


DEFAULT_TIMEOUT_S = 300.0
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
"""What tells numpy's matrix products how many threads to take. Torch is told by `torch.set_num_threads`."""

STARTUP_TIMEOUT_S = 120.0


class Worker:
    """One process of a role. Starts at once; `close` it, or use it in a with block.

    `threads` is torch's thread count there. `memory_limit_bytes` bounds its private memory (default: half of the
    machine's). Every call raises WorkerError or one of its kinds; after WorkerTimeout and WorkerDied the worker is
    closed and a new one has to be made.
    """

    def __init__(self, role: Role, *, threads: int = 1, memory_limit_bytes: int | None = None) -> None:
        self.role = role
        self.closed = False
        self.folder = Path(tempfile.mkdtemp(prefix=f"codecbench-{role}-"))
        home = self.folder / "home"
        home.mkdir()
        ours, theirs = socket.socketpair()
        limit_bytes = memory_limit_bytes or memory_bytes() // 2
        with theirs, (self.folder / "stderr").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [
                    sys.executable, "-m", "codecbench.workers.process.session",
                    role, str(theirs.fileno()), str(threads), str(limit_bytes), str(os.getpid()),
                ],
                cwd=home, env=_environment(role, home), pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._connection: Connection[Any, Any] = Connection(ours.detach())
        self.pending = False

    @property
    def pid(self) -> int:
        """The process's number, for reading what the system tells of it."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs: it is not closed and has not ended by itself."""
        return not self.closed and self._process.poll() is None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(
        self,
        op: str,
        fields: Mapping[str, Any] | None = None,
        blobs: Sequence[bytes] = (),
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        on_progress: Callable[[float, str], None] | None = None,
        on_saved: Callable[[bytes, float], None] | None = None,
    ) -> Reply:
        """Send one request and wait for its answer."""
        self.send(op, fields, blobs)
        return self.receive(timeout_s=timeout_s, on_progress=on_progress, on_saved=on_saved)

    def send(self, op: str, fields: Mapping[str, Any] | None = None, blobs: Sequence[bytes] = ()) -> None:
        """Send one request without waiting; `receive` takes its answer. One request may be under way."""
        if self.closed:
            raise WorkerDied(f"the {self.role} process has ended")
        try:
            self._connection.send_bytes(pack_frame({**(fields or {}), "op": op}, blobs))
        except OSError as error:
            raise self._died() from error
        self.pending = True

    def answered(self, wait_s: float) -> bool:
        """Whether there is something to receive, waiting for it up to this long."""
        try:
            return self._connection.poll(wait_s)
        except (OSError, EOFError):
            return True  # `receive` tells why the process ended

    def receive(
        self,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        on_progress: Callable[[float, str], None] | None = None,
        on_saved: Callable[[bytes, float], None] | None = None,
    ) -> Reply:
        """The answer to the request under way.

        Until it comes, a fit tells its progress, a share and a text, and hands over what it wants kept in case that it
        is interrupted, with the seconds it has taken.
        """
        deadline = Deadline(timeout_s)
        while True:
            try:
                if not self._connection.poll(deadline.remaining_s()):
                    self.close()
                    raise WorkerTimeout(f"no answer from the {self.role} process within {timeout_s:.0f} s")
                reply = unpack_frame(self._connection.recv_bytes())
            except (OSError, EOFError) as error:
                raise self._died() from error
            if "progress" in reply.fields:
                if on_progress is not None:
                    on_progress(reply.fields["progress"], reply.fields["text"])
                continue
            if "saved_after_s" in reply.fields:
                if on_saved is not None:
                    on_saved(reply.blobs[0], reply.fields["saved_after_s"])
                continue
            self.pending = False
            if "error" in reply.fields:
                raise _error(reply.fields["error"], reply.fields["message"])
            return reply

    def open_codec(
        self, codec_ref: str, spec: TensorSpec, point: Mapping[str, Any], side: Side, state: bytes = b"",
        *, timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> int:  # fmt: skip
        """Make a fresh instance of the codec there, restored from its state, and return a handle to it."""
        fields = {"codec": codec_ref, "spec": spec.to_json(), "point": dict(point), "side": side}
        return int(self.call("open_codec", fields, [state], timeout_s=timeout_s).fields["handle"])

    def encode(
        self, handle: int, samples: Sequence[NDArray[Any]], batched: bool = True, *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> list[bytes]:  # fmt: skip
        """The payloads of these samples, by `encode_batch` or one by one."""
        headers, blobs = pack_arrays(samples)
        return self.call(
            "encode_arrays", {"handle": handle, "arrays": headers, "batched": batched}, blobs, timeout_s=timeout_s
        ).blobs

    def decode(
        self, handle: int, payloads: Sequence[bytes], batched: bool = True, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> list[NDArray[Any]]:
        """The tensors of these payloads, by `decode_batch` or one by one. Raises PayloadError where one is bad."""
        reply = self.call("decode_arrays", {"handle": handle, "batched": batched}, payloads, timeout_s=timeout_s)
        return unpack_arrays(reply.fields["arrays"], reply.blobs)

    def close(self) -> None:
        """End the process at once and remove its folder."""
        if self.closed:
            return
        self.closed = True
        self._connection.close()
        _kill_session(self._process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _died(self) -> WorkerDied:
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            status = 0
        log = self.folder / "stderr"
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
        self.close()
        if status < 0:
            cause = f"was killed by {signal.Signals(-status).name}"
            if -status == signal.SIGKILL:
                cause += ", perhaps because the machine had no memory left"
        else:
            cause = f"ended with status {status}"
            cause += f": {lines[-1]}" if lines else ""
        return WorkerDied(f"the {self.role} process {cause}")


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


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()
