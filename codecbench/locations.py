"""Where something stands in a user's own files: classes, methods, and the lines at which an error passed through them.

A plugin's own files are all but Python's library, installed libraries and this package. A plugin that is installed
counts as its own: the packages of all codecs and workloads that are loaded are known.
"""

from __future__ import annotations

import inspect
import linecache
import site
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

from codecbench.codec import Codec
from codecbench.errors import without_folders
from codecbench.workload import Workload

CORE = str(Path(__file__).resolve().parent)
MAX_FRAMES = 20
"""The number of frames that are kept of one error."""
MAX_FRAME_CHARS = 200


def class_location(item: type[Any]) -> str:
    """Return the file and line of a class; of a class that was made by a call, those of a method, or of its base."""
    for kind in item.__mro__:
        if kind in (Codec, Workload, object):
            break
        try:
            return f"{inspect.getsourcefile(kind)}, line {inspect.findsource(kind)[1] + 1}"
        except (OSError, TypeError, IndexError):
            codes = [getattr(getattr(value, "__func__", value), "__code__", None) for value in vars(kind).values()]
            found = [(code.co_filename, code.co_firstlineno) for code in codes if code is not None]
            if found:
                return "{}, line {}".format(*min(found))
    module = sys.modules.get(item.__module__)
    return str(getattr(module, "__file__", None) or item.__module__)


def method_location(item: type[Any], method: str) -> str:
    """Return the file and line of a class's method, property or attribute; of the class where there is no such line."""
    value = inspect.getattr_static(item, method, None)
    if isinstance(value, property):
        value = value.fget
    code = getattr(inspect.unwrap(getattr(value, "__func__", value)), "__code__", None)
    return f"{code.co_filename}, line {code.co_firstlineno}" if code is not None else class_location(item)


def raised_location(error: BaseException) -> str | None:
    """Return the file and line of the plugin's own code where an error was raised; None if it was not there."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = list(_own_frames(error))
    return f"{frames[-1][0].f_code.co_filename}, line {frames[-1][1]}" if frames else None


def frames_of(error: BaseException) -> tuple[str, ...]:
    """Return the lines of a plugin's own code that an error passed through, outermost first.

    Each is `mycodec.py:31 encode: return zlib.compress(x)`, without folders. Of an error and its causes, the first one
    that passed through such code counts; lines that crossed from another process are in its attribute `frames`.
    """
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        crossed: tuple[str, ...] = getattr(cause, "frames", ())
        lines = crossed or tuple(_shown(frame, line) for frame, line in _own_frames(cause))
        if lines:
            return lines[-MAX_FRAMES:]
        cause = cause.__cause__ or cause.__context__
    return ()


def _own_frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    packages = _plugin_packages()
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if not file.startswith("<") and (package in packages or not file.startswith(_library_folders())):
            yield frame, line


def _shown(frame: FrameType, line: int) -> str:
    file = frame.f_code.co_filename
    code = without_folders(" ".join(linecache.getline(file, line, frame.f_globals).split()))
    return f"{Path(file).name}:{line} {frame.f_code.co_name}: {code}"[:MAX_FRAME_CHARS]


def _plugin_packages() -> set[str]:
    """Return the top-level packages of all codec and workload classes that are loaded, but for this one."""
    pending: list[type[Any]] = [Codec, Workload]
    found: set[str] = set()
    while pending:
        kind = pending.pop()
        found.add(kind.__module__.partition(".")[0])
        pending += type.__subclasses__(kind)
    return found - {"codecbench"}


@lru_cache(maxsize=1)
def _library_folders() -> tuple[str, ...]:
    named = [*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()]
    folders = {str(Path(inspect.__file__).parent), *(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib"))}
    folders |= {path for path in named if Path(path).name in ("site-packages", "dist-packages")}
    return tuple(sorted(f"{folder}/" for folder in {*folders, CORE}))
