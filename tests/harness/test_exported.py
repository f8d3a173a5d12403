"""Models that torch.fx cannot trace are measured like all others, and so are models of two-byte values."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.paths import ATTENTION
from support.runs import RecordingReporter, record_of

from codecbench.experiment.config import RunConfig
from codecbench.harness.run import Run
from codecbench.results.store import Store

pytestmark = pytest.mark.usefixtures("prepared")
"""Workers are forked from a process that has imported torch, which is quicker than starting each."""


def run(out: Path, workload: str, *codecs: str, **options: object) -> None:
    config = RunConfig(
        workload=workload, samples="all", codec=list(codecs), out=out, plugin=[ATTENTION], preset="quick", **options
    )
    with Store(config.out).locked(), Run(config, RecordingReporter()) as job:
        summary = job.execute()
    assert (summary.failed, summary.failures) == (0, [])


def test_an_exported_model_is_measured_at_an_inner_cut(tmp_path: Path) -> None:
    run(tmp_path, "attentive", "raw", split=["block.add"])
    record = record_of(tmp_path, "raw", "block.add")
    assert record.tensor is not None
    assert record.size is not None
    assert record.cost is not None
    assert (record.tensor.shape, record.tensor.raw_bytes, record.size.payload_bytes.mean) == ([16, 8], 512, 512)
    assert record.cost.head_flop > 0


def test_raw_is_what_the_model_itself_would_send(tmp_path: Path) -> None:
    run(tmp_path, "attentive-bfloat16", "raw", split=["block.add"])
    record = record_of(tmp_path, "raw", "block.add")
    assert record.tensor is not None
    assert record.size is not None
    assert (record.tensor.dtype, record.tensor.raw_bytes, record.size.payload_bytes.mean) == ("float32", 256, 512)


@pytest.mark.slow
def test_a_learned_codec_fits_an_exported_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run(tmp_path / "out", "attentive", "deepcod-rd", split=["stem"], max_fit_s=5.0)
    assert [record.status for record in Store(tmp_path / "out").records()].count("ok") > 0
