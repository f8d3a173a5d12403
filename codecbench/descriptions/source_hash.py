"""The hash of a codec's or a workload's source code. A record with another hash is outdated."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import io
import site
import sys
import sysconfig
import tokenize
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any, NamedTuple

from codecbench.errors import PluginError
from codecbench.registry import class_label

CORE = "codecbench"
HELPERS = "codecbench.toolbox"
"""The part of codecbench that belongs to a codec's source. The rest is the contract and the harness."""


def read_toolbox() -> None:
    """Read all modules of the toolbox, which most codecs use, so that processes forked from this one need not."""
    for folder in importlib.util.find_spec(HELPERS).submodule_search_locations or ():  # type: ignore[union-attr]
        for path in Path(folder).rglob("*.py"):
            read_source(_content(path))


def _content(path: Path) -> bytes:
    """Return a module's source as the import system reads it, which sealed code may do as well."""
    return SourceFileLoader(path.stem, str(path)).get_data(str(path))


def _source_of(path: Path) -> Source:
    """Return a module's source. A file that is not Python, such as a template in a package, counts as it stands."""
    content = _content(path)
    try:
        return read_source(content)
    except (SyntaxError, ValueError):
        return Source(content, ())


class Module(NamedTuple):
    """A module: its dotted name, the package that its relative imports refer to, and its file."""

    name: str
    package: str
    path: Path


class Import(NamedTuple):
    """One imported name: `module` itself, or `name` from `module`, bound to `bound`. `level` counts leading dots."""

    module: str
    level: int
    name: str | None
    bound: str


class Source(NamedTuple):
    """A module's code without comments and docstrings, and its imports."""

    code: bytes
    imports: tuple[Import, ...]


def source_sha256(item: type[Any] | Callable[..., Any]) -> str:
    """Return the hex SHA-256 of a codec's, workload's or function's source. It is without comments and docstrings.

    It covers the module that defines the class, all modules of its folder if that module is a package, and every
    module that these import, directly or indirectly, if it is in the same top-level package, not installed (a file
    beside a plugin file, for example), or in `codecbench.toolbox`. A plugin file in the folder of a package belongs to
    that package, installed or not. The contract and libraries are not covered; a record names their versions. Imports
    are read from the source text, so imports at run time by a computed name are missed. Raises PluginError if the class
    has no source file.
    """
    path = inspect.getsourcefile(item)
    if path is None:
        raise PluginError(f"{class_label(item)} has no source file; define it in a .py file")
    module = sys.modules[item.__module__]
    own = _package_modules(Module(item.__module__, module.__package__ or "", Path(path).resolve()))
    tops = frozenset({item.__module__.partition(".")[0], *_packages_around(own[0].path)})
    sources = {module.path: _source_of(module.path) for module in own}
    helpers: dict[str, Path] = {}
    pending = [(module, entry) for module in own for entry in sources[module.path].imports]
    while pending:
        importer, entry = pending.pop()
        for found in _imported_modules(importer, entry, tops):
            if found.path not in sources and _is_hashed(found.name):
                helpers[found.name] = found.path
                sources[found.path] = _source_of(found.path)
                pending += [(found, imported) for imported in sources[found.path].imports]
    paths = [*(module.path for module in own), *(helpers[name] for name in sorted(helpers))]
    return hashlib.sha256(b"".join(hashlib.sha256(sources[path].code).digest() for path in paths)).hexdigest()


def _packages_around(path: Path) -> list[str]:
    """Return the name of the outermost package that the file lies in, or nothing if it lies in none."""
    folder, found = path.parent, ""
    while (folder / "__init__.py").is_file():
        folder, found = folder.parent, folder.name
    return [found] if found else []


def _package_modules(module: Module) -> list[Module]:
    """Return the module, and if it is a package's `__init__.py` all modules below it."""
    if module.path.name != "__init__.py":
        return [module]
    folder = module.path.parent
    found = [module]
    for path in sorted(folder.rglob("*.py")):
        if path != module.path:
            package = ".".join([module.package or module.name, *path.relative_to(folder).parent.parts])
            found.append(Module(f"{package}.{path.stem}", package, path))
    return found


def _imported_modules(importer: Module, entry: Import, tops: frozenset[str]) -> Iterator[Module]:
    """Yield the modules that one import runs: the module it names, and the packages around it."""
    base = entry.module
    if entry.level:
        parts = importer.package.split(".")
        base = ".".join([*parts[: len(parts) - entry.level + 1], *([base] if base else [])])
    named = _find_module(f"{base}.{entry.name}", tops) if entry.name is not None else None
    module = named if named is not None else _find_module(base, tops)
    if module is None:
        return
    if named is None and entry.name is not None and _only_reexports(module):
        # The package re-exports the name: only the module that defines it counts, not all that the package imports,
        # unless the import takes all.
        for exported in _source_of(module.path).imports:
            if entry.name in (exported.bound, "*"):
                yield from _imported_modules(module, exported, tops)
        return
    yield module
    enclosing = module.name.rpartition(".")[0]
    while enclosing:  # importing a module runs the __init__.py of each package around it
        package = _find_module(enclosing, tops)
        if package is not None and not _only_reexports(package):
            yield package
        enclosing = enclosing.rpartition(".")[0]


def _only_reexports(module: Module) -> bool:
    """True for a package of codecbench: its `__init__.py` only re-exports names."""
    return module.path.name == "__init__.py" and module.name.partition(".")[0] == CORE


def _find_module(name: str, tops: frozenset[str]) -> Module | None:
    """Return the module of a dotted name, or None if it has no source file or belongs to a library.

    Nothing is imported, not even the packages around the module.
    """
    first, *inner = name.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except ValueError:  # a module object made at run time, without a spec
        return None
    if first != CORE and first not in tops and (spec is None or _is_library(spec)):
        return None
    for depth in range(len(inner)):
        if spec is None or spec.submodule_search_locations is None:
            return None
        dotted = ".".join([first, *inner[: depth + 1]])
        spec = PathFinder.find_spec(dotted, spec.submodule_search_locations)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    return Module(name, package, Path(spec.origin).resolve())


def _is_library(spec: ModuleSpec) -> bool:
    """True for a module of Python's own library or of an installed package."""
    folders = [spec.origin] if spec.origin is not None else list(spec.submodule_search_locations or ())
    files = [Path(place).resolve() for place in folders if Path(place).is_absolute()]
    return not files or any(file.is_relative_to(folder) for file in files for folder in _library_folders())


def _is_hashed(name: str) -> bool:
    """True for all modules except those of codecbench outside the toolbox."""
    return name.partition(".")[0] != CORE or f"{name}.".startswith(f"{HELPERS}.")


@lru_cache
def _library_folders() -> frozenset[Path]:
    """Return the folders of Python's own library and of installed packages."""
    paths = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    return frozenset(Path(path).resolve() for path in [*paths, *site.getsitepackages(), site.getusersitepackages()])


@lru_cache(maxsize=4096)
def read_source(source: bytes) -> Source:
    """Return a module's code without comments, docstrings and blank lines, and its imports.

    They are cut out by position. The remaining text is not reformatted, so it is the same on every Python version.
    Raises SyntaxError if the text is not Python.
    """
    tree = ast.parse(source)
    imports: list[Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [Import(alias.name, 0, None, alias.asname or alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports += [
                Import(node.module or "", node.level, alias.name, alias.asname or alias.name) for alias in node.names
            ]
        elif isinstance(node, ast.Call):
            imports += _imported_by_call(node)
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    return Source(_code(io.TextIOWrapper(io.BytesIO(source), encoding).read(), tree), tuple(imports))


def _imported_by_call(call: ast.Call) -> list[Import]:
    """Return the import of `import_module("name")` or `__import__("name")`; of a computed name, none."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    first = call.args[0] if call.args else None
    if function not in ("import_module", "__import__") or not isinstance(first, ast.Constant):
        return []
    dotted = first.value
    if not isinstance(dotted, str):
        return []
    name = dotted.lstrip(".")
    return [Import(name, len(dotted) - len(name), None, name)]


def _code(text: str, tree: ast.Module) -> bytes:
    """Return the text without comments, docstrings, blank lines and trailing spaces. Strings stay unchanged."""
    lines = [line.encode() for line in text.split("\n")]  # positions in the tree count UTF-8 bytes
    cuts = list(_docstrings(tree))
    inside: set[int] = set()  # lines that end within a string
    opened: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        (row, column), (end_row, end_column) = token.start, token.end
        if kind == "COMMENT":
            chars = lines[row - 1].decode()
            cuts.append((row, len(chars[:column].encode()), end_row, len(chars[:end_column].encode())))
        elif kind == "STRING":
            inside.update(range(row, end_row))
        elif kind in ("FSTRING_START", "TSTRING_START"):  # since Python 3.12 such a string is several tokens
            opened.append(row)
        elif kind in ("FSTRING_END", "TSTRING_END"):
            inside.update(range(opened.pop(), end_row))
    for row, column, end_row, end_column in sorted(cuts, reverse=True):
        kept = lines[row - 1][:column] + lines[end_row - 1][end_column:]
        lines[row - 1 : end_row] = [kept, *([b""] * (end_row - row))]
        inside.difference_update(range(row, end_row))
    kept_lines = [line if row in inside else line.rstrip() for row, line in enumerate(lines, 1)]
    return b"\n".join(line for row, line in enumerate(kept_lines, 1) if line or row in inside)


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, int, int, int]]:
    """Yield the position of each docstring: line and column of the start, then of the end; columns in UTF-8 bytes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                assert first.end_lineno is not None
                assert first.end_col_offset is not None
                yield first.lineno, first.col_offset, first.end_lineno, first.end_col_offset
