"""Which files a codec may read: what an import reads, and a few facts about the system. No data file is among them.

Rules of Landlock hold for a folder with all below it, and only add access. So where a folder has a single file that is
not a module's, each module file gets a rule of its own.
"""

# Tens of thousands of files are looked at, so paths are texts.
# ruff: noqa: PTH110, PTH112, PTH118, PTH119, PTH120, PTH207
from __future__ import annotations

import glob
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.metadata import entry_points
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from typing import Final

from codecbench.isolation.file_kinds import (
    METADATA_FILES,
    METADATA_FOLDERS,
    TIME_ZONES,
    is_library_file,
    is_module_file,
)
from codecbench.isolation.landlock import IOCTL_DEV, READ_DIR, READ_FILE, TRUNCATE, WRITE_FILE, Ruleset
from codecbench.registry import GROUP

_MARKERS: Final = ("py.typed",)
"""Empty files that do not keep a folder from having one rule."""
_LIBRARY_NAMES: Final = ("site-packages", "dist-packages")
_PYTHONS_TESTS: Final = "test"
"""A folder of Python's own library with thousands of files that nobody imports."""

_READ_WRITE_DEVICES: Final = ("/dev/null",)
_READABLE_DEVICES: Final = ("/dev/random", "/dev/urandom")
_READABLE_SYSTEM_FILES: Final = (
    "/etc/ld.so.cache", "/etc/localtime", "/proc/cpuinfo", "/proc/meminfo",
    "/proc/sys/vm/overcommit_memory", "/sys/kernel/mm/transparent_hugepage/enabled", "/usr/lib/locale",
)  # fmt: skip
_LISTED_SYSTEM_FOLDERS: Final = ("/sys/devices/system/cpu",)
_SHARED_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")


def allow_modules(rules: Ruleset, plugins: Sequence[Path]) -> None:
    """Allow to read the modules of Python, of all distributions, and of these plugin files and packages.

    Modules beside a plugin file have to be named as well. Folders of the user on the import path are not opened: their
    module files get a rule each, and the import system learns their names now, since they cannot be listed later.
    """
    libraries = _library_folders()
    own = _plugin_packages()
    apart = own | {os.path.join(folder, _PYTHONS_TESTS) for folder in libraries}
    for folder in libraries:
        rules.allow(folder, READ_DIR)
        for path in _library_modules(folder, apart, set())[1]:
            rules.allow(path, READ_FILE)
    for entry in _user_folders(libraries):
        _allow_each(rules, entry)
    for place in {*map(os.path.realpath, plugins), *own}:
        if os.path.isdir(place):
            _allow_each(rules, place)
            rules.allow(place, READ_DIR)
        else:
            rules.allow(place, READ_FILE)
            rules.allow(cache_from_source(place), READ_FILE)
            remember_folder(os.path.dirname(place))


def allow_system(rules: Ruleset) -> None:
    """Allow to read the system's shared libraries and a few facts about the machine, and to use /dev/null."""
    allow_devices(rules)
    for path in _READABLE_DEVICES:
        rules.allow(path, READ_FILE | IOCTL_DEV)
    for path in _READABLE_SYSTEM_FILES:
        rules.allow(path, READ_FILE)
    for path in _LISTED_SYSTEM_FOLDERS:
        rules.allow(path, READ_FILE | READ_DIR)
    for folder in _shared_library_folders():
        for entry in _entries(folder):
            if is_module_file(entry.name) and entry.is_file():
                rules.allow(entry.path, READ_FILE)


def allow_devices(rules: Ruleset) -> None:
    """Allow to write to /dev/null."""
    for path in _READ_WRITE_DEVICES:
        rules.allow(path, READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV)


def remember_folder(folder: str) -> None:
    """Let modules of this folder be imported later without listing it. Files that are made later are not found."""
    sys.path_importer_cache[folder] = _ListedFinder(folder)


class _ListedFinder(FileFinder):
    """Lists its folder once, when it is made, although the folder may change."""

    def __init__(self, folder: str) -> None:
        super().__init__(
            folder,
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (SourceFileLoader, SOURCE_SUFFIXES),
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )
        super()._fill_cache()  # type: ignore[misc]

    def _fill_cache(self) -> None:
        """Keep the names, where FileFinder lists the folder again."""


# --- folders ----------------------------------------------------------------------------------------------------------


@cache
def _library_folders() -> tuple[str, ...]:
    """Return the folders of Python's own library and of installed distributions."""
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    found = [*(sysconfig.get_path(kind) for kind in kinds), *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        found.append(site.getusersitepackages())
    found += [entry for entry in sys.path if os.path.basename(entry) in _LIBRARY_NAMES]
    return tuple(dict.fromkeys(os.path.realpath(folder) for folder in found if os.path.isdir(folder)))


def _user_folders(libraries: Sequence[str]) -> list[str]:
    """Return the folders on the import path that belong to no installation, as they are written there."""
    return [
        entry
        for entry in dict.fromkeys(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109
        if os.path.isdir(entry) and not any(_is_below(os.path.realpath(entry), folder) for folder in libraries)
    ]


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _plugin_packages() -> set[str]:
    """Return the packages of codecbench and of its installed plugins, and all that setuptools installed editable."""
    names = {GROUP, *(entry.module.partition(".")[0] for entry in entry_points(group=GROUP))}
    found = {os.path.realpath(path) for name in names for path in _package_folders(name)}
    for name, module in list(sys.modules.items()):
        mapping = getattr(module, "MAPPING", None) if name.startswith("__editable__") else None
        for path in (mapping or {}).values():
            found.add(os.path.realpath(path if os.path.exists(path) else f"{path}.py"))
    return found


def _package_folders(name: str) -> list[str]:
    """Return a top-level package's folders, or a single module's file, without importing it."""
    try:
        spec = find_spec(name)
    except ValueError:  # a module object made at run time, without a spec
        return []
    if spec is None:
        return []
    return list(spec.submodule_search_locations or ([spec.origin] if spec.origin else []))


def _shared_library_folders() -> list[str]:
    """Return the folders in which the system's loader finds libraries, and those beside this interpreter."""
    found = [*_SHARED_LIBRARIES, os.path.join(sys.prefix, "lib"), os.path.join(sys.base_prefix, "lib")]
    found += os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    for path in ["/etc/ld.so.conf", *glob.glob("/etc/ld.so.conf.d/*.conf")]:
        try:
            lines = Path(path).read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        found += [line.strip() for line in lines if line.startswith("/")]
    return list(dict.fromkeys(os.path.realpath(folder) for folder in found if folder and os.path.isdir(folder)))


# --- files ------------------------------------------------------------------------------------------------------------


def _library_modules(folder: str, apart: set[str], seen: set[str]) -> tuple[bool, list[str]]:
    """Return whether all below the folder are modules' files, and the paths that need a rule to read its modules.

    A folder with nothing but modules, or with time zones, is one path. Folders in `apart` are left out; so are those of
    other libraries.
    """
    only_modules, found = True, []
    for entry in _entries(folder):
        name = entry.name
        if not entry.is_dir():
            if is_library_file(name):
                found.append(entry.path)
                only_modules &= not entry.is_symlink()
            else:
                only_modules &= name in _MARKERS
        elif name.endswith(METADATA_FOLDERS):
            only_modules = False
            found += [os.path.join(entry.path, file) for file in METADATA_FILES]
        elif entry.path.endswith(TIME_ZONES):
            only_modules = False
            found.append(entry.path)
        elif name in _LIBRARY_NAMES or entry.path in apart:
            only_modules = False
        elif entry.is_symlink():
            only_modules = False
            target = os.path.realpath(entry.path)
            if target not in seen and target not in apart:
                seen.add(target)
                found += _library_modules(target, apart, seen)[1]
        else:
            inner_only, inner = _library_modules(entry.path, apart, seen)
            only_modules &= inner_only and bool(inner)
            found += inner
    return only_modules, [folder] if only_modules and found else found


def _allow_each(rules: Ruleset, folder: str) -> None:
    """Allow to read each module file of a folder and of the packages in it, and remember the folders' names."""
    for path, files in _modules_by_folder(folder):
        remember_folder(path)
        for file in files:
            rules.allow(file, READ_FILE)


def _modules_by_folder(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Yield a folder and those in it that can be packages, each with its module files.

    A folder without a module file is not looked into any further: it holds something else.
    """
    pending, seen = [folder], set()
    while pending:
        path = pending.pop()
        if (real := os.path.realpath(path)) in seen:
            continue
        seen.add(real)
        entries = _entries(path)
        files = [entry.path for entry in entries if is_module_file(entry.name) and entry.is_file()]
        if not files and path != folder:
            continue
        packages = [entry for entry in entries if entry.is_dir() and entry.name.isidentifier()]
        for entry in packages:
            if entry.name == "__pycache__":
                files += [cached.path for cached in _entries(entry.path) if cached.name.endswith(".pyc")]
            else:
                pending.append(entry.path)
        yield path, files


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
