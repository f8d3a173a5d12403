"""What a profile's predictions are held to on the machine that it was measured on. Needs minutes, and quiet."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.paths import SUPPORT

HELD = ("cifar10-resnet20", "timed-resnet50", "timed-speech")
"""The models whose heads are held to 20 %. Those of the MobileNetV2 are measured, too, and miss it."""


@pytest.mark.slow
def test_layers_that_were_held_out_and_whole_heads_are_predicted() -> None:
    command = [sys.executable, "-m", "support.device_bar", "3"]
    done = subprocess.run(command, cwd=SUPPORT.parent, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    if found["busy"] > 0.3:
        pytest.skip(f"other programs used {found['busy']} cores: times of the layers and of the heads do not compare")
    assert found["errors"]["count"] >= 200
    assert found["errors"]["median"] <= 0.15, found["errors"]
    off = {name: times["predicted_s"] / times["measured_s"] - 1 for name, times in found["heads"].items()}
    held = {name: error for name, error in off.items() if name.partition(" ")[0] in HELD}
    assert len({name.partition(" ")[0] for name in held}) == 3
    assert {name: error for name, error in held.items() if abs(error) > 0.2} == {}
