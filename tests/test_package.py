"""What an installed codecbench is: light to import, typed, complete, and independent of the checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import pytest
from support.paths import ROOT

HEAVY = ("torch", "scipy", "skimage", "pyarrow", "pandas", "matplotlib", "jinja2")
FOLDERS = {
    "codecbench": ROOT / "codecbench",
    "codecbench_plugins": ROOT / "plugins" / "codecbench_plugins",
    "codecbench_datasets": ROOT / "datasets" / "codecbench_datasets",
}
"""Where the checkout has each package."""

REPORT = """
import json, sys
from codecbench.cli.main import main
try:
    main({arguments!r})
except SystemExit as stop:
    assert not stop.code, stop.code
print(json.dumps([name for name in {heavy!r} if name in sys.modules]), file=sys.stderr)
"""


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, in an empty folder, without the checkout on the path."""
    return subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=True
    )


def test_import_is_light(tmp_path: Path) -> None:
    code = f"import sys, json, codecbench; print(json.dumps([n for n in {HEAVY!r} + ('numpy',) if n in sys.modules]))"
    assert json.loads(python(code, tmp_path).stdout) == []


def test_import_loads_no_adapter(tmp_path: Path) -> None:
    code = "import sys, codecbench; print([name for name in sys.modules if name.startswith('codecbench.adapters')])"
    assert python(code, tmp_path).stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["run", "--help"], *(["list", kind] for kind in ("codecs", "workloads"))],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    done = python(REPORT.format(arguments=arguments, heavy=HEAVY), tmp_path)
    assert json.loads(done.stderr) == []
    assert done.stdout.strip()


OF_TORCH = (
    "codecbench.toolbox.bands.", "codecbench.toolbox.learning.", "codecbench.workers.process.",
    "codecbench.adapters.wrappers",
)  # fmt: skip
"""Where modules may import torch at their top. They are imported within functions only."""


def _modules(package: str) -> list[str]:
    """Every module of a package in the checkout, by its dotted name."""
    folder = FOLDERS[package]
    parts = (path.relative_to(folder.parent).with_suffix("").parts for path in sorted(folder.rglob("*.py")))
    return [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]


def test_every_module_but_those_of_the_workers_imports_without_torch(tmp_path: Path) -> None:
    """Everything that is not of OF_TORCH may be imported by the main process. A plugin says what it is in __init__."""
    names = [name for name in _modules("codecbench") if not name.startswith(OF_TORCH)]
    names += [name for name in _modules("codecbench_plugins") if name.count(".") == 1]
    names += ["codecbench_datasets.cifar10"]
    code = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""
    python(code, tmp_path)
    assert len(names) > 80


def test_codecs_are_listed_from_an_empty_folder(tmp_path: Path) -> None:
    done = python("from codecbench.cli.main import main; main(['list', 'codecs', '--json'])", tmp_path)
    listed = {row["name"] for row in json.loads(done.stdout)}
    assert {"raw", "interpolation", "jpeg-huffman", "quant-huffman"} <= listed
    assert list(tmp_path.iterdir()) == []


def test_builtin_plugins_are_entry_points_like_any_other() -> None:
    ours = {entry.value for entry in entry_points(group="codecbench") if entry.dist and entry.dist.name == "codecbench"}
    modules = {name for name in _modules("codecbench_plugins") if name.count(".") == 1}
    assert modules <= ours, "a plugin without an entry point in pyproject.toml"
    assert "codecbench_datasets.cifar10" in ours


@pytest.mark.parametrize("package", FOLDERS)
def test_packages_are_typed(package: str) -> None:
    assert (files(package) / "py.typed").is_file()


def test_the_wheel_holds_every_file_and_nothing_else(tmp_path: Path) -> None:
    """Built by pip as for a user, but from a copy and with the setuptools that is here: nothing is downloaded."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "codecbench", "plugins", "datasets"):
        whole = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        whole(ROOT / name, source / name)
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    done = subprocess.run([sys.executable, "-m", *build], cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in FOLDERS.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == wanted
