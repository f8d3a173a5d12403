"""The processes: what crosses, what a bad codec can do to them, and that nothing of them stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from support.paths import MISBEHAVING

from codecbench import TensorSpec
from codecbench.errors import CodecbenchError, CodecFailure, FailureCode, PayloadError, WorkerDied, WorkerTimeout
from codecbench.workers.client import CodecClient, DeviceClient, EdgeClient
from codecbench.workers.connection import WorkerClient

FILE = MISBEHAVING
SPEC = TensorSpec((2, 3))
SAMPLES = [np.arange(6, dtype=np.float32).reshape(2, 3) + k for k in range(3)]
PLAIN = [s.tobytes() for s in SAMPLES]


def open_codec(worker: CodecClient, kind: str, **point: Any) -> int:
    side: Any = "edge" if worker.role == "edge" else "device"
    return worker.open_codec(f"{FILE}:{kind}", SPEC, point, side)


@pytest.fixture(scope="module")
def device() -> Iterator[DeviceClient]:
    """One device process for all tests that leave it in order."""
    with DeviceClient() as worker:
        yield worker


@pytest.fixture(scope="module")
def edge() -> Iterator[EdgeClient]:
    """One edge process for all tests that leave it in order."""
    with EdgeClient() as worker:
        yield worker


# --- codecs that behave ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batched", [True, False])
def test_payloads_decode_in_another_process(device: DeviceClient, edge: EdgeClient, batched: bool) -> None:
    assert device.pid != edge.pid != os.getpid()
    payloads = device.encode_samples(open_codec(device, "Steady", bits=32), SAMPLES, batched=batched)
    assert payloads == PLAIN
    decoded = edge.decode_payloads(open_codec(edge, "Steady", bits=32), payloads, batched=batched)
    assert all(np.array_equal(a, b) for a, b in zip(decoded, SAMPLES, strict=True))


def test_handles_are_instances_of_their_own(device: DeviceClient) -> None:
    wide, narrow = open_codec(device, "Steady", bits=32), open_codec(device, "Steady", bits=16)
    assert [len(p) for p in device.encode_samples(wide, SAMPLES[:1]) + device.encode_samples(narrow, SAMPLES[:1])] == [
        24,
        12,
    ]


def test_no_samples_are_no_payloads(device: DeviceClient) -> None:
    assert device.encode_samples(open_codec(device, "Steady"), []) == []


def test_printing_disturbs_nothing(device: DeviceClient) -> None:
    assert device.encode_samples(open_codec(device, "Prints"), SAMPLES) == PLAIN


def test_a_process_has_folders_and_an_environment_of_its_own(device: DeviceClient) -> None:
    (payload,) = device.encode_samples(open_codec(device, "TellsWhere"), SAMPLES[:1])
    told = json.loads(payload)
    home = device.folder / "home"
    assert told["cwd"] == told["environment"]["HOME"] == told["environment"]["TMPDIR"] == str(home)
    assert list(home.iterdir()) == []
    assert not [name for name in told["environment"] if name.startswith("XDG_")]
    assert told["environment"]["OPENBLAS_NUM_THREADS"] == "1"  # torch alone is told its threads otherwise


def test_the_edge_is_not_told_where_data_lies(edge: EdgeClient) -> None:
    (payload,) = edge.encode_samples(open_codec(edge, "TellsWhere"), SAMPLES[:1])
    assert not [name for name in json.loads(payload)["environment"] if name.startswith("CODECBENCH_")]


def test_an_unknown_class_or_state_is_a_failure_of_the_codec(device: DeviceClient) -> None:
    with pytest.raises(CodecFailure, match="defines no class NoSuchCodec"):
        open_codec(device, "NoSuchCodec")
    with pytest.raises(CodecFailure, match="restore: ValueError: steady keeps no state, but was given 2 bytes"):
        device.open_codec(f"{FILE}:Steady", SPEC, {}, "device", b"ab")
    with pytest.raises(CodecFailure, match="restore: TypeError: steady has no argument 'bist'"):
        open_codec(device, "Steady", bist=3)


# --- codecs that break the contract: the process lives on -------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "reason", "code"),
    [
        ("RaisesInConstructor", "restore: OverflowError: too wide", FailureCode.RAISED),
        ("RaisesInEncode", "encode: RuntimeError: no such tensor", FailureCode.RAISED),
        ("GivesText", "encode gave str, not bytes", FailureCode.NOT_BYTES),
        ("GivesTooFew", "encode_batch gave no list of 3 payloads", FailureCode.WRONG_COUNT),
        ("ChangesInput", "encode changed its input", FailureCode.CHANGED_INPUT),
        ("Opens", "encode: GuardError: open of 'secret': a codec may reach nothing but", FailureCode.RAISED),
        ("Forks", "encode: GuardError: os.fork", FailureCode.RAISED),
    ],
)
def test_a_bad_encode_is_a_failure_with_its_reason(
    device: DeviceClient, kind: str, reason: str, code: FailureCode
) -> None:
    with pytest.raises(CodecFailure) as caught:
        device.encode_samples(open_codec(device, kind), SAMPLES)
    assert str(caught.value).startswith(reason)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert device.encode_samples(open_codec(device, "Steady", bits=32), SAMPLES) == PLAIN


@pytest.mark.parametrize(
    ("kind", "reason", "code"),
    [
        ("DecodesArray", "decode gave ndarray, not a tensor", FailureCode.WRONG_TENSOR),
        (
            "DecodesWrongShape",
            "decode gave the wrong tensor: shape is (3,), the spec says (2, 3)",
            FailureCode.WRONG_TENSOR,
        ),
        (
            "DecodesWrongDtype",
            "decode gave the wrong tensor: dtype is float64, the spec says float32",
            FailureCode.WRONG_TENSOR,
        ),
        ("DecodesNan", "decode gave values that are not finite", FailureCode.NOT_FINITE),
    ],
)
def test_a_bad_decode_is_a_failure_with_its_reason(edge: EdgeClient, kind: str, reason: str, code: FailureCode) -> None:
    with pytest.raises(CodecFailure) as caught:
        edge.decode_payloads(open_codec(edge, kind), PLAIN)
    assert str(caught.value) == reason
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        ("Steady", PLAIN[0][:-1], "decode: ValueError: buffer size must be a multiple"),
        ("Steady", PLAIN[0][:-4], "decode: PayloadError: 20 bytes are no float32 tensor"),
        ("RaisesInDecode", PLAIN[0], "decode: KeyError: 'table'"),
    ],
)
def test_a_payload_that_does_not_decode(edge: EdgeClient, kind: str, payload: bytes, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        edge.decode_payloads(open_codec(edge, kind, **({"bits": 32} if kind == "Steady" else {})), [PLAIN[0], payload])


# --- codecs that take the process along -----------------------------------------------------------------------------


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition: Callable[[], bool], what: str) -> None:
    # As long as the slowest machine may need; a sound one passes at once.
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"still waiting: {what}"
        time.sleep(0.02)


def assert_nothing_stays(worker: WorkerClient) -> None:
    assert worker.closed
    assert not worker.alive
    assert not worker.folder.exists()
    assert is_gone(worker.pid)
    with pytest.raises(WorkerDied, match="the device process has ended"):
        worker.set_threads(1)
    worker.close()


def test_a_codec_that_hangs_is_killed() -> None:
    with DeviceClient() as worker:
        handle = open_codec(worker, "Hangs")
        with pytest.raises(WorkerTimeout, match="no answer from the device process within 0 s"):
            worker.encode_samples(handle, SAMPLES, timeout_s=0.3)
        assert_nothing_stays(worker)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("Segfaults", "the device process was killed by SIGSEGV"),
        ("Exits", "the device process ended with status 1: that is enough"),
    ],
)
def test_a_codec_that_ends_the_process(kind: str, reason: str) -> None:
    with DeviceClient() as worker:
        handle = open_codec(worker, kind)
        with pytest.raises(WorkerDied, match=reason):
            worker.encode_samples(handle, SAMPLES)
        assert_nothing_stays(worker)


def test_a_process_killed_from_outside_says_what_may_have_happened() -> None:
    with DeviceClient() as worker:
        assert worker.alive
        os.kill(worker.pid, signal.SIGKILL)
        wait_for(lambda: not worker.alive, "the end of a killed process")
        with pytest.raises(WorkerDied, match="was killed by SIGKILL, perhaps because the machine had no memory left"):
            worker.set_threads(1)


def test_a_codec_that_takes_all_memory_meets_the_limit() -> None:
    with DeviceClient(memory_limit_bytes=1 << 30) as worker:
        handle = open_codec(worker, "Hoards")
        with pytest.raises((CodecFailure, WorkerDied), match=r"memory|SIG"):
            worker.encode_samples(handle, SAMPLES)


PARENT = """
import sys, time
from codecbench import TensorSpec
from codecbench.workers.client import EdgeClient

worker = EdgeClient()
handle = worker.open_codec(sys.argv[1], TensorSpec((2,)), {}, "edge")
worker.start_decode_payloads(handle, [bytes(8)])
print(worker.pid, flush=True)
time.sleep(3600)
"""


def test_a_process_ends_with_its_parent_even_while_a_codec_hangs(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, f"{FILE}:HangsInDecode"],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
        parent.kill()
    wait_for(lambda: is_gone(pid), "the end of the worker whose parent was killed")


def test_errors_of_processes_are_errors_for_users() -> None:
    assert issubclass(CodecFailure, CodecbenchError)
    assert issubclass(WorkerDied, CodecbenchError)
    assert issubclass(WorkerTimeout, CodecbenchError)
