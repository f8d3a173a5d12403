"""The main process's connection to a worker: requests and replies as frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar

from codecbench.errors import WorkerDied, WorkerTimeout
from codecbench.measure import Deadline
from codecbench.workers.closing import Closing
from codecbench.workers.launch import Process, WorkerProcess
from codecbench.workers.protocol import Operation, Reply, Role, pack_frame, unpack_error, unpack_frame

DEFAULT_TIMEOUT_S = 300.0


class WorkerClient(Closing):
    """A worker process of one role. It starts at once; call `close`, or use a with block.

    `threads` is torch's thread count in it. `memory_limit_bytes` limits its private memory (default: half of the
    machine's memory). `process` is a process that has been started already. All calls raise WorkerError or a subclass.
    After WorkerTimeout and WorkerDied the worker is closed; create a new one.
    """

    role: ClassVar[Role] = "codec"

    def __init__(
        self, *, threads: int = 1, memory_limit_bytes: int | None = None, process: Process | None = None
    ) -> None:
        self._process = process or WorkerProcess(self.role, threads=threads, memory_limit_bytes=memory_limit_bytes)
        self.label: str = self.role
        """The process's name in errors."""
        self.closed = False
        self.pending = False

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def connection(self) -> Connection[Any, Any]:
        """The connection to the process, for waiting on several."""
        return self._process.connection

    @property
    def folder(self) -> Path:
        """The process's own folder, which `close` removes."""
        return self._process.folder

    @property
    def alive(self) -> bool:
        """True while the process runs: not closed, and not ended by itself."""
        return not self.closed and self._process.running

    def set_threads(self, threads: int) -> None:
        """Set torch's thread count in the process."""
        self.call("threads", {"threads": threads})

    def call(
        self,
        op: Operation,
        fields: Mapping[str, Any] | None = None,
        blobs: Sequence[bytes] = (),
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        on_progress: Callable[[float, str], None] | None = None,
        on_saved: Callable[[bytes, float], None] | None = None,
    ) -> Reply:
        """Send a request, wait for the reply and return it."""
        self.send(op, fields, blobs)
        return self.receive(timeout_s=timeout_s, on_progress=on_progress, on_saved=on_saved)

    def send(self, op: Operation, fields: Mapping[str, Any] | None = None, blobs: Sequence[bytes] = ()) -> None:
        """Send a request without waiting; `receive` returns the reply. Replies come in the order of the requests."""
        if self.closed:
            raise WorkerDied(f"the {self.label} process has ended")
        try:
            self._process.connection.send_bytes(pack_frame({**(fields or {}), "op": op}, blobs))
        except OSError as error:
            raise self._died() from error
        self.pending = True

    def has_answer(self, wait_s: float) -> bool:
        """Wait up to `wait_s` seconds for the reply; return True if `receive` has something to read."""
        try:
            return self._process.connection.poll(wait_s)
        except (OSError, EOFError):
            return True  # `receive` raises the reason why the process ended

    def receive(
        self,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        on_progress: Callable[[float, str], None] | None = None,
        on_saved: Callable[[bytes, float], None] | None = None,
    ) -> Reply:
        """Wait for the reply to the pending request and return it.

        Before it, a fit may send progress, for `on_progress(share, text)`, and bytes to resume from after an
        interruption, for `on_saved(saved, seconds_so_far)`.
        """
        deadline = Deadline(timeout_s)
        while True:
            try:
                if not self._process.connection.poll(deadline.remaining_s()):
                    self.close()
                    raise WorkerTimeout(f"no answer from the {self.label} process within {timeout_s:.0f} s")
                reply = unpack_frame(self._process.connection.recv_bytes())
            except BlockingIOError as error:
                self.close()
                raise WorkerDied(f"the {self.label} process stopped within a reply") from error
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
            fault = unpack_error(reply)
            if fault is not None:
                raise fault
            return reply

    def receive_until(self, deadline: Deadline) -> Reply:
        """Return the reply to the pending request, within a cell's time limit."""
        try:
            return self.receive(timeout_s=deadline.remaining_s())
        except WorkerTimeout as error:
            raise WorkerTimeout(
                f"no answer from the {self.label} process within the cell's limit of {deadline.limit_s:g} s "
                "(--timeout-s)"
            ) from error

    def close(self) -> None:
        """Kill the process and remove its folder."""
        if not self.closed:
            self.closed = True
            self._process.kill()

    def _died(self) -> WorkerDied:
        cause = self._process.cause_of_end()
        self.close()
        return WorkerDied(f"the {self.label} process {cause}")
