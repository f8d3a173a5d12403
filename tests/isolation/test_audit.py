"""The seal refuses what could carry a sample past the payload, and lets imports work."""

# Each way of reaching out is written as a codec might write it.
# ruff: noqa: PTH123, PTH207, PTH208, SIM115

from __future__ import annotations

import _multiprocessing
import _posixshmem
import _posixsubprocess
import ctypes
import glob
import importlib
import inspect
import mmap
import multiprocessing
import os
import posix
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np
import pytest

from codecbench.isolation.audit import GuardError, sealed

REFUSED = {
    "read": lambda folder: (folder / "seen.bin").read_bytes(),
    "write": lambda folder: (folder / "new.bin").write_bytes(b"x"),
    "write a file that looks like a module": lambda folder: (folder / "new.py").write_bytes(b"x"),
    "append": lambda folder: (folder / "seen.bin").open("ab"),
    "update": lambda folder: (folder / "module.py").open("r+b"),
    "os.open": lambda folder: os.open(folder / "seen.bin", os.O_RDONLY),
    "os.open to create": lambda folder: os.open(folder / "new.so", os.O_CREAT | os.O_RDWR),
    "open a descriptor": lambda folder: os.fdopen(0),
    "relative path": lambda folder: open(os.path.relpath(folder / "seen.bin"), "rb"),
    "bytes path": lambda folder: open(os.fsencode(folder / "seen.bin"), "rb"),
    "np.load": lambda folder: np.load(folder / "seen.npy"),
    "np.save": lambda folder: np.save(folder / "new.npy", np.zeros(3)),
    "np.memmap": lambda folder: np.memmap(folder / "seen.npy"),
    "fromfile": lambda folder: np.fromfile(folder / "seen.npy"),
    "socket": lambda folder: socket.socket(),
    "host name look-up": lambda folder: socket.getaddrinfo("localhost", 80),
    "subprocess": lambda folder: subprocess.Popen(["true"]),
    "os.system": lambda folder: os.system("true"),
    "exec": lambda folder: os.execv("/bin/true", ["true"]),
    "posix_spawn": lambda folder: os.posix_spawn("/bin/true", ["true"], {}),
    "fork": lambda folder: os.fork(),
    "shared memory": lambda folder: shared_memory.SharedMemory(create=True, size=16),
    "mmap of a descriptor": lambda folder: mmap.mmap(0, 16),
    "C library": lambda folder: ctypes.CDLL("libc.so.6"),
    "the process itself": lambda folder: ctypes.CDLL(None),
    "listdir": lambda folder: os.listdir(folder),
    "scandir": lambda folder: os.scandir(folder),
    "glob": lambda folder: glob.glob(f"{folder}/*"),
    "Path.glob": lambda folder: list(folder.glob("*")),
    "mkdir": lambda folder: (folder / "new").mkdir(),
    "rename": lambda folder: (folder / "seen.bin").rename(folder / "new"),
    "remove": lambda folder: (folder / "seen.bin").unlink(),
    "symlink": lambda folder: (folder / "new").symlink_to(folder / "seen.bin"),
    "touch": lambda folder: os.utime(folder / "seen.bin", (1, 2)),
    "chdir": lambda folder: os.chdir(folder),
    "truncate": lambda folder: os.truncate(folder / "seen.bin", 1),
    "copy": lambda folder: shutil.copy(folder / "seen.bin", folder / "new"),
    "temporary file": lambda folder: tempfile.NamedTemporaryFile(),
    "temporary folder": lambda folder: tempfile.mkdtemp(),
    "sqlite": lambda folder: sqlite3.connect(":memory:"),
    "data in a file named like a module": lambda folder: (folder / "module.py").read_bytes(),
    "a shared library, opened as a file": lambda folder: open(folder / "library.so", "rb"),
    "named semaphore": lambda folder: _multiprocessing.SemLock(1, 0, 1, "/codecbench-test", True),
    "named semaphore that exists": lambda folder: _multiprocessing.SemLock._rebuild(0, 1, 1, "/codecbench-test"),
    "semaphore of multiprocessing": lambda folder: multiprocessing.Semaphore(),
    "remove a semaphore": lambda folder: _multiprocessing.sem_unlink("/codecbench-test"),
    "remove shared memory": lambda folder: _posixshmem.shm_unlink("/codecbench-test"),
    "FIFO": lambda folder: os.mkfifo(folder / "new"),
    "node": lambda folder: os.mknod(folder / "new"),
    "the module behind os": lambda folder: posix.mkfifo(folder / "new"),
    "own limits": lambda folder: resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)),
    "limits of another process": lambda folder: resource.prlimit(os.getppid(), resource.RLIMIT_CORE),
    "signal to a group": lambda folder: os.killpg(os.getpgid(0), 0),
    "signal by descriptor": lambda folder: signal.pidfd_send_signal(0, 0),
    "process descriptor": lambda folder: os.pidfd_open(os.getppid()),
    "fork_exec": lambda folder: _posixsubprocess.fork_exec(),
    "priority": lambda folder: os.setpriority(os.PRIO_PROCESS, 0, 0),
    "nice": lambda folder: os.nice(0),
    "processors": lambda folder: os.sched_setaffinity(0, {0}),
    "scheduler": lambda folder: os.sched_setscheduler(0, 0, os.sched_param(0)),
    "process group": lambda folder: os.setpgid(0, 0),
    "session": lambda folder: os.setsid(),
    "memory file": lambda folder: os.memfd_create("x"),
    "page cache": lambda folder: os.posix_fadvise(0, 0, 0, os.POSIX_FADV_DONTNEED),
    "the clock": lambda folder: time.clock_settime(time.CLOCK_MONOTONIC, 0.0),
    "host name": lambda folder: socket.sethostname("x"),
    "extended attribute": lambda folder: os.setxattr(folder / "seen.bin", "user.x", b"x"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "seen.bin").write_bytes(b"secret")
    (tmp_path / "module.py").write_text("VALUE = 3\n")
    (tmp_path / "library.so").write_bytes(b"secret")
    np.save(tmp_path / "seen.npy", np.zeros(3))
    return tmp_path


@pytest.mark.parametrize("reach", REFUSED.values(), ids=list(REFUSED))
def test_refused(reach, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with sealed(), pytest.raises(GuardError):
        reach(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_text_names_event_and_path(folder):
    with sealed(), pytest.raises(GuardError, match=r"^open of '.*seen\.bin': a codec may reach nothing but"):
        (folder / "seen.bin").read_bytes()


def test_open_again_afterwards_even_after_an_error(folder):
    with pytest.raises(ZeroDivisionError), sealed():
        raise ZeroDivisionError
    assert (folder / "seen.bin").read_bytes() == b"secret"


def test_nests(folder):
    with sealed():
        with sealed():
            pass
        with pytest.raises(GuardError):
            (folder / "seen.bin").read_bytes()


def test_holds_on_other_threads(folder):
    caught: list[BaseException] = []

    def reach() -> None:
        try:
            (folder / "seen.bin").read_bytes()
        except GuardError as error:
            caught.append(error)

    with sealed():
        thread = threading.Thread(target=reach)
        thread.start()
        thread.join()
    assert len(caught) == 1


def test_imports_work_and_write_no_bytecode(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    before = sys.dont_write_bytecode
    with sealed():
        import module

        assert module.VALUE == 3
    assert not (folder / "__pycache__").exists()
    assert sys.dont_write_bytecode == before


def test_sources_and_stubs_of_libraries_may_be_read():
    with sealed():
        assert "class sealed" in inspect.getsource(sealed)
        Path(np.__file__).with_suffix(".pyi").read_text()


def test_outside_a_seal_the_wrapped_functions_work(folder):
    os.mkfifo(folder / "fifo")
    assert (folder / "fifo").is_fifo()
    semaphore = multiprocessing.get_context("fork").Semaphore(2)
    assert semaphore.get_value() == 2
    assert isinstance(_multiprocessing.SemLock.SEM_VALUE_MAX, int)


def test_for_good(folder):
    (line,) = run(FOR_GOOD, folder)
    assert line.startswith("GuardError open of")


def test_for_good_but_for_reading(folder):
    assert run(FOR_READING, folder)[0] == "secret"
    assert run(FOR_READING, folder)[1].startswith("GuardError open of")


def run(script: str, folder: Path) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


FOR_GOOD = """
import pathlib, sys
from codecbench.isolation.audit import sealed, seal_for_good
seal_for_good()
with sealed():
    pass
try:
    pathlib.Path(sys.argv[1], "seen.bin").read_text()
except PermissionError as error:
    print(type(error).__name__, error)
"""

FOR_READING = """
import pathlib, sys
from codecbench.isolation.audit import seal_for_good
seal_for_good(reads_free=True)
print(pathlib.Path(sys.argv[1], "seen.bin").read_text())
try:
    pathlib.Path(sys.argv[1], "new").write_text("x")
except PermissionError as error:
    print(type(error).__name__, error)
"""


def test_allowed():
    with sealed():
        Path("/dev/urandom").open("rb").close()
        Path(os.devnull).open("w").close()
        mmap.mmap(-1, 16).close()
        os.urandom(4)
        print("printing is no channel between the sides")


LATE_IMPORTS = """
import torch  # as in processes of codecs, since its CUDA builds look for libraries by starting a compiler
from codecbench.isolation.audit import sealed
with sealed():
    import io
    import numpy as np
    import PIL.Image
    import safetensors.torch
    import scipy.fft
    from skimage.transform import resize
    resize(np.zeros((8, 8)), (4, 4), anti_aliasing=True)
    torch.nn.Conv2d(1, 2, 3)(torch.zeros(1, 1, 8, 8))
    stream = io.BytesIO()
    PIL.Image.fromarray(np.zeros((8, 8), np.uint8)).save(stream, "JPEG")
    PIL.Image.open(io.BytesIO(stream.getvalue())).load()
"""


def test_libraries_may_be_imported_late():
    done = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", LATE_IMPORTS],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_pytests_own_import_of_a_module_is_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """It rewrites the assertions of packages with a pytest plugin, this one among them, and so reads their source."""
    name = "codecbench.toolbox.coding.zstandard"
    package = importlib.import_module("codecbench.toolbox.coding")
    before = importlib.import_module(name)
    monkeypatch.setattr(package, "zstandard", before)
    monkeypatch.delitem(sys.modules, name)
    with sealed():
        assert importlib.import_module(name) is not before
        with pytest.raises(GuardError):
            Path(before.__file__ or "").read_bytes()
