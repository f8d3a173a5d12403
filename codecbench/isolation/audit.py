"""The seal around a codec's code: inside it, Python code cannot use files, sockets, processes or shared memory.

Only the bytes that `encode` returns may get from device to edge, so a codec's code runs inside `sealed()`, or in a
process that `seal_for_good` has sealed. It is an audit hook (PEP 578). Such a hook sees the calls of Python's own
library. It does not see what native code does by itself, and it does not stop a codec that attacks the hook: that is
what the kernel's seal beside it is for (`seal.py`). docs/reference/kit.md states these limits.
"""

# The hook runs within every open(), on texts, bytes and descriptors, so it builds no Path objects.
# ruff: noqa: PTH100, PTH117, PTH120
from __future__ import annotations

import linecache
import os
import pathlib
import sys
import threading
import tokenize
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final

from codecbench.isolation.file_kinds import LIBRARY_SUFFIXES, METADATA_FOLDERS, MODULE_SUFFIXES, STUB_SUFFIX, TIME_ZONES
from codecbench.isolation.silent_calls import wrap_silent_calls
from codecbench.system.helper_modules import added_folders

Rule = Callable[[tuple[Any, ...]], str | None]
"""Maps the arguments of an audit event to a description of the refused object, or to None if it is allowed."""

SOURCE_READERS: Final = (linecache.__file__, tokenize.__file__)
"""Python's own modules that read source texts, for tracebacks, dataclasses, torch.fx and others."""
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
"""Devices and facts about the machine, which contain no sample."""
WRITABLE_FILES: Final = frozenset({"/dev/null"})

REFUSED_FAMILIES: Final = frozenset(
    {
        "_winapi", "ensurepip", "fcntl", "ftplib", "http", "imaplib", "msvcrt", "nntplib", "poplib", "pty", "resource",
        "shutil", "smtplib", "socket", "sqlite3", "subprocess", "syslog", "telnetlib", "tempfile", "urllib",
        "webbrowser", "winreg",
    }
)  # fmt: skip
"""Audit events refused by the part before the first dot: `socket.connect`, `tempfile.mkstemp`, ..."""
REFUSED_EVENTS: Final = frozenset(
    {
        "builtins.input", "os.chdir", "os.chflags", "os.chmod", "os.chown", "os.exec", "os.fork", "os.forkpty",
        "os.getxattr", "os.kill", "os.killpg", "os.link", "os.listxattr", "os.lockf", "os.mkdir", "os.posix_spawn",
        "os.remove", "os.removexattr", "os.rename", "os.rmdir", "os.setxattr", "os.spawn", "os.startfile", "os.symlink",
        "os.system", "os.truncate", "os.utime",
    }
)  # fmt: skip
"""Audit events refused with any arguments."""


class GuardError(PermissionError):
    """Sealed code tried to use something outside. The text names the audit event and its object."""


class sealed:  # noqa: N801  (used like a function: `with sealed():`)
    """Context manager: inside it, code that opens files, connects, starts processes or shares memory gets GuardError.

    The seal holds for all threads of the process. Seals may be nested. Allowed are the reads of imports (source,
    bytecode, extension modules, package metadata, folders on the import path) and a few read-only facts about the
    machine (SYSTEM_FILES). No bytecode is written inside.
    """

    def __enter__(self) -> None:
        _enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _lock:
            _state.depth -= 1
            if _state.depth == 0:
                sys.dont_write_bytecode = not _state.wrote_bytecode


def prepare() -> None:
    """Install the hook, which refuses nothing yet. It needs files, so a seal by the kernel comes afterwards."""
    with _lock:
        if not _state.installed:
            _install()


def seal_for_good(*, reads_free: bool = False) -> None:
    """Close the seal of this process and never open it.

    With `reads_free`, reading files, listing folders and loading libraries are free.
    """
    _enter()
    _state.reads_free = reads_free


@contextmanager
def reading() -> Iterator[None]:
    """Let the harness's own code read and list files within a with block; the kernel's rules hold on."""
    before, _state.reads_free = _state.reads_free, True
    try:
        yield
    finally:
        _state.reads_free = before


class _State:
    depth = 0
    installed = False
    reads_free = False
    wrote_bytecode = True
    importers: frozenset[str] = frozenset()
    """Files of finders of modules beside Python's own, such as pytest's: those there when the hook was installed."""


def _enter() -> None:
    prepare()
    with _lock:
        if _state.depth == 0:
            _state.wrote_bytecode = not sys.dont_write_bytecode
            sys.dont_write_bytecode = True
        _state.depth += 1


_state = _State()
_lock = threading.Lock()


def _install() -> None:
    """Add the audit hook. It cannot be removed again, so it does nothing at depth 0."""
    import ctypes  # noqa: F401  (its import opens the running program as a library, which the hook would refuse)
    import tempfile

    # Kept from now on. torch.optim, among others, asks where temporary files go, and trying a folder is refused.
    tempfile.gettempdir()
    wrap_silent_calls(_refuse_if_sealed)
    modules = (sys.modules.get(type(finder).__module__) for finder in sys.meta_path)
    files = (getattr(module, "__file__", None) for module in modules)
    _state.importers = frozenset(file for file in files if file)
    sys.addaudithook(_hook)
    _state.installed = True


def _refuse_if_sealed(event: str, refused: str) -> None:
    if _state.depth:
        _refuse(event, refused)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _state.depth:
        return
    rule = _RULES.get(event)
    if rule is not None:
        refused = rule(args)
        if refused is not None:
            _refuse(event, refused)
    elif event in REFUSED_EVENTS or event.partition(".")[0] in REFUSED_FAMILIES:
        _refuse(event, ", ".join(repr(a) for a in args)[:200])


def _refuse(event: str, refused: str) -> None:
    raise GuardError(
        f"{event} {refused}: a codec may reach nothing but its arguments and its restored state; "
        "put what a side needs into export()"
    )


def _open_rule(args: tuple[Any, ...]) -> str | None:
    path, mode, flags = args
    if isinstance(path, int):
        return f"of file descriptor {path}"
    text = _absolute(path)
    if _writes(mode, flags):
        return None if text in WRITABLE_FILES else f"of {text!r} for writing"
    allowed = _state.reads_free or text in SYSTEM_FILES or _is_metadata(text) or _is_module_read(text)
    return None if allowed else f"of {text!r}"


def _is_module_read(path: str) -> bool:
    """True if an import reads the file, Python's library a source, or anybody a library's stub, page or time zone."""
    if path.endswith(MODULE_SUFFIXES) or path in _import_roots():  # an archive with modules, for example
        return _called_by_import() or (path.endswith(".py") and _caller() in SOURCE_READERS)
    if path.endswith((STUB_SUFFIX, *LIBRARY_SUFFIXES)):
        return _is_below_import_root(path)
    return any(path.startswith(f"{root}/{zones}/") for root in _import_roots() for zones in TIME_ZONES)


def _writes(mode: str | None, flags: int | None) -> bool:
    if mode is not None and set(mode) & set("wax+"):
        return True
    return bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))


def _listing_rule(args: tuple[Any, ...]) -> str | None:
    path = args[0]
    if isinstance(path, int):
        return f"of file descriptor {path}"
    text = _absolute("." if path is None else path)
    return None if _state.reads_free or _is_below_import_root(text) or _called_by_import() else f"of {text!r}"


def _called_by_import() -> bool:
    """True if the import system makes the call: an editable install is below no import root."""
    by_python = _caller().startswith(("<frozen importlib", "<frozen zipimport"))
    return by_python or _caller(pathlib.__file__) in _state.importers


def _caller(*skipped: str) -> str:
    """Return the file of the code that makes the call: the first frame outside this module and the skipped files."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename in (__file__, *skipped):
        frame = frame.f_back
    return frame.f_code.co_filename if frame is not None else ""


def _dlopen_rule(args: tuple[Any, ...]) -> str | None:
    # A package may load its own shared libraries late, but not the C library, which gives access to everything.
    name = args[0]
    if _state.reads_free:
        return None
    if isinstance(name, str | bytes) and os.path.isabs(name) and _is_below_import_root(_absolute(name)):
        return None
    return f"of {name!r}"


def _mmap_rule(args: tuple[Any, ...]) -> str | None:
    # An anonymous mapping is ordinary memory; a mapping of a file or of shared memory is refused.
    return None if args[0] == -1 else f"of file descriptor {args[0]}"


def _absolute(path: Any) -> str:
    return os.path.abspath(os.fsdecode(path))


def _is_metadata(path: str) -> bool:
    folder = os.path.dirname(path)
    return folder.endswith(METADATA_FOLDERS) and _is_below_import_root(folder)


def _import_roots() -> set[str]:
    """Return the folders and archives from which modules can be imported now, but for the folders of plugin files."""
    entries = {sys.prefix, sys.base_prefix, *sys.path} - added_folders()
    return {os.path.abspath(entry) for entry in entries}


def _is_below_import_root(path: str) -> bool:
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in _import_roots())


_RULES: Final[Mapping[str, Rule]] = {
    "open": _open_rule,
    "os.listdir": _listing_rule,
    "os.scandir": _listing_rule,
    "os.walk": _listing_rule,
    "os.fwalk": _listing_rule,
    "glob.glob": _listing_rule,
    "glob.glob/2": _listing_rule,
    "pathlib.Path.glob": _listing_rule,
    "pathlib.Path.rglob": _listing_rule,
    "ctypes.dlopen": _dlopen_rule,
    "mmap.__new__": _mmap_rule,
}
