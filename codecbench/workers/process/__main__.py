"""The program of a worker process: `python -m codecbench.workers.process ROLE FD THREADS MEMORY_BYTES PARENT`."""

from __future__ import annotations

import faulthandler
import sys
from multiprocessing.connection import Connection
from typing import Any

from codecbench import measure
from codecbench.workers.process.lifetime import end_with_parent


def main() -> None:
    """Answer requests until the parent closes the connection."""
    role, fd, threads, memory_bytes, parent = sys.argv[1:]
    faulthandler.enable()
    # A process that seals itself, or forks, must have one thread when it does so.
    end_with_parent(int(parent), watch=sys.platform != "linux")
    # After `end_with_parent`: the import of torch takes seconds, and the parent may end meanwhile.
    from codecbench.workers.process.session import Session, process_of

    if role in ("device", "edge"):
        import torch

        torch.set_num_threads(int(threads))
    measure.limit_memory(int(memory_bytes))
    connection: Connection[Any, Any] = Connection(int(fd))
    Session(process_of(role, connection), connection).serve()


if __name__ == "__main__":
    main()
