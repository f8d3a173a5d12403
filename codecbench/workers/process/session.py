"""The request loop of a worker process: calls the operations of the process's role."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from codecbench.errors import CodecbenchError
from codecbench.workers.protocol import OperationResult, Reply, pack_error, pack_frame, unpack_frame


def process_of(role: str, connection: Connection[Any, Any]) -> object:
    """Return the object that serves a role's operations. Only the modules of that role are imported."""
    if role == "device":
        from codecbench.workers.process.device import DeviceProcess

        return DeviceProcess()
    if role == "edge":
        from codecbench.workers.process.edge import EdgeProcess

        return EdgeProcess()
    if role == "fit":
        from codecbench.workers.process.fit import FitProcess

        return FitProcess(connection.send_bytes)
    if role == "codec":
        from codecbench.workers.process.codec import CodecProcess

        return CodecProcess(None)
    if role == "plugin":
        from codecbench.workers.process.plugin import PluginProcess

        return PluginProcess(None)
    from codecbench.workers.process.fork_server import ForkServerProcess

    return ForkServerProcess(connection)


class Session:
    """Answers requests one after another, each with a result or an error."""

    def __init__(self, process: object, connection: Connection[Any, Any]) -> None:
        self.process = process
        self.connection = connection

    def serve(self) -> None:
        """Answer requests until the parent closes the connection."""
        while True:
            try:
                request = unpack_frame(self.connection.recv_bytes())
            except (EOFError, OSError):
                return
            self.connection.send_bytes(self.answer(request))

    def answer(self, request: Reply) -> bytes:
        """Run the method `op_...` of the requested operation; return the frame of its result or its error."""
        try:
            operation: Callable[[Reply], OperationResult] = getattr(self.process, f"op_{request.fields.pop('op')}")
            fields, blobs = operation(request)
            return pack_frame(fields, blobs)
        except CodecbenchError as error:
            return pack_error(error)
        except Exception as error:
            traceback.print_exc()
            return pack_error(error)
