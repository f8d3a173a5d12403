"""Codec processes for tests: opened with a codec of a plugin file, watched from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from codecbench.codec import Side, TensorSpec
from codecbench.workers.codec_client import CodecClient
from codecbench.workers.forks import SealedProcesses
from codecbench.workers.tensor_file import TensorFile

SPEC = TensorSpec((2, 3))
SAMPLES: list[NDArray[Any]] = [np.arange(6, dtype=np.float32).reshape(2, 3) + k for k in range(3)]
PLAIN = [sample.tobytes() for sample in SAMPLES]


def opened(
    processes: SealedProcesses,
    file: Path,
    kind: str,
    side: Side = "device",
    *,
    spec: TensorSpec = SPEC,
    state: bytes = b"",
    tensors: TensorFile | None = None,
    memory_limit_bytes: int | None = None,
    **point: Any,
) -> CodecClient:
    """A new process with the file's codec of that class name; one that does not open is closed."""
    client = CodecClient(processes.start(memory_limit_bytes))
    try:
        client.open(f"{file}:{kind}", spec, point, side, state, tensors=tensors)
    except BaseException:
        client.close()
        raise
    return client


def is_gone(pid: int) -> bool:
    """True if the process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait as long as the slowest machine may need; a sound one passes at once."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"still waiting: {what}"
        time.sleep(0.02)
