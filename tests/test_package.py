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

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "scipy", "skimage", "pyarrow", "pandas", "matplotlib")
FOLDERS = {"codecbench": "codecbench", "plugins": "codecbench_plugins", "datasets": "codecbench_datasets"}

REPORT = """
import json, sys
from codecbench.cli import main
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


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["run", "--help"], *(["list", kind] for kind in ("codecs", "workloads"))],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    done = python(REPORT.format(arguments=arguments, heavy=HEAVY), tmp_path)
    assert json.loads(done.stderr) == []
    assert done.stdout.strip()


OF_TORCH = {
    f"codecbench.{name}" for name in ("split", "networks", "distil", "tailcopy", "training", "learned", "rate_task")
}


def test_every_module_but_those_of_the_workers_imports_without_torch(tmp_path: Path) -> None:
    """What OF_TORCH names is imported by methods only; everything else may be imported by the main process."""
    names = [f"codecbench.{path.stem}" for path in (ROOT / "codecbench").glob("*.py")]
    names += [f"codecbench_plugins.{path.stem}" for path in (ROOT / "plugins").glob("*.py")]
    names += [f"codecbench_plugins.{path.parent.name}" for path in (ROOT / "plugins").glob("*/__init__.py")]
    names += ["codecbench_datasets.cifar10"]
    wanted = sorted(name for name in names if name not in OF_TORCH and not name.endswith("__init__"))
    assert set(names) >= OF_TORCH
    code = f"""
import importlib, sys
for name in {wanted!r}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""
    python(code, tmp_path)
    assert len(wanted) > 25


def test_codecs_are_listed_from_an_empty_folder(tmp_path: Path) -> None:
    done = python("from codecbench.cli import main; main(['list', 'codecs', '--json'])", tmp_path)
    listed = {row["name"] for row in json.loads(done.stdout)}
    assert {"raw", "interpolation", "jpeg-huffman", "quant-huffman"} <= listed
    assert list(tmp_path.iterdir()) == []


def test_builtin_plugins_are_entry_points_like_any_other() -> None:
    ours = {entry.value for entry in entry_points(group="codecbench") if entry.dist and entry.dist.name == "codecbench"}
    modules = {f"codecbench_plugins.{p.stem}" for p in (ROOT / "plugins").glob("*.py") if p.stem != "__init__"}
    modules |= {f"codecbench_plugins.{p.parent.name}" for p in (ROOT / "plugins").glob("*/__init__.py")}
    assert modules <= ours, "a file in plugins/ without its entry point in pyproject.toml"
    assert "codecbench_datasets.cifar10" in ours


@pytest.mark.parametrize("package", FOLDERS.values())
def test_packages_are_typed(package: str) -> None:
    assert (files(package) / "py.typed").is_file()


def test_the_wheel_holds_every_file_and_nothing_else(tmp_path: Path) -> None:
    """Built by pip as for a user, but from a copy and with the setuptools that is here: nothing is downloaded."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", *FOLDERS):
        whole = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        whole(ROOT / name, source / name)
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    done = subprocess.run([sys.executable, "-m", *build], cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, package in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == wanted
