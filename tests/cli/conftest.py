"""Fixtures of the tests of commands."""

from __future__ import annotations

import pytest
from support.cli import FakePair
from support.runs import LocalPluginCatalogue


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that need the model's cuts are told them."""
    monkeypatch.setattr("codecbench.harness.run.Pair", FakePair)
    monkeypatch.setattr("codecbench.harness.run.PluginCatalogue", LocalPluginCatalogue)
    monkeypatch.setattr("codecbench.workers.pair.Pair", FakePair)
