"""The seal around a codec's own code: while closed, Python code reaches no file, socket, process or shared memory.

Only what `encode` returns may cross from device to edge, so `encode`, `decode`, `fit` and the restoring of a state run
inside `sealed()`. It works by an audit hook (PEP 578). Such a hook sees what Python's own library does; it does not see
what native code does by itself, and it is no defence against a codec that sets out to take it apart.
docs/reference/kit.md says what that leaves open.
"""

# The hook sees texts, bytes and descriptors within every open(), and builds no Path objects.
# ruff: noqa: PTH100, PTH117, PTH120
from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final

Judge = Callable[[tuple[Any, ...]], str | None]
"""Arguments of an audit event to what was reached for, or None where it is allowed."""

CODE_SUFFIXES: Final = (".py", ".pyc", ".pyi", ".so", ".pyd", ".dylib")
"""Endings of the files that an import reads; modules that a codec imports late must still load."""
METADATA_SUFFIXES: Final = (".dist-info", ".egg-info")
"""Endings of the folders in which packages describe themselves; some libraries look there when first imported."""
SYSTEM_FILES: Final = frozenset(
    {
        "/dev/null",
        "/dev/random",
        "/dev/urandom",
        "/proc/cpuinfo",
        "/proc/meminfo",
        "/proc/self/statm",
        "/proc/self/status",
    }
)
"""Devices and facts about the machine: they carry no sample."""
WRITABLE_FILES: Final = frozenset({"/dev/null"})

REFUSED_FAMILIES: Final = frozenset(
    {
        "_winapi", "ensurepip", "fcntl", "ftplib", "http", "imaplib", "msvcrt", "nntplib", "poplib", "pty", "shutil",
        "smtplib", "socket", "sqlite3", "subprocess", "syslog", "telnetlib", "tempfile", "urllib", "webbrowser",
        "winreg",
    }
)  # fmt: skip
"""Audit events refused by what stands before their first dot: `socket.connect`, `tempfile.mkstemp`, ..."""
REFUSED_EVENTS: Final = frozenset(
    {
        "builtins.input", "os.chdir", "os.chflags", "os.chmod", "os.chown", "os.exec", "os.fork", "os.forkpty",
        "os.getxattr", "os.kill", "os.link", "os.listxattr", "os.lockf", "os.mkdir", "os.posix_spawn", "os.remove",
        "os.removexattr", "os.rename", "os.rmdir", "os.setxattr", "os.spawn", "os.startfile", "os.symlink", "os.system",
        "os.truncate", "os.utime",
    }
)  # fmt: skip
"""Audit events refused whatever their arguments."""


class GuardError(PermissionError):
    """Sealed code reached for something outside. The text names the audit event and what was reached for."""


class sealed:  # noqa: N801  (used like a function: `with sealed():`)
    """Context in which GuardError is raised where Python code opens, writes, connects, starts or shares anything.

    The seal holds for the whole process, on every thread, and nests. Allowed are what imports need (reading source,
    bytecode, extension modules and package metadata, listing folders on the import path) and a few read-only facts
    about the machine. No bytecode is written while it is closed.
    """

    def __enter__(self) -> None:
        with _lock:
            if not _state.installed:
                _install()
            if _state.depth == 0:
                _state.wrote_bytecode = not sys.dont_write_bytecode
                sys.dont_write_bytecode = True
            _state.depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _lock:
            _state.depth -= 1
            if _state.depth == 0:
                sys.dont_write_bytecode = not _state.wrote_bytecode


class _State:
    depth = 0
    installed = False
    wrote_bytecode = True


_state = _State()
_lock = threading.Lock()


def _install() -> None:
    """Add the hook; a process can never remove it again, so it looks at the depth first."""
    import ctypes  # noqa: F401  (its import opens the process itself, which the hook would refuse)

    _close_posix_shared_memory()
    sys.addaudithook(_hook)
    _state.installed = True


def _close_posix_shared_memory() -> None:
    """Put a check before `shm_open`, which raises no audit event."""
    try:
        import _posixshmem  # type: ignore[import-not-found, unused-ignore]
    except ImportError:  # not a POSIX system; named mappings are refused as mmap.__new__
        return
    unchecked = _posixshmem.shm_open

    def shm_open(*args: Any, **kwargs: Any) -> Any:
        if _state.depth:
            _refuse("shm_open", repr(args[0]) if args else "shared memory")
        return unchecked(*args, **kwargs)

    _posixshmem.shm_open = shm_open


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _state.depth:
        return
    judge = _JUDGES.get(event)
    if judge is not None:
        reached_for = judge(args)
        if reached_for is not None:
            _refuse(event, reached_for)
    elif event in REFUSED_EVENTS or event.partition(".")[0] in REFUSED_FAMILIES:
        _refuse(event, ", ".join(repr(a) for a in args)[:200])


def _refuse(event: str, reached_for: str) -> None:
    raise GuardError(
        f"{event} {reached_for}: a codec may reach nothing but its arguments and its restored state; "
        "put what a side needs into export()"
    )


def _judge_open(args: tuple[Any, ...]) -> str | None:
    path, mode, flags = args
    if isinstance(path, int):
        return f"of file descriptor {path}"
    text = _absolute(path)
    if _writes(mode, flags):
        return None if text in WRITABLE_FILES else f"of {text!r} for writing"
    allowed = text in SYSTEM_FILES or text.endswith(CODE_SUFFIXES) or _is_metadata(text) or text in _import_roots()
    return None if allowed else f"of {text!r}"


def _writes(mode: str | None, flags: int | None) -> bool:
    if mode is not None and set(mode) & set("wax+"):
        return True
    return bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))


def _judge_listing(args: tuple[Any, ...]) -> str | None:
    path = args[0]
    if isinstance(path, int):
        return f"of file descriptor {path}"
    text = _absolute("." if path is None else path)
    return None if _is_below_import_root(text) or _called_by_import() else f"of {text!r}"


def _called_by_import() -> bool:
    """True where the import system itself asks: a package installed for editing lies below no import root."""
    return sys._getframe(3).f_code.co_filename.startswith("<frozen importlib")


def _judge_dlopen(args: tuple[Any, ...]) -> str | None:
    # A library that a package brought along may be loaded late; the C library, by which anything is reached, may not.
    name = args[0]
    if isinstance(name, str | bytes) and os.path.isabs(name) and _is_below_import_root(_absolute(name)):
        return None
    return f"of {name!r}"


def _judge_mmap(args: tuple[Any, ...]) -> str | None:
    # An anonymous mapping is memory like any other; one of a file or of shared memory is not.
    return None if args[0] == -1 else f"of file descriptor {args[0]}"


def _absolute(path: Any) -> str:
    return os.path.abspath(os.fsdecode(path))


def _is_metadata(path: str) -> bool:
    folder = os.path.dirname(path)
    return folder.endswith(METADATA_SUFFIXES) and _is_below_import_root(folder)


def _import_roots() -> set[str]:
    """Folders and archives from which modules may be imported at this moment."""
    return {os.path.abspath(entry) for entry in (sys.prefix, sys.base_prefix, *sys.path)}


def _is_below_import_root(path: str) -> bool:
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in _import_roots())


_JUDGES: Final[Mapping[str, Judge]] = {
    "open": _judge_open,
    "os.listdir": _judge_listing,
    "os.scandir": _judge_listing,
    "os.walk": _judge_listing,
    "os.fwalk": _judge_listing,
    "glob.glob": _judge_listing,
    "glob.glob/2": _judge_listing,
    "pathlib.Path.glob": _judge_listing,
    "pathlib.Path.rglob": _judge_listing,
    "ctypes.dlopen": _judge_dlopen,
    "mmap.__new__": _judge_mmap,
}
