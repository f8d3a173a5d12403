"""Modules beside a plugin file: its folder on the import path, and the modules that it imports from there."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path

from codecbench.errors import PluginError

_folders: dict[str, None] = {}
"""The folders that plugin files have put on the import path."""


def add_folder(folder: Path) -> None:
    """Put the folder of a plugin file at the end of the import path, behind everything that is installed."""
    entry = str(folder)
    if entry not in sys.path:
        sys.path.append(entry)
        _folders[entry] = None


def added_folders() -> frozenset[str]:
    """Return the folders that `add_folder` has put on the import path."""
    return frozenset(_folders)


def helper_files(plugin: Path) -> dict[str, Path]:
    """Return the modules in a plugin file's folder that it imports, directly or through each other.

    A top-level name maps to the module's file, or to its package's `__init__.py`. They are read from the source text,
    so imports by a computed name are missed.
    """
    folder, found = plugin.parent, dict[str, Path]()
    pending = [plugin]
    while pending:
        for name in _imported_names(pending.pop()):
            file = next(filter(Path.is_file, (folder / name / "__init__.py", folder / f"{name}.py")), None)
            if file is not None and name not in found and file != plugin:
                found[name] = file
                pending += _modules_of(file)
    return found


def with_helpers(plugins: Sequence[Path]) -> list[Path]:
    """Return plugin files, each followed by all modules of its own folder that it imports. No file comes twice."""
    found: dict[Path, None] = {}
    for plugin in plugins:
        found[plugin] = None
        for file in helper_files(plugin).values():
            found.update(dict.fromkeys(_modules_of(file)))
    return list(found)


def check_helpers(plugins: Sequence[Path]) -> None:
    """Raise PluginError if a plugin file would import another module than the one in its own folder.

    That is so where a module of that name is installed, or lies beside another of the plugin files.
    """
    owners: dict[str, tuple[Path, Path]] = {}
    for plugin in plugins:
        for name, file in helper_files(plugin).items():
            owner, other = owners.setdefault(name, (plugin, file))
            if other != file:
                raise PluginError(
                    f"plugin {plugin} imports {file}, and plugin {owner} imports {other}: two modules of the name "
                    f"{name!r} cannot be told apart; rename one"
                )
            installed = _installed_file(name)
            if file.name != "__init__.py" and installed is not None and installed != file:
                raise PluginError(
                    f"plugin {plugin} imports {name!r}, and {file} is hidden by the installed module of that name; "
                    "rename the file"
                )


def _installed_file(name: str) -> Path | None:
    """Return the file of a module that comes before those of plugins' folders; None if there is none."""
    if name in sys.builtin_module_names:
        return Path(name)
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded is None or str(Path(loaded).parent) in _folders:  # found again: it may be of another plugin's folder
        path = [entry for entry in sys.path if entry not in _folders]
        spec = PathFinder.find_spec(name, path)
        loaded = spec.origin if spec is not None else None
    return Path(loaded).resolve() if loaded is not None else None


def _modules_of(file: Path) -> list[Path]:
    """Return a module's file, or all modules of the package that an `__init__.py` makes, if it can be listed."""
    try:
        return sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    except OSError:  # in a sealed process
        return [file]


def _imported_names(file: Path) -> Iterator[str]:
    """Yield the top-level names that a file imports. Of a file that cannot be read or is not Python, none."""
    try:
        # As the import system reads it, which sealed code may do as well.
        tree = ast.parse(SourceFileLoader(file.stem, str(file)).get_data(str(file)))
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
