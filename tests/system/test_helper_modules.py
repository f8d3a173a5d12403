"""Modules beside plugin files: which ones are imported, and which names cannot be told apart."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from codecbench.errors import PluginError
from codecbench.system.helper_modules import add_folder, added_folders, check_helpers, helper_files, with_helpers


def written(folder: Path, **sources: str) -> Path:
    """Write modules, `_0_` for a slash in a name; return the plugin file `plugin.py`."""
    for name, source in sources.items():
        path = folder / f"{name.replace('_0_', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return folder / "plugin.py"


def test_modules_that_a_plugin_imports_from_its_folder_are_found_at_any_depth(tmp_path: Path) -> None:
    plugin = written(
        tmp_path, plugin="def f():\n    import first\n", first="from second.inner import x", second_0___init__="",
        second_0_inner="from ..first import y\nimport third", third="import plugin", unused="", zlib="",
    )  # fmt: skip
    assert helper_files(plugin) == {
        "first": tmp_path / "first.py", "second": tmp_path / "second" / "__init__.py", "third": tmp_path / "third.py",
    }  # fmt: skip
    files = [path.relative_to(tmp_path).as_posix() for path in with_helpers([plugin])]
    assert files[0] == "plugin.py"
    assert sorted(files) == ["first.py", "plugin.py", "second/__init__.py", "second/inner.py", "third.py"]


def test_a_file_that_is_no_python_imports_nothing(tmp_path: Path) -> None:
    assert helper_files(written(tmp_path, plugin="def (:")) == {}
    assert helper_files(tmp_path / "missing.py") == {}


def test_a_folder_goes_to_the_end_of_the_path_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    add_folder(tmp_path)
    add_folder(tmp_path)
    assert sys.path[-1] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1
    assert str(tmp_path) in added_folders()


def test_equal_names_beside_two_plugins_are_refused(tmp_path: Path) -> None:
    one, two = (written(tmp_path / name, plugin="import codings", codings="") for name in ("one", "two"))
    check_helpers([one])
    check_helpers([two])
    with pytest.raises(PluginError, match=r"two/codings.py, and plugin .*one/plugin.py imports .* rename one$"):
        check_helpers([one, two])


def test_a_helper_that_two_plugins_share_is_one_module(tmp_path: Path) -> None:
    one = written(tmp_path, plugin="import codings", other="import codings", codings="")
    check_helpers([one, tmp_path / "other.py"])


@pytest.mark.parametrize("name", ["zlib", "sys", "numpy"])
def test_a_helper_that_an_installed_module_hides_is_refused(tmp_path: Path, name: str) -> None:
    plugin = written(tmp_path, plugin=f"import {name}", **{name: ""})
    with pytest.raises(PluginError, match=rf"{name}.py is hidden by the installed module .*; rename the file$"):
        check_helpers([plugin])
