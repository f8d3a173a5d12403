"""Cells that are scored in units have the records of cells that are scored in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import crews
from support.prepared import PreparedServer
from support.runs import RAW_BYTES, KeptProcesses, content_of, run

from codecbench.harness.chunks import GB, SHARES
from codecbench.workers.protocol import MODEL_BATCH

CODECS = ("raw:values=float32", "steady:bits=16", "bounded", "segfaults")
SMALL = {"split": ["input", "stem"], "scratch_gb": MODEL_BATCH * SHARES * RAW_BYTES["input"] / GB}
"""Options that make three batches of the samples, and as many units, at `input`."""


@pytest.fixture(scope="module")
def local(kept: KeptProcesses, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of the default executor."""
    out = tmp_path_factory.mktemp("local")
    with pytest.MonkeyPatch.context() as patch:
        kept.share(patch)
        summary, _ = run(out, *CODECS, **SMALL)
    assert (summary.ok, summary.failed) == (6, 2)
    return content_of(out)


def test_processes_give_the_records_of_one(
    tmp_path: Path, shared: KeptProcesses, prepared_server: PreparedServer, monkeypatch: pytest.MonkeyPatch,
    local: dict[str, Any],
) -> None:  # fmt: skip
    crews.share(prepared_server, monkeypatch)
    summary, _ = run(tmp_path, *CODECS, **SMALL, executor="processes", jobs=2)
    assert (summary.ok, summary.failed) == (6, 2)
    assert content_of(tmp_path) == local
