"""The kinds of models, data and tasks: found by the text before the colon, one module each."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeAlias

from codecbench.errors import UsageError
from codecbench.names import suggestion

Part: TypeAlias = Literal["model", "data", "task"]

FOLDERS: dict[Part, str] = {"model": "models", "data": "data", "task": "tasks"}
FUNCTION = "function"
"""The module for `module:function` and `FILE.py:function`, whose texts name no kind."""


@lru_cache
def kinds(part: Part) -> tuple[str, ...]:
    """Return the kinds of a part, sorted."""
    package = importlib.import_module(f"{__package__}.{FOLDERS[part]}")
    return tuple(sorted(found.name for found in pkgutil.iter_modules(package.__path__) if found.name != FUNCTION))


def adapter(part: Part, text: str) -> tuple[ModuleType, str]:
    """Return the module of a text's kind, and the rest of the text.

    Raises UsageError, with the nearest kind, for a text of no kind.
    """
    kind, colon, argument = text.partition(":")
    known = kinds(part)
    if kind in known:
        if part != "task" and not argument:
            raise UsageError(f"--{part} {text}: something has to follow {kind}:, as in {_example(part, kind)}")
        return _module(part, kind), argument
    if part != "task" and colon and argument and _names_function(text):
        return _module(part, FUNCTION), text
    raise _no_kind(part, text)


def _no_kind(part: Part, text: str) -> UsageError:
    kind, known = text.partition(":")[0], kinds(part)
    functions = "" if part == "task" else ", module:function"
    near = suggestion(kind, known) or f"; there are: {', '.join(known)}{functions}"
    return UsageError(f"--{part} {text}: no kind of {part} {kind!r}{near}")


def placed(part: Part, text: str, *folders: Path) -> str:
    """Return a text with its path made absolute, where it names one: the first of these folders that has it counts.

    Raises UsageError for a path that has to be there and is not.
    """
    if part != "task" and text.partition(":")[0] not in kinds(part):
        text = _placed_function(part, text, folders)
    module, argument = adapter(part, text)
    kind = module.__name__.rpartition(".")[2]
    if kind == FUNCTION:
        return text
    form = getattr(module, "ARGUMENT", "name")
    if form == "name":
        return text
    place, colon, split = argument.rpartition(":")
    for folder in folders:
        for path, end in ((argument, ""), (place, f"{colon}{split}")):
            found = (folder / Path(path).expanduser()).resolve()
            if path and found.exists():
                return f"{kind}:{found}{end}"
    if form == "path":
        raise UsageError(f"--{part} {text}: there is no such file or folder: {argument}")
    return text


def portable(part: Part, text: str) -> str:
    """Return a text without the folders of its path, as records and hashes name it."""
    module, argument = adapter(part, text)
    kind = module.__name__.rpartition(".")[2]
    if kind == FUNCTION:
        place, _, name = argument.rpartition(":")
        return f"{Path(place).name}:{name}" if place.endswith(".py") else text
    form = getattr(module, "ARGUMENT", "name")
    return f"{kind}:{Path(argument).name}" if form != "name" and Path(argument).is_absolute() else text


def _placed_function(part: Part, text: str, folders: tuple[Path, ...]) -> str:
    place, _, name = text.rpartition(":")
    files = [folder / place for folder in folders]
    if not place.endswith(".py"):
        files = [folder / f"{place.replace('.', '/')}.py" for folder in folders]
    found = next((file.resolve() for file in files if file.is_file()), None)
    if found is not None:
        return f"{found}:{name}"
    if place.endswith(".py"):
        raise UsageError(f"--{part} {text}: there is no file {place}")
    if not _names_function(text) or importlib.util.find_spec(place.partition(".")[0]) is None:
        raise _no_kind(part, text)
    return text


def _names_function(text: str) -> bool:
    """True for the path of a Python file, or the dotted name of a module, with a function behind it."""
    place, _, name = text.rpartition(":")
    return name.isidentifier() and (place.endswith(".py") or all(word.isidentifier() for word in place.split(".")))


def _module(part: Part, kind: str) -> ModuleType:
    return importlib.import_module(f"{__package__}.{FOLDERS[part]}.{kind}")


def _example(part: Part, kind: str) -> str:
    return str(getattr(_module(part, kind), "EXAMPLE", f"{kind}:NAME"))
