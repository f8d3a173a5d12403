"""Ways out of a codec's process, and things that honest codecs do, each tried in a process of its own that is sealed.

`python seal_attempts.py PLAN FOLDER` prints a JSON object: for each mode and attempt "done", or the name of an errno.
PLAN is a JSON object: for each mode the names of the groups of attempts to try in it.
"""

# Each way is written as a codec might write it.
# ruff: noqa: PTH208, SIM115

from __future__ import annotations

import ctypes
import errno
import fcntl
import importlib
import importlib.metadata
import importlib.util
import inspect
import io
import json
import mmap
import os
import platform
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from codecbench.isolation import seal
from codecbench.isolation.audit import GuardError
from codecbench.isolation.landlock import Ruleset

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
PARENT = os.getpid()
"""The process of the attempts to reach another one."""
FOLDER = Path(sys.argv[2] if len(sys.argv) > 2 else "/nonexistent")
READABLE = FOLDER / "plugin.py"
"""A file that a codec may read."""
NUMBERS = {
    "add_key": (248, 217), "bpf": (321, 280), "cachestat": (451, 451), "clone": (56, 220), "fanotify_init": (300, 262),
    "getpriority": (140, 141), "io_uring_setup": (425, 425), "ioprio_set": (251, 30), "kcmp": (312, 272),
    "keyctl": (250, 219), "memfd_secret": (447, 447), "mq_unlink": (241, 181), "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438), "pidfd_open": (434, 434), "preadv2": (327, 286), "process_madvise": (440, 440),
    "ptrace": (101, 117), "rt_sigqueueinfo": (129, 138), "sched_setattr": (314, 274), "seccomp": (317, 277),
    "tgkill": (234, 131), "userfaultfd": (323, 282),
}  # fmt: skip
COLUMN = ("x86_64", "aarch64").index(platform.machine()) if platform.machine() in ("x86_64", "aarch64") else 0

Attempt = Callable[[], Any]


# --- native calls -----------------------------------------------------------------------------------------------------


def libc(name: str, *args: Any, failed: int = -1) -> int:
    """Call a function of the C library. Raises OSError."""
    ctypes.set_errno(0)
    result = getattr(LIBC, name)(*(os.fsencode(a) if isinstance(a, Path) else a for a in args))
    if result == failed:
        raise OSError(ctypes.get_errno(), name)
    return int(result)


def system_call(name: str, *args: Any) -> int:
    return libc("syscall", ctypes.c_long(NUMBERS[name][COLUMN]), *args)


def new_process(call: Attempt) -> None:
    child = call()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def with_readable(call: Callable[[int], Any]) -> Attempt:
    return lambda: call(libc("open", READABLE, os.O_RDONLY))


def kernel_object(make: str, control: str, *args: int) -> Attempt:
    """Make a System V object and remove it again."""
    return lambda: libc(control, libc(make, *args), 0, *([0] if control == "semctl" else []), None)


def named(make: Attempt, unlink: str) -> Attempt:
    def attempt() -> None:
        make()
        libc(unlink, b"/codecbench-test")

    return attempt


def limits() -> Any:
    return struct.pack("QQ", *(v % 2**64 for v in resource.getrlimit(resource.RLIMIT_CORE)))


def processors() -> bytes:
    return bytes([255] * 128)


def address(path: str) -> bytes:
    return struct.pack("H", socket.AF_UNIX) + os.fsencode(path) + b"\0"


PAGE = mmap.mmap(-1, 4096)
PAGE_ADDRESS = ctypes.addressof(ctypes.c_char.from_buffer(PAGE))
DATAGRAMS = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
RECEIVER = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
STRINGS = (ctypes.c_char_p * 2)(b"true", None)
TRUE = os.fsencode(shutil.which("true") or "/bin/true")
RECEIVER_PATH = f"\0codecbench-test-{PARENT}"
LOCK = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
READ_LOCK = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)

NATIVE: dict[str, Attempt] = {
    "open a data file": lambda: libc("open", FOLDER / "seen.bin", os.O_RDONLY),
    "open a data file in a plugin's folder": lambda: libc(
        "open", FOLDER / "above" / "package" / "labels.csv", os.O_RDONLY
    ),
    "open a data file in a folder on the import path": lambda: libc("open", FOLDER / "path" / "x.npy", os.O_RDONLY),
    "open a record": lambda: libc("open", FOLDER / "results" / "cell.json", os.O_RDONLY),
    "openat": lambda: libc("openat", -100, FOLDER / "seen.bin", os.O_RDONLY),
    "open a process's status": lambda: libc("open", f"/proc/{PARENT}/status".encode(), os.O_RDONLY),
    "open its own status": lambda: libc("open", b"/proc/self/status", os.O_RDONLY),
    "list a folder": lambda: libc("open", FOLDER, os.O_RDONLY | os.O_DIRECTORY),
    "list a folder on the import path": lambda: libc("open", FOLDER / "path", os.O_RDONLY | os.O_DIRECTORY),
    "creat": lambda: libc("creat", FOLDER / "new", 0o600),
    "write to a readable file": lambda: libc("open", READABLE, os.O_RDWR),
    "empty a readable file": lambda: libc("open", FOLDER / "emptied.py", os.O_RDONLY | os.O_TRUNC),
    "O_TMPFILE": lambda: libc("open", FOLDER, os.O_TMPFILE | os.O_RDWR, 0o600),
    "mkfifo": lambda: libc("mkfifo", FOLDER / "fifo", 0o600),
    "mknod": lambda: libc("mknod", FOLDER / "node", 0o100600, ctypes.c_ulong(0)),
    "mkdir": lambda: libc("mkdir", FOLDER / "folder", 0o700),
    "link": lambda: libc("link", FOLDER / "seen.bin", FOLDER / "linked"),
    "symlink": lambda: libc("symlink", FOLDER / "seen.bin", FOLDER / "symlinked"),
    "rename": lambda: libc("rename", FOLDER / "old", FOLDER / "renamed"),
    "unlink": lambda: libc("unlink", FOLDER / "removed"),
    "truncate": lambda: libc("truncate", FOLDER / "old2", ctypes.c_long(0)),
    "chmod": lambda: libc("chmod", READABLE, 0o644),
    "chown": lambda: libc("chown", READABLE, os.getuid(), os.getgid()),
    "utimensat": lambda: libc("utimensat", -100, READABLE, None, 0),
    "setxattr": lambda: libc("setxattr", READABLE, b"user.x", b"x", ctypes.c_size_t(1), 0),
    "getxattr": lambda: libc("getxattr", FOLDER / "marked", b"user.x", None, ctypes.c_size_t(0)),
    "shm_open": named(lambda: libc("shm_open", b"/codecbench-test", os.O_CREAT | os.O_RDWR, 0o600), "shm_unlink"),
    "sem_open": named(
        lambda: libc("sem_open", b"/codecbench-test", os.O_CREAT, 0o600, ctypes.c_uint(1), failed=0), "sem_unlink"
    ),
    "mq_open": named(lambda: libc("mq_open", b"/codecbench-test", os.O_CREAT | os.O_RDWR, 0o600, None), "mq_unlink"),
    "shmget": kernel_object("shmget", "shmctl", 0, 4096, 0o1600),
    "semget": kernel_object("semget", "semctl", 0, 1, 0o1600),
    "msgget": kernel_object("msgget", "msgctl", 0, 0o1600),
    "socket: internet": lambda: libc("socket", socket.AF_INET, socket.SOCK_DGRAM, 0),
    "socket: UNIX": lambda: libc("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0),
    "socketpair": lambda: libc("socketpair", socket.AF_UNIX, socket.SOCK_STREAM, 0, (ctypes.c_int * 2)()),
    "bind": lambda: libc("bind", DATAGRAMS.fileno(), address(str(FOLDER / "bound")), 2 + len(str(FOLDER / "bound"))),
    "connect": lambda: libc("connect", DATAGRAMS.fileno(), address(RECEIVER_PATH), 2 + len(RECEIVER_PATH)),
    "sendto": lambda: libc(
        "sendto", DATAGRAMS.fileno(), b"x", ctypes.c_size_t(1), 0, address(RECEIVER_PATH), 2 + len(RECEIVER_PATH)
    ),
    "flock": with_readable(lambda fd: libc("flock", fd, fcntl.LOCK_EX)),
    "lock of a range": with_readable(lambda fd: libc("fcntl", fd, fcntl.F_SETLK, READ_LOCK)),
    "lease": with_readable(lambda fd: libc("fcntl", fd, 1024, fcntl.F_RDLCK)),
    "look at a lock": with_readable(lambda fd: libc("fcntl", fd, fcntl.F_GETLK, LOCK)),
    "flags of a shared descriptor": lambda: libc("fcntl", 1, fcntl.F_SETFL, os.O_APPEND),
    "posix_fadvise": with_readable(lambda fd: raise_errno(libc("posix_fadvise", fd, 0, 0, 4))),
    "read only what is cached": with_readable(
        lambda fd: system_call("preadv2", fd, iovec(), 1, ctypes.c_long(0), ctypes.c_long(0), 8)
    ),
    "mincore": lambda: libc("mincore", ctypes.c_void_p(PAGE_ADDRESS), ctypes.c_size_t(4096), ctypes.c_char_p(b" ")),
    "MADV_PAGEOUT": lambda: libc("madvise", ctypes.c_void_p(PAGE_ADDRESS), ctypes.c_size_t(4096), 21),
    "memfd_create": lambda: libc("memfd_create", b"x", 0),
    "kill": lambda: libc("kill", PARENT, 0),
    "killpg": lambda: libc("killpg", os.getpgid(PARENT), 0),
    "tgkill": lambda: system_call("tgkill", PARENT, PARENT, 0),
    "sigqueue": lambda: libc("sigqueue", PARENT, 0, ctypes.c_void_p(0)),
    "pidfd_open": lambda: system_call("pidfd_open", PARENT, 0),
    "ptrace": lambda: system_call("ptrace", ctypes.c_long(0), 0, None, None),
    "process_vm_readv": lambda: libc("process_vm_readv", PARENT, iovec(), 1, iovec(), 1, 0),
    "kcmp": lambda: system_call("kcmp", PARENT, PARENT, 1, 0, 0),
    "prlimit of itself": lambda: libc("prlimit", 0, resource.RLIMIT_CORE, limits(), None),
    "prlimit of another": lambda: libc("prlimit", PARENT, resource.RLIMIT_CORE, None, bytes(16)),
    "setpriority of another": lambda: libc("setpriority", 0, PARENT, 0),
    "getpriority of another": lambda: system_call("getpriority", 0, PARENT),
    "sched_setaffinity of another": lambda: libc("sched_setaffinity", PARENT, ctypes.c_size_t(128), processors()),
    "sched_setscheduler": lambda: libc("sched_setscheduler", PARENT, 0, bytes(4)),
    "ioprio_set": lambda: system_call("ioprio_set", 1, PARENT, 0),
    "setpgid": lambda: libc("setpgid", 0, 0),
    "setsid": lambda: libc("setsid"),
    "fork": lambda: new_process(lambda: libc("fork")),
    "clone without CLONE_THREAD": lambda: new_process(
        lambda: system_call("clone", ctypes.c_ulong(signal.SIGCHLD), None, None, None, None)
    ),
    "execve": lambda: libc("execve", TRUE, STRINGS, STRINGS),
    "unshare": lambda: libc("unshare", 0x10000000),
    "inotify_init": lambda: libc("inotify_init1", 0),
    "fanotify_init": lambda: system_call("fanotify_init", 0, 0),
    "userfaultfd": lambda: system_call("userfaultfd", 1),
    "io_uring_setup": lambda: system_call("io_uring_setup", 1, bytes(120)),
    "bpf": lambda: system_call("bpf", 0, struct.pack("IIII", 2, 4, 4, 1) + bytes(112), 128),
    "perf_event_open": lambda: system_call("perf_event_open", struct.pack("II", 1, 64) + bytes(56), 0, -1, -1, 0),
    "keyctl": lambda: system_call("keyctl", 0, -4, 1),
    "add_key": lambda: system_call("add_key", b"user", b"codecbench", b"x", ctypes.c_size_t(1), -2),
    "personality": lambda: libc("personality", ctypes.c_ulong(0xFFFFFFFF)),
    "statfs": lambda: libc("statfs", FOLDER, bytes(256)),
    "prctl(PR_SET_DUMPABLE)": lambda: libc("prctl", 4, ctypes.c_ulong(1), 0, 0, 0),
}
"""Calls of the C library or of the kernel, past Python's functions."""


def raise_errno(code: int) -> None:
    if code:
        raise OSError(code, os.strerror(code))


def iovec() -> bytes:
    return struct.pack("QQ", PAGE_ADDRESS, 8)


# --- libraries --------------------------------------------------------------------------------------------------------


def pyarrow_map() -> None:
    import pyarrow

    pyarrow.memory_map(str(FOLDER / "seen.bin"))


def pyarrow_csv() -> None:
    import pyarrow.csv

    pyarrow.csv.read_csv(FOLDER / "seen.csv")


def safetensors_load() -> None:
    import safetensors.torch

    try:
        safetensors.torch.load_file(FOLDER / "seen.safetensors")
    except FileNotFoundError as error:  # the library says so of every file that it cannot open
        raise PermissionError(errno.EACCES, str(error)) from error


LIBRARIES: dict[str, Attempt] = {
    "torch.from_file": lambda: torch.from_file(str(FOLDER / "seen.bin"), size=1),
    "torch.save to a path": lambda: torch.save({}, FOLDER / "new.pt"),
    "pyarrow.memory_map": pyarrow_map,
    "pyarrow.csv": pyarrow_csv,
    "safetensors.torch.load_file": safetensors_load,
}
"""Native code of libraries that opens files by itself."""


# --- Python's own functions -------------------------------------------------------------------------------------------


def semaphore() -> None:
    import _multiprocessing

    _multiprocessing.SemLock(1, 0, 1, "/codecbench-test", True)


def fork_exec() -> None:
    import _posixsubprocess

    null, ends = -1, os.pipe()
    _posixsubprocess.fork_exec(
        [b"true"], [TRUE], True, (max(ends),), None, None, *[null] * 6, ends[0], ends[1], False, False, null, None,
        None, None, null, None, True,
    )  # fmt: skip


PYTHON: dict[str, Attempt] = {
    "open()": lambda: (FOLDER / "seen.bin").read_bytes(),
    "open() of a data file named like a module": lambda: (FOLDER / "data.py").read_bytes(),
    "os.open()": lambda: os.open(FOLDER / "seen.bin", os.O_RDONLY),
    "numpy.memmap": lambda: np.memmap(FOLDER / "seen.bin"),
    "open() to write": lambda: (FOLDER / "new").write_bytes(b"x"),
    "os.listdir()": lambda: os.listdir(FOLDER),
    "os.mkfifo()": lambda: os.mkfifo(FOLDER / "fifo2"),
    "os.mknod()": lambda: os.mknod(FOLDER / "node2"),
    "os.memfd_create()": lambda: os.memfd_create("x"),
    "SharedMemory": lambda: shared_memory.SharedMemory(create=True, size=16).unlink(),
    "_multiprocessing.SemLock": semaphore,
    "socket.socket()": lambda: socket.socket(),
    "os.fork()": lambda: new_process(os.fork),
    "subprocess": lambda: subprocess.run([TRUE]),
    "fork_exec()": fork_exec,
    "fcntl.flock()": lambda: fcntl.flock(0, fcntl.LOCK_SH),
    "os.kill()": lambda: os.kill(PARENT, 0),
    "os.killpg()": lambda: os.killpg(os.getpgid(PARENT), 0),
    "os.pidfd_open()": lambda: os.pidfd_open(PARENT),
    "resource.setrlimit()": lambda: resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)),
    "os.setpriority()": lambda: os.setpriority(os.PRIO_PROCESS, PARENT, 0),
    "os.nice()": lambda: os.nice(0),
    "os.sched_setaffinity()": lambda: os.sched_setaffinity(PARENT, os.sched_getaffinity(0)),
    "os.setpgid()": lambda: os.setpgid(0, 0),
    "os.utime()": lambda: os.utime(READABLE),
    "os.setxattr()": lambda: os.setxattr(READABLE, "user.x", b"x"),
    "time.clock_settime()": lambda: time.clock_settime(time.CLOCK_MONOTONIC, 0.0),
}
"""Ways out that Python's library offers. All are seen by the audit hook."""


# --- what honest codecs do --------------------------------------------------------------------------------------------


def convolve(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.nn.Conv2d(8, 16, 3)(torch.zeros(4, 8, 64, 64))


def train() -> None:
    layer = torch.nn.Linear(3, 3)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(2, 3)).sum().backward()
    optimizer.step()


def thread() -> None:
    found: list[int] = []
    started = threading.Thread(target=found.append, args=(1,))
    started.start()
    started.join()
    assert found == [1]


def pool() -> None:
    with ThreadPoolExecutor(4) as executor:
        assert len(set(executor.map(zlib.compress, [b"x" * 100_000] * 8))) == 1


def pictures() -> None:
    import PIL.Image

    for name in ("JPEG", "PNG", "WEBP"):
        stream = io.BytesIO()
        PIL.Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, name)
        PIL.Image.open(io.BytesIO(stream.getvalue())).load()


def arrow() -> None:
    import pyarrow
    import pyarrow.compute

    assert pyarrow.compute.sum(pyarrow.array(range(10))).as_py() == 45


def scientific() -> None:
    import constriction
    import pywt
    import scipy.fft
    import scipy.signal
    import sklearn.decomposition
    from skimage.transform import resize

    resize(np.zeros((8, 8)), (4, 4), anti_aliasing=True)
    scipy.fft.dctn(np.zeros((8, 8)))
    scipy.signal.convolve(np.zeros(8), np.zeros(3))
    sklearn.decomposition.PCA(1).fit(np.eye(3))
    pywt.dwt2(np.zeros((8, 8)), "db2")
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(np.zeros(3, np.int32), constriction.stream.model.Uniform(4))


def imported(name: str) -> Attempt:
    def attempt() -> None:
        assert importlib.import_module(name).VALUE == 3

    return attempt


def plugin_file() -> None:
    spec = importlib.util.spec_from_file_location("plugin", READABLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.VALUE == 3


HONEST: dict[str, Attempt] = {
    "a convolution on one thread": lambda: convolve(1),
    "a convolution on two threads": lambda: convolve(2),
    "a step of torch.optim.Adam": train,
    "torch.fx": lambda: torch.fx.symbolic_trace(torch.nn.Linear(2, 2)),
    "torch.jit.script": lambda: torch.jit.script(torch.nn.Linear(2, 2)),
    "a thread": thread,
    "a pool of threads": pool,
    "numpy.linalg": lambda: np.linalg.svd(np.ones((100, 100))),
    "zlib": lambda: zlib.decompress(zlib.compress(bytes(1000))),
    "a late import of Pillow": pictures,
    "a late import of pyarrow": arrow,
    "a late import of scipy and others": scientific,
    "a late import from an installed plugin": lambda: importlib.import_module("codecbench_plugins.quant_rans"),
    "a late import of a submodule of a plugin package": imported("package.inner.module"),
    "a late import from a folder on the import path": imported("beside"),
    "a late import of a package on the import path": imported("library.part"),
    "a plugin file": plugin_file,
    "the source of a class": lambda: inspect.getsource(torch.nn.Linear),
    "metadata of a distribution": lambda: importlib.metadata.version("numpy"),
    "printing": lambda: print("printed", file=sys.stderr, flush=True),
    "random bytes": lambda: Path("/dev/urandom").open("rb").read(4),
    "/dev/null": lambda: Path(os.devnull).write_text("x"),
    "its processors": lambda: (os.cpu_count(), os.sched_getaffinity(0), Path("/proc/cpuinfo").read_text()),
    "its own limits": lambda: resource.getrlimit(resource.RLIMIT_AS),
    "sleep": lambda: time.sleep(0.001),
    "an event between threads": lambda: threading.Event().wait(0.001),
    "a pipe within the process": lambda: os.write(os.pipe()[1], b"x"),
    "the end of a process": lambda: sys.exit(0),
}


# --- running them -----------------------------------------------------------------------------------------------------


def no_filter(*_args: Any, **_kwargs: Any) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def no_hook(*_args: Any, **_kwargs: Any) -> None:
    return None


def close(mode: str, rules: Mapping[str, Ruleset | None]) -> None:
    """Seal this process in one of the ways that tests look at."""
    if mode not in ("kernel", "audit"):
        seal.seal_for_good = no_hook
    if mode in ("audit", "landlock"):
        seal.close_calls = no_filter
    if mode == "writes":
        seal.close_writes()
    elif mode != "control":
        seal.close_process(rules["abi1" if mode == "abi1" else "all"] if mode not in ("audit", "seccomp") else None)


def outcome(mode: str, rules: Mapping[str, Ruleset | None], attempt: Attempt) -> str:
    """Return "done", the name of the errno, or the error."""
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            close(mode, rules)
            attempt()
            text = "done"
        except SystemExit:
            text = "done"
        except OSError as error:
            text = "GuardError" if isinstance(error, GuardError) else errno.errorcode.get(error.errno or 0, repr(error))
        except Exception as error:
            refused = any(word in str(error) for word in ("Permission denied", "not permitted", "not allowed"))
            text = "EACCES" if refused else repr(error)
        os.write(sink, text.encode()[:4000])
        os._exit(0)
    os.close(sink)
    with os.fdopen(source) as stream:
        text = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return text or ("done" if status == 0 else f"ended with {status}")


GROUPS = {"native": NATIVE, "libraries": LIBRARIES, "python": PYTHON, "honest": HONEST}
DATA = (
    "seen.bin", "seen.csv", "data.py", "old", "old2", "removed", "marked", "results/cell.json", "path/x.npy",
    "above/package/labels.csv",
)  # fmt: skip
SOURCES = (
    "plugin.py", "emptied.py", "above/package/__init__.py", "above/package/inner/__init__.py",
    "above/package/inner/module.py", "path/beside.py", "path/library/__init__.py", "path/library/part.py",
)  # fmt: skip
MADE = (
    "new", "fifo", "fifo2", "node", "node2", "linked", "symlinked", "renamed", "bound", "new.pt"
)  # fmt: skip


def prepare() -> None:
    """Make files to be read and others not to be read, and remove what attempts have made."""
    for names, text in ((DATA, "1,2\n3,4\n"), (SOURCES, "VALUE = 3\n")):
        for name in names:
            (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
            (FOLDER / name).write_text(text)
    for name in MADE:
        (FOLDER / name).unlink(missing_ok=True)
    if (FOLDER / "folder").exists():
        (FOLDER / "folder").rmdir()
    safetensors.torch.save_file({"x": torch.zeros(2)}, FOLDER / "seen.safetensors")
    with suppress(OSError):  # not every file system has such attributes
        os.setxattr(FOLDER / "marked", "user.x", b"x")


def main() -> None:
    """Try the groups of each mode."""
    plan = json.loads(sys.argv[1])
    RECEIVER.bind(RECEIVER_PATH)
    sys.path += [str(FOLDER / "path"), str(FOLDER / "above")]
    prepare()
    places = [READABLE, FOLDER / "emptied.py", FOLDER / "above" / "package"]
    rules = {"all": seal.readable_files(places)}
    if "abi1" in plan:
        newest, seal.Ruleset = seal.Ruleset, partial(Ruleset, abi=1)
        rules["abi1"] = seal.readable_files(places)
        seal.Ruleset = newest
    found = {}
    for mode, groups in plan.items():
        prepare()
        attempts = {name: attempt for group in groups for name, attempt in GROUPS[group].items()}
        found[mode] = {name: outcome(mode, rules, attempt) for name, attempt in attempts.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
