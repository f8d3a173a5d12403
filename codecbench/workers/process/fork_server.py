"""The fork server: a clean process from which the processes of codecs, of plugins, or of fits are forked.

It has imported libraries, torch and numpy among them for codecs, and has one thread: a fork of a process whose threads
have worked may hang. For fits it has built a workload's model, too. Nothing of a codec or a data set is ever in it.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from codecbench import measure
from codecbench.errors import DataError
from codecbench.isolation.landlock import Ruleset
from codecbench.isolation.seal import readable_files, thread_count
from codecbench.workers.launch import home_variables
from codecbench.workers.process.lifetime import end_with_parent
from codecbench.workers.process.session import Session
from codecbench.workers.protocol import OperationResult, Reply

if TYPE_CHECKING:
    from codecbench.workers.process.models import ModelProcess

TOOLBOX = tuple(f"codecbench.toolbox.{part}" for part in ("codecs", "coding", "sensing", "transforms"))
"""The parts of the toolbox that need no torch to be imported, and that most codecs use."""


class ForkServerProcess:
    """Serves the operations of the fork server. `connection` is its connection to the main process."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._control = socket.socket(fileno=os.dup(connection.fileno()))
        self._rules: Ruleset | None = None
        self._serves = ""
        self._model: ModelProcess | None = None
        self._ended: dict[int, int] = {}

    def op_prepare(self, request: Reply) -> OperationResult:
        """Import what the forks need, and find the files that they may read."""
        self._serves = request.fields["serves"]
        if self._serves == "codec":
            _import_for_codecs()
        elif self._serves == "fit":
            import_module("codecbench.workers.process.fit")
        else:
            _import_for_plugins()
        self._rules = readable_files([Path(source) for source in request.fields["sources"]])
        _keep_pages_shared()
        return {}, ()

    def op_workload(self, request: Reply) -> OperationResult:
        """Build a workload's model for the fits; return what a model's process does."""
        from codecbench.workers.process.models import ModelProcess

        self._model = ModelProcess()
        answer = self._model.op_workload(request)
        _keep_pages_shared()
        return answer

    def op_fork(self, request: Reply) -> OperationResult:
        """Fork a process that answers at the socket that comes with the request; return its process id."""
        _, descriptors, _, _ = socket.recv_fds(self._control, 1, 2)
        if thread_count() != 1:
            raise DataError("the fork server has more than one thread, so no process can be forked from it")
        server = os.getpid()
        child = os.fork()
        if child == 0:
            self._become_fork(descriptors, request, server)
        for descriptor in descriptors:
            os.close(descriptor)
        return {"pid": child}, ()

    def op_wait(self, request: Reply) -> OperationResult:
        """Return the exit status of a forked process, negative for a signal; None if it runs on after `wait_s`."""
        pid, deadline = request.fields["pid"], measure.Deadline(request.fields["wait_s"])
        while pid not in self._ended:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._ended[pid] = os.waitstatus_to_exitcode(status)
            elif deadline.remaining_s() <= 0:
                return {"status": None}, ()
            else:
                select.select([], [], [], 0.001)
        return {"status": self._ended[pid]}, ()

    def _become_fork(self, descriptors: Sequence[int], request: Reply, server: int) -> NoReturn:
        """Serve in the forked child, until the main process closes the connection."""
        status = 1
        try:
            os.setsid()
            end_with_parent(server, watch=False)
            connection, log = descriptors
            for stream in (1, 2):
                os.dup2(log, stream)
            os.close(log)
            self._connection.close()
            self._control.close()
            os.environ.update(home_variables(Path(request.fields["home"])))
            os.chdir(request.fields["home"])
            measure.limit_memory(request.fields["memory_bytes"])
            own: Connection[Any, Any] = Connection(connection)
            Session(self._process(own), own).serve()
            status = 0
        except SystemExit as ended:
            status = _say_why(ended)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _process(self, connection: Connection[Any, Any]) -> object:
        if self._serves == "codec":
            from codecbench.workers.process.codec import CodecProcess

            return CodecProcess(self._rules)
        if self._serves == "fit":
            from codecbench.workers.process.fit import FitProcess

            return FitProcess(connection.send_bytes, self._rules, self._model.models if self._model else None)
        from codecbench.workers.process.plugin import PluginProcess

        return PluginProcess(self._rules)


def _say_why(ended: SystemExit) -> int:
    """Print what a process says as it ends itself, as the interpreter would; return its exit status."""
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    sys.stderr.write(f"{ended.code}\n")
    return 1


def _keep_pages_shared() -> None:
    """Keep the garbage collector of children off the objects here: it would write to, and so copy, their pages."""
    gc.collect()
    gc.freeze()


def _import_for_codecs() -> None:
    for module in (*TOOLBOX, "codecbench.workers.process.codec", "torch.utils.flop_counter"):
        import_module(module)


def _import_for_plugins() -> None:
    for module in (*TOOLBOX, "codecbench.workers.process.plugin"):
        import_module(module)
    from codecbench.descriptions.describe import distributions
    from codecbench.descriptions.source_hash import read_toolbox

    # What every plugin's process would have to read again.
    distributions()
    read_toolbox()
