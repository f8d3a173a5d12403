"""The toolbox is public by part: what `__all__` names is there, documented, and light until it is used."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from support.paths import DOCS, ROOT

TOOLBOX = ROOT / "codecbench" / "toolbox"
PARTS = sorted(path.parent.name for path in TOOLBOX.glob("*/__init__.py"))


@pytest.mark.parametrize("part", PARTS)
def test_every_public_name_is_there_with_a_docstring(part: str) -> None:
    module = import_module(f"codecbench.toolbox.{part}")
    assert module.__all__ == sorted(module.__all__, key=lambda name: (not name.isupper(), name.islower(), name))
    for name in module.__all__:
        item = getattr(module, name)
        if inspect.isfunction(item) or inspect.isclass(item):
            assert inspect.getdoc(item), name


@pytest.mark.parametrize("part", PARTS)
def test_names_are_imported_from_the_modules_of_their_own_part(part: str) -> None:
    tree = ast.parse((TOOLBOX / part / "__init__.py").read_text())
    imports = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("codecbench.")
        for alias in node.names
    }
    assert sorted(imports) == sorted(import_module(f"codecbench.toolbox.{part}").__all__)
    assert all(str(module).startswith(f"codecbench.toolbox.{part}.") for module in imports.values())


def test_names_of_learning_come_without_torch_until_they_are_used(tmp_path: Path) -> None:
    code = """
import sys
from codecbench.toolbox import learning
assert "torch" not in sys.modules
assert learning.Schedule.__module__ == "codecbench.toolbox.learning.trainer"
assert "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=120)


def test_an_unknown_name_of_learning_is_refused() -> None:
    from codecbench.toolbox import learning

    with pytest.raises(AttributeError, match="has no attribute 'Lesson'"):
        _ = learning.Lesson


def test_the_page_has_every_name() -> None:
    page = (DOCS / "reference" / "toolbox.md").read_text()
    for part in PARTS:
        section = page.split(f"## `codecbench.toolbox.{part}`\n")[1].split("\n## ")[0]
        for name in import_module(f"codecbench.toolbox.{part}").__all__:
            assert f"\n### `{name}" in section
