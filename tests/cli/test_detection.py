"""A detector in an ONNX file and a folder of pictures with boxes give a table, without any Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cli import Cli
from support.detector import boxed_folder, square_detector

pytestmark = pytest.mark.usefixtures("prepared")
"""Workers are forked from a process that has imported torch, which is quicker than starting each."""


def test_a_detector_in_a_file_gives_a_table(cli: Cli, tmp_path: Path) -> None:
    square_detector(tmp_path / "squares.onnx")
    boxed_folder(tmp_path / "boxes")
    ended = cli(
        "run", "--model", "onnx:squares.onnx:bgr255", "--data", "coco:boxes", "--task", "detection", "--out", "out",
        "--codec", "quant-rans:step=0.5", "--codec", "klt:step=0.1", "--codec", "klt-task:step=0.1",
        "--split", "Conv_0",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    assert "AP50 %" in ended.out
    records = {
        found["key"]["codec"]: found
        for path in (tmp_path / "out").rglob("*.json")
        if "key" in (found := json.loads(path.read_text()))
    }
    assert {codec: found["status"] for codec, found in records.items()} == {
        "quant-rans": "ok", "klt": "ok", "klt-task": "skipped",
    }  # fmt: skip
    assert "needs a tail that gradients flow through, and this model has none" in ended.out
    assert records["quant-rans"]["task"]["uncompressed"] == 100.0
