"""Crews whose workers are forked from the process that has imported torch, where a test is not about their start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from codecbench.executors import crew
from support.paths import SUPPORT
from support.prepared import PreparedServer

if TYPE_CHECKING:
    import pytest

COMMAND = """
import sys
sys.path.append(sys.argv[2])
from support.prepared import use_server
use_server(int(sys.argv[1]))
sys.path.remove(sys.argv[2])
del sys.argv[1:3]
from codecbench.harness.units.__main__ import main
main()
"""
"""The program of a crew, whose workers are forked from the server."""


def share(prepared: PreparedServer, patch: pytest.MonkeyPatch) -> None:
    """Have the workers of all crews forked from this server."""

    def start_program(words: Sequence[str], descriptor: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
        server = prepared.control.fileno()
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(server), str(SUPPORT.parent), *words], pass_fds=[descriptor, server],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip

    patch.setattr(crew, "start_program", start_program)
