"""The program of a worker process: `python -m codecbench.workers.process ROLE FD THREADS MEMORY_BYTES PARENT`."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from codecbench import measure


def _end_with_parent(parent: int) -> None:
    """Make this process end with its parent, even while a codec hangs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)

    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Answer requests until the parent closes the connection."""
    role, fd, threads, memory_bytes, parent = sys.argv[1:]
    faulthandler.enable()
    _end_with_parent(int(parent))
    # After `_end_with_parent`: the import takes seconds, and the parent may end meanwhile.
    import torch

    from codecbench.workers.process.session import Session, process_of

    torch.set_num_threads(int(threads))
    measure.limit_memory(int(memory_bytes))
    connection: Connection[Any, Any] = Connection(int(fd))
    Session(process_of(role, connection.send_bytes), connection).serve()


if __name__ == "__main__":
    main()
