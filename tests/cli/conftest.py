"""Fixtures of the tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import Cli, Ended, FakePair
from support.runs import LocalPluginCatalogue

from codecbench.cli.main import main


@pytest.fixture
def cli(prepared: None, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def cli(*words: str | Path) -> Ended:
        status = 0
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            status = int(end.code or 0)
        return Ended(status, *capsys.readouterr())

    return cli


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that need the model's cuts are told them."""
    monkeypatch.setattr("codecbench.harness.run.Pair", FakePair)
    monkeypatch.setattr("codecbench.harness.run.PluginCatalogue", LocalPluginCatalogue)
    monkeypatch.setattr("codecbench.workers.pair.Pair", FakePair)
