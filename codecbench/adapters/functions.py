"""Users' functions, named by `module:function` or `FILE.py:function`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from codecbench.errors import CodecbenchError, DataError, UsageError, one_line
from codecbench.locations import raised_location
from codecbench.names import suggestion
from codecbench.system.helper_modules import add_folder


def load_function(text: str) -> Callable[..., Any]:
    """Return the function that a text names. Raises UsageError, or DataError if its module does not import."""
    place, _, name = text.rpartition(":")
    try:
        module = _file_module(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except CodecbenchError:
        raise
    except (Exception, SystemExit) as error:
        where = raised_location(error)
        raise DataError(f"{text} does not import{f' ({where})' if where else ''}: {one_line(error)}") from error
    found: object = getattr(module, name, None)
    if not callable(found):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise UsageError(f"{place} has no function {name!r}{suggestion(name, functions)}")
    return found


def call(function: Callable[..., Any], text: str) -> Any:
    """Call a user's function without arguments. Raises DataError with the file and line of its error."""
    try:
        return function()
    except CodecbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise DataError(f"{text} ({raised_location(error) or 'when called'}): it raised {one_line(error)}") from error


def _file_module(path: Path) -> ModuleType:
    """Import a file that belongs to no package; modules beside it can be imported by it."""
    name = f"codecbench_described_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    add_folder(path.parent)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
