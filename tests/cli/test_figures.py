"""`codecbench figure`: it lists, and draws into a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from support.figures import records
from typer.testing import CliRunner

from codecbench.cli.figures import figure as command
from codecbench.errors import UsageError
from codecbench.figures import catalogue as figure
from codecbench.results.cell import CellKey
from codecbench.results.record import Record
from codecbench.results.store import Store


def test_listing_imports_no_matplotlib_and_no_torch() -> None:
    modules = "codecbench.cli.figures, codecbench.figures.catalogue"
    code = f"import sys, {modules}; print({{'matplotlib', 'torch'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def fill(out: Path, found: list[Record]) -> None:
    """A results folder of these records."""
    for record in found:
        Store(out).write(CellKey(**record.key.model_dump()), record)


@pytest.fixture
def run() -> Any:
    app = typer.Typer()
    app.command()(command)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_the_command_lists(run: Any) -> None:
    assert [line.split()[0] for line in run("--list").stdout.splitlines()[2:]] == list(figure.KINDS)


def test_the_command_draws_into_a_folder(run: Any, tmp_path: Path) -> None:
    fill(tmp_path / "out", records(("input",)))
    ended = run("crossing", "--out", tmp_path / "out", "--into", tmp_path / "figures", "--budget", 1, "--link", "lte")
    assert ended.exit_code == 0
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["crossing.svg"]
    assert "lte, ms (modelled)" in (tmp_path / "figures" / "crossing.svg").read_text()
    with pytest.raises(UsageError, match="workload in these records"):
        run("--out", tmp_path / "out", "--workload", "other")
