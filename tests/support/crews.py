"""Crews whose workers are forked from the process that has imported torch, where a test is not about their start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from codecbench.executors import crew
from codecbench.workers.protocol import pack_frame
from support.paths import SUPPORT
from support.prepared import PreparedServer, program

if TYPE_CHECKING:
    import pytest

COMMAND = program("codecbench.harness.units.__main__")
"""The program of a crew, whose workers are forked from the server."""

WITHOUT_MODEL = """
import os, sys, time
from multiprocessing.connection import Connection
from codecbench.errors import UsageError
from codecbench.workers.protocol import pack_error, pack_frame, unpack_frame
connection = Connection(int(sys.argv[1]))
while True:
    request = unpack_frame(connection.recv_bytes()).fields
    if request["op"] == "set_up":
        connection.send_bytes(pack_error(UsageError("another version")) if request.get("fails") else pack_frame({}))
        if request.get("ends"):
            print("no memory", file=sys.stderr)
            sys.exit(3)
    elif request.get("ends"):
        os._exit(9)
    elif "sleep_s" in request:
        time.sleep(request["sleep_s"])
    else:
        connection.send_bytes(pack_frame({"pid": os.getpid(), "cores": sys.argv[3]}, [b"scores"]))
"""
"""A crew that needs no model."""


def set_up(**fields: bool) -> bytes:
    """The set-up of a crew without a model."""
    return pack_frame({"op": "set_up", **fields})


def without_models(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Have crews started that need no model; their program lies in this folder, the last of the import path."""
    (folder / "crew_without_model.py").write_text(WITHOUT_MODEL)
    patch.setattr(crew, "PROGRAM", "crew_without_model")
    patch.setattr(sys, "path", [*sys.path, str(folder)])


def without_models_anywhere(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """The same for crews of Python processes that this one starts, such as those of a cluster on this machine."""
    without_models(folder, patch)
    (folder / "sitecustomize.py").write_text(
        "from codecbench.executors import crew\ncrew.PROGRAM = 'crew_without_model'\n"
    )
    patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path]))


def share(prepared: PreparedServer, patch: pytest.MonkeyPatch) -> None:
    """Have the workers of all crews forked from this server."""

    def start_program(words: Sequence[str], descriptor: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
        server = prepared.control.fileno()
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(server), str(SUPPORT.parent), *words], pass_fds=[descriptor, server],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip

    patch.setattr(crew, "start_program", start_program)
