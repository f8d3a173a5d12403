"""Timings of drawn layers. How long things take is never asserted here."""

from __future__ import annotations

import pytest

from codecbench.devices import cases as device_cases
from codecbench.devices import timing as device_measure
from codecbench.devices.timing import measure_block


def test_a_block_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_cases, "BLOCK", 5)
    monkeypatch.setattr(device_measure, "ROUNDS", 2)
    found = measure_block(0, 3)
    assert len(found) == 5
    assert all(seconds > 0 for _, seconds in found)
