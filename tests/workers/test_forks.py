"""Codec processes, forked or by exec: clean, with nothing of the fork server's, and gone when they should be."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.codec_processes import PLAIN, SAMPLES, SPEC, is_gone, opened, wait_for
from support.paths import LOOKING, MISBEHAVING

from codecbench.codec import Side
from codecbench.errors import CodecFailure, DataError, WorkerDied
from codecbench.workers.codec_client import CodecClient
from codecbench.workers.forks import CodecProcesses, ForkServer, can_fork
from codecbench.workers.tensor_file import TensorFile

needs_fork = pytest.mark.skipif(not can_fork(), reason="processes are not forked on this system")
WAYS = pytest.param(True, id="fork", marks=needs_fork), pytest.param(False, id="exec")


@pytest.fixture(scope="module")
def forks() -> Iterator[CodecProcesses]:
    if not can_fork():
        pytest.skip("processes are not forked on this system")
    with CodecProcesses([MISBEHAVING, LOOKING], fork=True) as started:
        yield started


@pytest.fixture(scope="module")
def execs() -> Iterator[CodecProcesses]:
    with CodecProcesses([MISBEHAVING, LOOKING], fork=False) as started:
        yield started


@pytest.fixture(params=WAYS)
def processes(request: pytest.FixtureRequest) -> CodecProcesses:
    found: CodecProcesses = request.getfixturevalue("forks" if request.param else "execs")
    return found


def server_of(forks: CodecProcesses) -> ForkServer:
    forks.warm()
    server = forks._server
    assert server is not None
    server.ready()
    return server


# --- interruptions --------------------------------------------------------------------------------------------------


@needs_fork
@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize("step", ["send", "receive"])
def test_an_interrupted_request_is_not_answered_by_the_next_answer(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def interrupt(*_arguments: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    with CodecProcesses([MISBEHAVING], fork=True) as processes:
        client = opened(processes, MISBEHAVING, "HangsInDecode")
        server = server_of(processes)
        with monkeypatch.context() as patch:
            patch.setattr(server, step, interrupt)
            with pytest.raises(KeyboardInterrupt):
                processes.start()
        client.close()  # asks the server how the process ended
        assert not server.alive
        with CodecClient(processes.start()) as again:
            assert again.alive


# --- one thread -----------------------------------------------------------------------------------------------------


def test_the_fork_server_has_one_thread_and_torch(forks: CodecProcesses) -> None:
    server = server_of(forks)
    tasks = Path(f"/proc/{server.pid}/task")
    if not tasks.exists():
        pytest.skip("threads are listed in /proc")
    assert len(list(tasks.iterdir())) == 1
    assert "libtorch_cpu" in Path(f"/proc/{server.pid}/maps").read_text()


SECOND_THREAD = """
import threading
from codecbench.workers.process import fork_server

imports = fork_server._import_for_codecs

def with_a_thread():
    imports()
    threading.Thread(target=threading.Event().wait, daemon=True).start()

fork_server._import_for_codecs = with_a_thread
"""


@needs_fork
def test_a_fork_server_with_a_second_thread_refuses_to_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Loaded by every Python process that starts, as a library that starts threads might be.
    (tmp_path / "sitecustomize.py").write_text(SECOND_THREAD)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "folders").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "folders"))
    with CodecProcesses([MISBEHAVING], fork=True) as processes:
        for _ in range(2):
            with pytest.raises(DataError) as caught:
                processes.start()
            assert str(caught.value) == (
                "the fork server has more than one thread, so no process can be forked from it"
            )
        found = (tmp_path / "folders").glob("codecbench-*/codecbench-*")
        assert [folder.name.split("-")[1] for folder in found] == ["forks"]


# --- what a process has and answers -----------------------------------------------------------------------------------


def test_both_ways_give_the_same_answers(processes: CodecProcesses, tmp_path: Path) -> None:
    assert opened_and_closed(processes, "Steady", bits=32) == PLAIN
    with opened(processes, MISBEHAVING, "Steady", "edge", bits=32) as decoder:
        assert all(np.array_equal(a, b) for a, b in zip(decoder.decode_payloads(PLAIN), SAMPLES, strict=True))
    with CodecClient(processes.start()) as client:
        assert client.export(f"{MISBEHAVING}:Steady", SPEC, {}) == (b"", b"")
    with pytest.raises(CodecFailure, match=r"^restore: OverflowError: too wide$"):
        opened(processes, MISBEHAVING, "RaisesInConstructor")
    with pytest.raises(CodecFailure, match=r"^encode: GuardError: open of 'secret': a codec may reach nothing but"):
        opened_and_closed(processes, "Opens")


def opened_and_closed(processes: CodecProcesses, kind: str, **point: Any) -> list[bytes]:
    with opened(processes, MISBEHAVING, kind, **point) as client:
        return client.encode_samples(SAMPLES)


def test_both_ways_seal_alike(forks: CodecProcesses, execs: CodecProcesses) -> None:
    found = []
    for processes in (forks, execs):
        with opened(processes, LOOKING, "Looks", state=b"{}") as client:
            found.append(client.isolation)
    assert found[0] == found[1] is not None
    assert found[0].label == found[1].label


def test_what_a_fork_did_stays_in_it(forks: CodecProcesses) -> None:
    with opened(forks, MISBEHAVING, "Pollutes") as first, opened(forks, MISBEHAVING, "Pollutes") as second:
        assert first.encode_samples(SAMPLES) == [b"1", b"2", b"3"]
        assert second.encode_samples(SAMPLES[:1]) == [b"1"]
    assert opened_and_closed(forks, "Pollutes") == [b"1", b"2", b"3"]


def descriptors(pid: int) -> dict[str, str]:
    """What each descriptor of a process refers to; sockets, pipes and files by number."""
    folder = Path(f"/proc/{pid}/fd")
    return {link.name: str(link.readlink()) for link in folder.iterdir()}


def test_no_descriptor_of_the_fork_server_is_in_a_fork(forks: CodecProcesses, tmp_path: Path) -> None:
    server = server_of(forks)
    tensors = TensorFile(tmp_path / "tensors", SPEC, 1).create()
    sides: tuple[Side, Side] = ("device", "edge")
    for side in sides:
        with opened(forks, MISBEHAVING, "Steady", side, tensors=tensors) as client:
            found, of_server = descriptors(client.pid), descriptors(server.pid)
            assert found.pop("0") == os.devnull
            assert {found.pop("1"), found.pop("2")} == {str(client.folder / "stderr")}
            sockets = [name for name in found.values() if name.startswith("socket:")]
            assert len(sockets) == 1
            assert set(found.values()) - set(sockets) == {str(tensors.path)}
            assert not set(found.values()) & set(of_server.values())


def test_a_process_leads_a_session_of_its_own(processes: CodecProcesses) -> None:
    with opened(processes, MISBEHAVING, "Steady") as client:
        assert os.getsid(client.pid) == os.getpgid(client.pid) == client.pid


def test_the_server_keeps_no_descriptor_and_no_child_of_what_has_ended(forks: CodecProcesses) -> None:
    server = server_of(forks)
    opened_and_closed(forks, "Steady")
    before = descriptors(server.pid)
    for _ in range(5):
        opened_and_closed(forks, "Steady")
    assert descriptors(server.pid) == before
    children = subprocess.run(["ps", "--ppid", str(server.pid), "-o", "pid="], capture_output=True, text=True)
    assert children.stdout.split() == []


# --- the end of processes ---------------------------------------------------------------------------------------------


def test_the_exit_status_and_the_last_line_of_output_are_told(processes: CodecProcesses) -> None:
    for kind, text in (
        ("Exits", "the encoder process ended with status 1: that is enough"),
        ("ExitsWithStatus", "the encoder process ended with status 7: the last words"),
        ("Segfaults", "the encoder process was killed by SIGSEGV"),
    ):
        with pytest.raises(WorkerDied) as caught:
            opened_and_closed(processes, kind)
        assert str(caught.value) == text


def test_nothing_of_a_closed_process_stays(processes: CodecProcesses) -> None:
    client = opened(processes, MISBEHAVING, "Hangs")
    assert client.alive
    client.start_decode_payloads(PLAIN)
    client.close()
    assert is_gone(client.pid)
    assert not client.folder.exists()
    client.close()


@pytest.mark.usefixtures("prepared")
def test_forks_end_with_their_server(forks: CodecProcesses) -> None:
    with CodecProcesses([MISBEHAVING], fork=True) as processes:
        hanging, idle = (opened(processes, MISBEHAVING, kind, "edge") for kind in ("HangsInDecode", "Steady"))
        hanging.start_decode_payloads(PLAIN[:1])
        server = server_of(processes)
    for client in (hanging, idle):
        wait_for(lambda client=client: is_gone(client.pid), "the end of a fork whose server has ended")  # type: ignore[misc]
        with pytest.raises(WorkerDied, match="the decoder process"):
            client.finish_decode_payloads() if client is hanging else client.decode_payloads(PLAIN)
        client.close()
        assert not client.folder.exists()
    assert is_gone(server.pid)


@needs_fork
@pytest.mark.usefixtures("prepared")
def test_a_killed_server_is_replaced() -> None:
    with CodecProcesses([MISBEHAVING], fork=True) as processes:
        first = server_of(processes)
        os.kill(first.pid, 9)
        wait_for(lambda: not first.alive, "the end of the killed server")
        assert opened_and_closed(processes, "Steady", bits=32) == PLAIN
        assert server_of(processes).pid != first.pid


PARENT = """
import sys, time
from pathlib import Path
from codecbench import TensorSpec
from codecbench.workers.codec_client import CodecClient
from codecbench.workers.forks import CodecProcesses

file, fork = Path(sys.argv[1]), sys.argv[2] == "True"
processes = CodecProcesses([file], fork=fork)
clients = [CodecClient(processes.start()) for _ in range(2)]
for client in clients:
    client.open(f"{file}:HangsInDecode", TensorSpec((2,)), {}, "edge")
clients[0].start_decode_payloads([bytes(8)])
server = [processes._server.pid] if fork else []
print(*server, *(client.pid for client in clients), flush=True)
time.sleep(3600)
"""


@pytest.mark.parametrize("fork", WAYS)
def test_processes_end_with_the_main_process_even_while_a_codec_hangs(tmp_path: Path, fork: bool) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(MISBEHAVING), str(fork)],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    with parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2 + fork
        assert not any(map(is_gone, pids))
        parent.kill()
    for pid in pids:
        wait_for(lambda pid=pid: is_gone(pid), "the end of a process whose parent was killed")  # type: ignore[misc]
