"""The two model processes: what each of them is told."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.paths import FETCHED

from codecbench.errors import CodecbenchError
from codecbench.registry import load_file, reference
from codecbench.workers.pair import Pair, WorkloadRef


def pair(data_dir: Path) -> Pair:
    return Pair(WorkloadRef(reference(load_file(FETCHED).Fetched), data_dir, "cpu"))


def test_both_processes_find_fetched_weights(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "seed.txt").write_text("5")
    with pair(tmp_path) as processes:
        assert processes.device.describe_workload().weights_sha256 == hashlib.sha256(b"5").hexdigest()
        processes.use_split("stem")
        assert processes.edge.alive


def test_weights_that_were_not_fetched_are_named(tmp_path: Path) -> None:
    with pair(tmp_path) as processes, pytest.raises(CodecbenchError, match=r"seed\.txt"):
        processes.device.describe_workload()
