"""A worker process as its parent sees it: requests and answers as frames over a pipe of bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from codecbench.errors import WorkerDied, WorkerTimeout
from codecbench.measure import Deadline
from codecbench.workers.launch import WorkerProcess
from codecbench.workers.protocol import Operation, Reply, Role, pack_frame, unpack_error, unpack_frame

DEFAULT_TIMEOUT_S = 300.0

Client = TypeVar("Client", bound="WorkerClient")


class WorkerClient:
    """One process of a role. Starts at once; `close` it, or use it in a with block.

    `threads` is torch's thread count there. `memory_limit_bytes` bounds its private memory (default: half of the
    machine's). Every call raises WorkerError or one of its kinds; after WorkerTimeout and WorkerDied the worker is
    closed and a new one has to be made.
    """

    role: ClassVar[Role]

    def __init__(self, *, threads: int = 1, memory_limit_bytes: int | None = None) -> None:
        self._process = WorkerProcess(self.role, threads=threads, memory_limit_bytes=memory_limit_bytes)
        self.closed = False
        self.pending = False

    @property
    def pid(self) -> int:
        """The process's number, for reading what the system tells of it."""
        return self._process.pid

    @property
    def folder(self) -> Path:
        """The process's own folder, removed when it is closed."""
        return self._process.folder

    @property
    def alive(self) -> bool:
        """True while the process runs: it is not closed and has not ended by itself."""
        return not self.closed and self._process.running

    def __enter__(self: Client) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def set_threads(self, threads: int) -> None:
        """Set torch's thread count."""
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
        """Send one request and wait for its answer."""
        self.send(op, fields, blobs)
        return self.receive(timeout_s=timeout_s, on_progress=on_progress, on_saved=on_saved)

    def send(self, op: Operation, fields: Mapping[str, Any] | None = None, blobs: Sequence[bytes] = ()) -> None:
        """Send one request without waiting; `receive` takes its answer. One request may be under way."""
        if self.closed:
            raise WorkerDied(f"the {self.role} process has ended")
        try:
            self._process.connection.send_bytes(pack_frame({**(fields or {}), "op": op}, blobs))
        except OSError as error:
            raise self._died() from error
        self.pending = True

    def has_answer(self, wait_s: float) -> bool:
        """True once there is something to receive, waiting for it up to this long."""
        try:
            return self._process.connection.poll(wait_s)
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
                if not self._process.connection.poll(deadline.remaining_s()):
                    self.close()
                    raise WorkerTimeout(f"no answer from the {self.role} process within {timeout_s:.0f} s")
                reply = unpack_frame(self._process.connection.recv_bytes())
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
        """The answer to the request under way, which counts against the limit of a cell."""
        try:
            return self.receive(timeout_s=deadline.remaining_s())
        except WorkerTimeout as error:
            raise WorkerTimeout(
                f"no answer from the {self.role} process within the cell's limit of {deadline.limit_s:g} s "
                "(--timeout-s)"
            ) from error

    def close(self) -> None:
        """End the process at once and remove its folder."""
        if not self.closed:
            self.closed = True
            self._process.kill()

    def _died(self) -> WorkerDied:
        cause = self._process.cause_of_end()
        self.close()
        return WorkerDied(f"the {self.role} process {cause}")
