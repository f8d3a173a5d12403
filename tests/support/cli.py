"""Commands run within a test: how one ended, records for it to read, and a stand-in for its processes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecbench.codec import TensorSpec
from codecbench.descriptions.describe import describe_workload
from codecbench.descriptions.workload_info import WorkloadInfo
from codecbench.registry import resolve
from codecbench.results.cell import CellKey
from codecbench.results.store import Store
from codecbench.workers.answers import FullModelRun
from codecbench.workers.pair import WorkloadRef
from support.factories import make_record
from support.paths import MISBEHAVING, TINY

TINY_WORKLOAD = ["--workload", "tiny", "--plugin", str(TINY)]
STEADY = ["--plugin", str(MISBEHAVING), "--codec", "steady"]


@dataclass
class Ended:
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of the error."""
        (line,) = self.err.splitlines()
        return line


Cli = Callable[..., Ended]


def search_path(folder: Path) -> str:
    """A search path for shells, with a program `codecbench` that is written to the folder."""
    program = folder / "bin" / "codecbench"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m codecbench "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}:/usr/bin:/bin"


class FakePair:
    """Stands in for the model's two processes where only a plan is made."""

    def __init__(self, workload: WorkloadRef) -> None:
        self.workload = workload
        self.device = self.edge = self
        inner = TensorSpec((6, 4, 4))
        self.cuts = {"input": TensorSpec((3, 8, 8), image=True), "stem": inner, "block": inner}

    def __enter__(self) -> FakePair:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def device_cuts(self) -> dict[str, TensorSpec]:
        return self.cuts

    def measured_cuts(self, splits: Sequence[str]) -> dict[str, TensorSpec]:
        return self.cuts

    def describe_workload(self) -> WorkloadInfo:
        return describe_workload(resolve(self.workload.reference)(self.workload.data_dir))

    def data_hash(self, positions: Any) -> str:
        return "0" * 64

    def run_full_model(self, subset: str, positions: Any) -> FullModelRun:
        return FullModelRun({}, 0.032)


def put(out: Path, **fields: Any) -> None:
    record = make_record(**fields)
    Store(out).write(CellKey(**record.key.model_dump()), record)
