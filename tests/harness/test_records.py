"""Records that a run writes: sizes of states, skips, and the provenance."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from support.paths import ROOT, TINY
from support.runs import KeptPair, RecordingReporter, record_of

from codecbench.experiment.config import RunConfig
from codecbench.harness.run import Run
from codecbench.results.store import Store


def test_state_that_needs_no_fit_is_exported_and_billed(tmp_path: Path, shared: KeptPair) -> None:
    options = {
        "workload": "tiny", "plugin": [TINY], "codec": ["jpeg-huffman:quality=50,tables=shared"],
        "split": ["input"], "samples": 4, "out": tmp_path / "out",
    }  # fmt: skip
    assert Run(RunConfig.model_validate(options), RecordingReporter()).execute().ok == 1
    (record,) = Store(tmp_path / "out").records()
    assert record.size is not None
    assert record.size.device_state_bytes == record.size.edge_state_bytes > 300


def test_a_skip_is_recorded_with_its_reason(measured: Path) -> None:
    record = record_of(measured, "skips-input", "input")
    assert (record.status, record.reason) == ("skipped", "takes no images")
    assert (record.task, record.size, record.samples) == (None, None, None)
    assert record_of(measured, "skips-input", "stem").status == "ok"


def test_provenance_makes_the_record_again_and_names_nobody(measured: Path) -> None:
    for path in measured.glob("*/*/*.json"):
        text = path.read_text()
        names = [str(Path.cwd()), str(Path.home()), socket.gethostname(), str(ROOT), str(measured), sys.prefix]
        assert not [name for name in names if name in text]
    provenance = record_of(measured, "skips-input", "stem").provenance
    assert provenance.plugin == "file misbehaving.py"
    assert provenance.command == (
        "codecbench run --workload tiny --codec skips-input --split stem --preset quick --samples 64 --seed 0"
        " --plugin tiny.py --plugin misbehaving.py"
    )
    assert (provenance.threads, provenance.torch_device) == (1, "cpu")
    assert record_of(measured, "raw").provenance.plugin.startswith("codecbench ")
    assert record_of(measured, "raw").row == "raw (float32)"
