"""A codec may read the files of modules and no data, wherever they lie."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

import pytest

from codecbench.isolation import module_files
from codecbench.isolation.file_kinds import is_library_file, is_module_file
from codecbench.isolation.landlock import READ_DIR, READ_FILE


class RecordedRules:
    """Keeps the rights by path, and says as Landlock does what they open."""

    def __init__(self) -> None:
        self.rights: dict[Path, int] = {}

    def allow(self, path: str, rights: int) -> bool:
        self.rights[Path(path)] = self.rights.get(Path(path), 0) | rights
        return True

    def has(self, path: Path, right: int) -> bool:
        return any(self.rights.get(place, 0) & right for place in (path, *path.parents))

    def readable(self, folder: Path) -> set[str]:
        files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        return {path.relative_to(folder).as_posix() for path in files if self.has(path, READ_FILE)}

    def listed(self, folder: Path) -> set[str]:
        return {
            path.relative_to(folder).as_posix()
            for path in (folder, *folder.rglob("*"))
            if path.is_dir() and self.has(path, READ_DIR)
        }


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")


@pytest.fixture
def library(tmp_path, monkeypatch) -> Path:
    """Stands in for site-packages, and nothing else is on the import path."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(module_files, "_library_folders", lambda: (str(folder),))
    monkeypatch.setattr(module_files, "_plugin_packages", set)
    monkeypatch.setattr(sys, "path", [])
    return folder


def allowed(*places: Path) -> RecordedRules:
    rules = RecordedRules()
    module_files.allow_modules(rules, places)  # type: ignore[arg-type]
    return rules


@pytest.mark.parametrize(
    ("name", "is_module"),
    [
        ("a.py", True), ("a.pyc", True), ("a.pyi", True), ("a.cpython-311-x86_64-linux-gnu.so", True),
        ("liba.so.1", True), ("a.dylib", True), ("a.npz", False), ("a.csv", False), ("a.zip", False),
        ("a.json", False), ("liba.so.1.0.2", True),
        ("a.so.1.npz", False), ("apy", False), ("py", False), ("a.py.gz", False), ("a.png", False),
    ],
)  # fmt: skip
def test_a_file_is_known_by_its_name(name, is_module):
    assert is_module_file(name) == is_library_file(name) == is_module


def test_distributions_give_their_modules_and_metadata_only(library):
    make(
        library, "a/__init__.py", "a/data/labels.csv", "a/data/x.npz", "a/b/c.py", "a/b/__pycache__/c.cpython-311.pyc",
        "a/lib/liba.so.1", "a/style.css", "one.py", "a-1.dist-info/METADATA", "a-1.dist-info/RECORD",
        "a-1.dist-info/LICENSE", "a-1.dist-info/entry_points.txt",
    )  # fmt: skip
    rules = allowed()
    assert rules.readable(library) == {
        "a/__init__.py", "a/b/c.py", "a/b/__pycache__/c.cpython-311.pyc", "a/lib/liba.so.1", "a/style.css", "one.py",
        "a-1.dist-info/METADATA", "a-1.dist-info/RECORD", "a-1.dist-info/entry_points.txt",
    }  # fmt: skip
    assert rules.rights[library / "a" / "b"] == READ_FILE  # one rule for a folder of modules
    assert library / "a" not in rules.rights


def test_a_folder_with_room_for_data_is_not_opened_as_a_whole(library):
    make(library, "a/__init__.py", "b/__init__.py", "b/py.typed")
    (library / "a" / "cache").mkdir()
    rules = allowed()
    make(library, "a/cache/later.npz", "a/later.npz")
    assert rules.readable(library) == {"a/__init__.py", "b/__init__.py", "b/py.typed"}


def test_a_plugins_package_is_never_opened_as_a_whole(library, monkeypatch):
    make(library, "plugin/__init__.py", "plugin/inner/part.py", "other/__init__.py")
    monkeypatch.setattr(module_files, "_plugin_packages", lambda: {str(library / "plugin")})
    rules = allowed()
    make(library, "plugin/labels.npz", "plugin/inner/labels.npz")
    assert rules.readable(library) == {"plugin/__init__.py", "plugin/inner/part.py", "other/__init__.py"}


def test_linked_packages_are_followed_once(library, tmp_path):
    make(tmp_path, "store/a/__init__.py", "store/a/data.npz", "store/b.py")
    (library / "a").symlink_to(tmp_path / "store" / "a")
    (library / "b.py").symlink_to(tmp_path / "store" / "b.py")
    (tmp_path / "store" / "a" / "loop").symlink_to(tmp_path / "store" / "a")
    rules = allowed()
    assert rules.readable(tmp_path / "store") == {"a/__init__.py"}
    assert rules.has(library / "b.py", READ_FILE)  # the kernel's rule is for the file that the link leads to


def test_folders_of_the_user_give_each_module_and_are_not_listed(library, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    make(
        folder, "beside.py", "labels.npz", "package/__init__.py", "package/data/x.csv", "package/part/deep.py",
        "results/cell.json", "no-identifier/a.py", "data/more/hidden.py",
    )  # fmt: skip
    monkeypatch.setattr(sys, "path", [str(folder)])
    rules = allowed()
    assert rules.readable(folder) == {"beside.py", "package/__init__.py", "package/part/deep.py"}
    assert rules.listed(folder) == set()


def test_a_plugin_file_gives_itself_and_its_bytecode(library, tmp_path):
    make(tmp_path, "plugin.py", "beside.py", "labels.npz", "__pycache__/beside.cpython-311.pyc")
    cached = Path(module_files.cache_from_source(str(tmp_path / "plugin.py")))
    make(tmp_path, cached.relative_to(tmp_path).as_posix())
    rules = allowed(tmp_path / "plugin.py")
    assert rules.readable(tmp_path) == {"plugin.py", cached.relative_to(tmp_path).as_posix()}
    assert rules.listed(tmp_path) == {"site-packages"}


def test_a_plugin_package_gives_its_modules_and_is_listed(library, tmp_path):
    make(tmp_path, "plugin/__init__.py", "plugin/inner/part.py", "plugin/golden/x.json", "beside.py")
    rules = allowed(tmp_path / "plugin")
    assert rules.readable(tmp_path) == {"plugin/__init__.py", "plugin/inner/part.py"}
    assert rules.listed(tmp_path / "plugin") == {".", "inner", "golden"}


def test_editable_packages_are_found(tmp_path, monkeypatch):
    make(tmp_path, "package/__init__.py", "single.py")
    finder = ModuleType("__editable___something_finder")
    finder.MAPPING = {"package": str(tmp_path / "package"), "single": str(tmp_path / "single")}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, finder.__name__, finder)
    found = module_files._plugin_packages()
    assert {str(tmp_path / "package"), str(tmp_path / "single.py")} <= found


def test_packages_of_installed_plugins_are_found():
    names = {Path(path).name for path in module_files._plugin_packages()}
    assert {"codecbench", "codecbench_plugins", "codecbench_datasets"} <= names


def test_the_data_that_ships_stays_closed():
    rules = allowed()
    folders = [Path(p) for p in module_files._plugin_packages() if Path(p).name == "codecbench_datasets"]
    assert any(path.suffix not in (".py", ".pyc") for folder in folders for path in folder.rglob("data/*"))
    for folder in folders:
        readable = rules.readable(folder)
        assert readable
        assert {name for name in readable if not is_module_file(name)} == set()


def test_a_remembered_folder_is_not_listed_again(tmp_path, monkeypatch):
    make(tmp_path, "known.py")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    module_files.remember_folder(str(tmp_path))
    try:
        make(tmp_path, "unknown.py")  # changes the folder's time of modification
        assert PathFinder.find_spec("known") is not None
        assert PathFinder.find_spec("unknown") is None
    finally:
        importlib.invalidate_caches()
        del sys.path_importer_cache[str(tmp_path)]
