"""Records that a run writes: sizes of states, skips, and the provenance."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from support.codec_files import plain_codec
from support.paths import ROOT, TINY
from support.runs import KeptProcesses, execute, isolation_here, record_of, run

from codecbench.experiment.config import RunConfig
from codecbench.results.store import Store


def test_state_that_needs_no_fit_is_exported_and_billed(tmp_path: Path, shared: KeptProcesses) -> None:
    options = {
        "workload": "tiny", "plugin": [TINY], "codec": ["jpeg-huffman:quality=50,tables=shared"],
        "split": ["stem"], "samples": 4, "out": tmp_path / "out",
    }  # fmt: skip
    assert execute(RunConfig.model_validate(options))[0].ok == 1
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


def test_a_run_records_the_isolation_of_each_cell(measured: Path) -> None:
    here = isolation_here()
    for record in Store(measured).records():
        where = record.provenance
        assert (where.isolation, where.isolation_detail, where.mixed_plugin) == (here.label, here.detail, False)


def test_a_codec_from_the_file_of_the_workload_is_recorded_as_such(tmp_path: Path, shared: KeptProcesses) -> None:
    both = tmp_path / "both.py"
    both.write_text(TINY.read_text() + plain_codec("Own", "own"))
    options = {
        "workload": "tiny", "plugin": [both], "codec": ["own", "raw:values=float32"], "split": ["input"], "samples": 4,
        "out": tmp_path / "out",
    }  # fmt: skip
    execute(RunConfig.model_validate(options))
    found = {record.key.codec: record.provenance.mixed_plugin for record in Store(tmp_path / "out").records()}
    assert found == {"own": True, "raw": False}


def test_a_record_that_is_changed_after_the_run_is_measured_again(tmp_path: Path, shared: KeptProcesses) -> None:
    run(tmp_path, "steady:bits=16")
    (path,) = tmp_path.glob("*/*/*.json")
    other = "audit" if isolation_here().label == "kernel" else "kernel"
    path.write_text(path.read_text().replace(f'"isolation": "{isolation_here().label}"', f'"isolation": "{other}"'))
    summary, reporter = run(tmp_path, "steady:bits=16")
    assert summary.ok == 1
    assert "was changed after it was written" in reporter.logged[0]
    assert record_of(tmp_path, "steady").provenance.isolation == isolation_here().label


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [("1.0, 0.0", "the denominators of its 8 samples sum to 0"),
     ("float('nan'), 1.0", "8 of 8 outcomes are not finite numbers")],
)  # fmt: skip
def test_a_metric_without_meaning_is_null_and_the_run_says_why(
    tmp_path: Path, shared: KeptProcesses, outcome: str, reason: str
) -> None:
    scored = "return float(int(output[0].argmax()) == target), 1.0"
    source = TINY.read_text()
    assert scored in source
    file = tmp_path / "nothing.py"
    file.write_text(source.replace(scored, f"return {outcome}").replace('name = "tiny"', 'name = "nothing"'))
    options = {
        "workload": "nothing", "plugin": [file], "codec": ["raw"], "split": ["input"], "samples": 8,
        "out": tmp_path / "out",
    }  # fmt: skip
    summary, reporter = execute(RunConfig.model_validate(options))
    assert summary.ok == 2
    for record in Store(tmp_path / "out").records():
        assert record.task is not None
        assert record.choice is not None
        assert (record.task.value, record.task.change, record.task.p_value, record.choice.change) == (None,) * 4
    texts = [path.read_text() for path in (tmp_path / "out").glob("*/*/*.json")]
    assert not [text for text in texts if "NaN" in text or "Infinity" in text]
    said = [line for line in reporter.logged if "undefined" in line]
    assert said[0].endswith(f"top-1 is undefined: {reason}; see the workload's score")
    assert len(said) == 2, "one for the codec and one for the uncompressed model, whatever the number of cells"
