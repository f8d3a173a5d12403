"""The results that tests of the harness read."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.runs import KeptProcesses, run


@pytest.fixture(scope="session")
def measured(kept: KeptProcesses, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of raw, a codec that rounds and one that skips, at every default split; nothing writes to them."""
    out = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        kept.share(patch)
        # Batches smaller than the sample set, so that a cell encodes, decodes and scores at the same time.
        patch.setattr("codecbench.harness.chunks.BATCH", 32)
        summary, reporter = run(out, "raw:values=float32", "steady", "skips-input", split=[])
    assert (summary.ok, summary.skipped, summary.failed, summary.present) == (11, 1, 0, 0)
    assert reporter.cells == len(reporter.finished) == 12
    return out
