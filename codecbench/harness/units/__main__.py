"""The program of a crew: `python -m codecbench.harness.units FD PARENT CORES`."""

from __future__ import annotations

import faulthandler
import os
import sys
from multiprocessing.connection import Connection
from typing import Any

from codecbench.system.stopping import Stopped, stopped_by_signals
from codecbench.workers.process.lifetime import end_with_parent
from codecbench.workers.process.session import Session


def main() -> None:
    """Run units until the parent closes the connection, or ends."""
    descriptor, parent, cores = sys.argv[1:]
    faulthandler.enable()
    end_with_parent(int(parent), watch=sys.platform != "linux")
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    from codecbench.harness.units.crew_work import CrewWork

    connection: Connection[Any, Any] = Connection(int(descriptor))
    try:
        with stopped_by_signals(), CrewWork() as work:
            Session(work, connection).serve()
    except Stopped:
        return


if __name__ == "__main__":
    main()
