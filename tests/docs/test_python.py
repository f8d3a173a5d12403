"""The guide on Python and the notebook, executed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.paths import DOCS
from support.prepared import PreparedServer

from codecbench import Results
from codecbench.api import ResultPlan, ResultTable
from codecbench.figures.drawing import Drawing


def test_the_guide_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared_server: PreparedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared_server.share(monkeypatch)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"^```python\n(.*?)^```$", (DOCS / "guides" / "python.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    output = capsys.readouterr().out
    assert "smallest payload within a loss" in output
    assert "Device raspberry-pi-4, edge gpu-edge, link lte" in output
    assert len(names["frame"]) == len(names["results"])


def test_the_notebook_runs_and_shows_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    path = DOCS / "tutorial" / "results.ipynb"
    monkeypatch.chdir(path.parent)
    names: dict[str, Any] = {}
    shown = []
    for cell in json.loads(path.read_text())["cells"]:
        assert not cell.get("outputs"), "a notebook is committed without outputs"
        if cell["cell_type"] == "code":
            *before, last = "".join(cell["source"]).split("\n")
            exec("\n".join(before), names)
            shown.append(eval(last, names))
    kinds = [type(each) for each in shown]
    assert kinds[0] is Results
    assert (kinds[1], kinds[2], kinds[3]) == (ResultPlan, ResultTable, Drawing)
    assert shown[4]["input"] > 0
