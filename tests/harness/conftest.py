"""The results that tests of the harness read."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.runs import KeptPair, run, share


@pytest.fixture(scope="session")
def measured(kept_pair: KeptPair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of raw, a codec that rounds and one that skips, at every default split; nothing writes to them."""
    out = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        share(kept_pair, patch)
        # Chunks smaller than the sample set, so that the device encodes while the edge decodes.
        patch.setattr("codecbench.workers.pair.CHUNK", 24)
        summary, reporter = run(out, "raw:values=float32", "steady", "skips-input", split=[])
    assert (summary.ok, summary.skipped, summary.failed, summary.present) == (11, 1, 0, 0)
    assert reporter.cells == len(reporter.finished) == 12
    return out
