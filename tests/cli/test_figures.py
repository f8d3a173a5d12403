"""`codecbench figure`: it lists, and draws into a folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
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


@pytest.mark.parametrize(("size", "width_mm"), [("paper", 180), ("talk", 150)])
def test_a_figure_for_a_slide_is_narrower_so_that_its_text_is_larger(
    run: Any, tmp_path: Path, size: str, width_mm: float
) -> None:
    fill(tmp_path / "out", records(("input", "stem")))
    words = ("--out", tmp_path / "out", "--into", tmp_path, "--link", "lte", "--budget", 1, "--size", size)
    assert run("crossing", *words, "--format", "svg", "--format", "png").exit_code == 0
    (width_pt,) = re.findall(r'<svg[^>]* viewBox="0 0 ([0-9.]+) ', (tmp_path / "crossing.svg").read_text())
    assert float(width_pt) == pytest.approx(width_mm / 25.4 * 72, abs=0.1)
    with Image.open(tmp_path / "crossing.png") as image:
        assert image.width >= 1400
