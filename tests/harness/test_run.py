"""The loop over cells: what is measured, skipped, resumed, measured again, and what a bad codec or a kill costs.

Most runs here share one pair of processes, since starting them is what takes time; those that are about processes start
their own.
"""

from __future__ import annotations

import errno
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.paths import MISBEHAVING, ROOT, TINY
from support.runs import Heard, KeptPair

from codecbench.codec import TensorSpec
from codecbench.errors import DataError, PluginError, UsageError
from codecbench.experiment.config import RunConfig
from codecbench.fitting import states
from codecbench.harness import run as run_module
from codecbench.harness.run import Run, Summary
from codecbench.measure import percentile
from codecbench.results.record import SCHEMA, NewerSchemaError, Record
from codecbench.results.store import LAYERS, Store
from codecbench.workers.pair import Pair, WorkloadRef
from codecbench.workload import Subset

CODECS = MISBEHAVING
RAW_BYTES = {"input": 3 * 8 * 8 * 4, "stem": 6 * 4 * 4 * 4, "block": 6 * 4 * 4 * 4}


@pytest.fixture(scope="module")
def kept_pair() -> Iterator[KeptPair]:
    files = [TINY, CODECS]
    run = Run(RunConfig(workload="tiny", samples="all", plugin=files), Heard())
    pair = KeptPair(run.ref, {})
    yield pair
    Pair.__exit__(pair, None, None, None)


@pytest.fixture
def shared(kept_pair: KeptPair, monkeypatch: pytest.MonkeyPatch) -> KeptPair:
    """Every run of the test takes the one pair of processes."""

    def make(ref: WorkloadRef, counts: Mapping[Subset, int]) -> KeptPair:
        kept_pair.workload, kept_pair.counts = ref, counts
        return kept_pair

    monkeypatch.setattr(run_module, "Pair", make)
    return kept_pair


def configured(out: Path, *codecs: str, plugin: tuple[Path, ...] = (CODECS,), **options: Any) -> RunConfig:
    return RunConfig(
        **{"workload": "tiny", "samples": "all", "split": ["stem"], "codec": list(codecs), **options},
        out=out,
        plugin=[TINY, *plugin],
    )


def run(out: Path, *codecs: str, **options: Any) -> tuple[Summary, Heard]:
    heard = Heard()
    return Run(configured(out, *codecs, **options), heard).execute(), heard


def record_of(out: Path, codec: str, split: str = "stem") -> Record:
    (record,) = (r for r in Store(out).records() if r.key.codec == codec and r.key.split == split)
    return record


def lasting(text: str) -> dict[str, Any]:
    """A record without its timings, what a process's memory happened to be, and the state of the checkout meanwhile."""
    values: dict[str, Any] = json.loads(text)
    values.pop("time")
    values.pop("timed")
    for part in ("started_utc", "git", "dirty"):
        values["provenance"].pop(part)
    for part in ("encoder_peak_bytes", "device_peak_bytes"):
        (values["cost"] or {}).pop(part, None)
    return values


def content_of(out: Path) -> dict[str, Any]:
    """Every file of a results folder: records without timings, samples byte for byte."""
    assert not list(out.rglob("*.tmp"))
    files = {str(p.relative_to(out)): p for p in out.rglob("*") if p.is_file() and p.name not in (".lock", LAYERS)}
    return {name: lasting(p.read_text()) if p.suffix == ".json" else p.read_bytes() for name, p in files.items()}


def files_of(out: Path, ending: str) -> dict[str, tuple[int, int]]:
    """Identity and time of change of each file: a file that was written again is another one."""
    found = [p for p in out.rglob(f"*{ending}") if p.name != LAYERS]
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in found}


# --- what is measured -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(kept_pair: KeptPair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of raw, a codec that rounds and one that skips, at every default split; nothing writes to them."""
    out = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "Pair", lambda ref, counts: _reused(kept_pair, ref, counts))
        # Chunks smaller than the sample set, so that the device encodes while the edge decodes.
        patch.setattr("codecbench.workers.pair.CHUNK", 24)
        summary, heard = run(out, "raw:values=float32", "steady", "skips-input", split=[])
    assert (summary.ok, summary.skipped, summary.failed, summary.present) == (11, 1, 0, 0)
    assert heard.cells == len(heard.ended) == 12
    return out


def _reused(pair: KeptPair, ref: WorkloadRef, counts: Mapping[Subset, int]) -> KeptPair:
    pair.workload, pair.counts = ref, counts
    return pair


@pytest.mark.parametrize("split", ["input", "stem", "block"])
def test_raw_reproduces_the_models_own_outcomes_at_every_split(measured: Path, split: str) -> None:
    record = record_of(measured, "raw", split)
    columns = Store(measured).samples(record)
    assert np.array_equal(columns["numerator"], columns["uncompressed_numerator"])
    assert np.array_equal(columns["denominator"], np.ones(64 + 24))
    assert 0 < columns["numerator"].sum() < 88
    assert columns["subset"].tolist() == ["test"] * 64 + ["choice"] * 24
    assert columns["sample_id"].tolist() == [*range(2_000, 2_064), *range(1_000, 1_024)]
    assert set(columns["payload_bytes"]) == {RAW_BYTES[split]}
    assert record.task is not None
    assert record.task.value == record.task.uncompressed
    assert (record.task.n, record.task.change, record.task.p_value) == (64, 0.0, 1.0)
    assert record.task.value == 100 * columns["numerator"][:64].mean()


def test_a_record_keeps_the_steps_of_each_timed_sample(measured: Path) -> None:
    record = record_of(measured, "raw", "stem")
    assert record.timed is not None
    assert record.time is not None
    assert record.timed.payload_bytes == [RAW_BYTES["stem"]] * 24
    for step in ("head_s", "encode_s", "decode_s", "tail_s"):
        seconds, summary = getattr(record.timed, step), getattr(record.time, step)
        assert len(seconds) == summary.n == 24
        assert percentile(seconds, 0.5) == pytest.approx(summary.median, abs=1e-8)
    others = [r.timed for r in Store(measured).records() if r.key.split == "stem" and r.timed is not None]
    assert len(others) > 1
    assert all(other.head_s == record.timed.head_s for other in others)


def test_a_record_tells_sizes_shapes_and_choice(measured: Path) -> None:
    narrow, wide = (r for r in Store(measured).records() if (r.key.codec, r.key.split) == ("steady", "stem"))
    assert (narrow.key.point, wide.key.point) == ({"bits": 16}, {"bits": 32})
    assert narrow.tensor is not None
    assert (narrow.tensor.shape, narrow.tensor.dtype, narrow.tensor.raw_bytes) == ([6, 4, 4], "float32", 384.0)
    assert narrow.size is not None
    assert narrow.size.payload_bytes.mean == narrow.size.payload_bytes.max == 192
    assert (narrow.size.device_state_bytes, narrow.size.edge_state_bytes) == (0, 0)
    assert narrow.choice is not None
    assert narrow.choice.n == 24
    assert narrow.choice.sample_set.startswith("choice-24-")
    assert narrow.key.sample_set.startswith("test-64-")
    assert narrow.quality is None


def test_image_inputs_have_a_quality(measured: Path) -> None:
    raw = record_of(measured, "raw", "input").quality
    assert raw is not None
    assert (raw.psnr_db, raw.ssim) == (None, 1.0)
    rounded = next(r for r in Store(measured).records() if r.key.point == {"bits": 16} and r.key.split == "input")
    assert rounded.quality is not None
    assert rounded.quality.psnr_db is not None
    assert 60 < rounded.quality.psnr_db < 90
    assert 0.999 < rounded.quality.ssim < 1


def test_timings_have_a_sample_each(measured: Path) -> None:
    for record in Store(measured).records():
        if record.status == "ok":
            assert record.time is not None
            steps = (record.time.head_s, record.time.encode_s, record.time.decode_s, record.time.tail_s)
            assert [step.n for step in steps] == [24] * 4
            assert all(0 < step.median <= step.p95 for step in steps)
            assert record.time.fit_s is None


def test_costs_are_null_where_nothing_was_counted(measured: Path) -> None:
    cost = record_of(measured, "raw", "stem").cost
    assert cost is not None
    assert cost.head_flop == 2 * 27 * 6 * 16
    assert (cost.encoder_flop, cost.encoder_parameters) == (None, None)
    assert cost.head_peak_bytes is not None
    assert cost.head_peak_bytes > 0
    assert cost.device_peak_bytes == max(cost.head_peak_bytes, cost.encoder_peak_bytes or 0)


def test_state_that_needs_no_fit_is_exported_and_billed(tmp_path: Path) -> None:
    options = {
        "workload": "tiny", "plugin": [TINY], "codec": ["jpeg-huffman:quality=50,tables=shared"],
        "split": ["input"], "samples": 4, "out": tmp_path / "out",
    }  # fmt: skip
    assert Run(RunConfig.model_validate(options), Heard()).execute().ok == 1
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


def test_repeating_a_run_does_nothing(measured: Path, shared: KeptPair) -> None:
    before = files_of(measured, "")
    summary, heard = run(measured, "raw:values=float32", "steady", "skips-input", split=[])
    assert (summary.ok, summary.skipped, summary.failed, summary.present) == (0, 0, 0, 12)
    assert (heard.cells, heard.ended, heard.said) == (0, [], [])
    assert {k: v for k, v in files_of(measured, "").items() if not k.endswith(".lock")} == {
        k: v for k, v in before.items() if not k.endswith(".lock")
    }


# --- what is measured again -----------------------------------------------------------------------------------------


MINE = """
@hookimpl
def codecbench_register_codecs():
    return [Steady]
"""


def plugin_with(folder: Path, *changes: tuple[str, str]) -> Path:
    """A plugin file with one codec, `mine`, that will be loaded as if by a new process."""
    source = CODECS.read_text()
    source = source[: source.index("class SkipsInput")] + MINE
    for old, new in (('name = "steady"', 'name = "mine"'), *changes):
        assert old in source
        source = source.replace(old, new)
    path = folder / "mine.py"
    path.write_text(source)
    for name in [name for name in sys.modules if name.startswith("codecbench_file_mine_")]:
        del sys.modules[name]
    return path


def method(source: str) -> tuple[str, str]:
    """A class method for `plugin_with` to add."""
    return "    bits: int\n", f"    bits: int\n    @classmethod\n    def {source}\n"


def test_a_changed_source_is_measured_again_and_a_changed_version_is_another_cell(
    tmp_path: Path, shared: KeptPair
) -> None:
    out, asked = tmp_path / "out", "mine:bits=16"
    run(out, asked, plugin=(plugin_with(tmp_path),))
    first = record_of(out, "mine")

    edited = plugin_with(tmp_path, ("bits: int\n", "bits: int\n    edited = True\n"))
    summary, heard = run(out, asked, plugin=(edited,))
    assert (summary.ok, summary.present, summary.stale) == (1, 0, 1)
    assert heard.said == ["stem mine bits=16: the codec's source or the weights have changed; measuring it again"]
    again = record_of(out, "mine")
    assert again.cell == first.cell
    assert again.provenance.source_hash != first.provenance.source_hash

    raised = plugin_with(tmp_path, ("bits: int\n", "bits: int\n    version = 2\n"))
    summary, heard = run(out, asked, plugin=(raised,))
    assert (summary.ok, summary.present, summary.stale) == (1, 0, 0)
    assert sorted(r.key.codec_version for r in Store(out).records()) == [1, 2]


def test_fresh_measures_again(tmp_path: Path, shared: KeptPair) -> None:
    run(tmp_path, "steady:bits=16")
    before = files_of(tmp_path, ".json") | files_of(tmp_path, ".parquet")
    summary, _ = run(tmp_path, "steady:bits=16", fresh=True)
    after = files_of(tmp_path, ".json") | files_of(tmp_path, ".parquet")
    assert (summary.ok, summary.present) == (1, 0)
    assert before.keys() == after.keys()
    assert not before.items() & after.items()


def test_an_accuracy_pass_whose_timing_is_missing_is_not_done_again(tmp_path: Path, shared: KeptPair) -> None:
    run(tmp_path, "steady:bits=16")
    whole = content_of(tmp_path)
    samples = files_of(tmp_path, ".parquet")
    next(tmp_path.glob("*/*/*.json")).unlink()
    summary, _ = run(tmp_path, "steady:bits=16")
    assert summary.ok == 1
    assert files_of(tmp_path, ".parquet") == samples
    assert content_of(tmp_path) == whole


@pytest.mark.parametrize("ended", ["before its record", "after its record"])
def test_more_choice_samples_than_a_cell_has_are_measured_and_fewer_are_not(
    tmp_path: Path, shared: KeptPair, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    def choice_samples() -> int:
        choice = record_of(tmp_path, "steady").choice
        assert choice is not None
        return choice.n

    monkeypatch.setattr("codecbench.experiment.config.QUICK_CHOICE_SAMPLES", 10)
    run(tmp_path, "steady:bits=16")
    assert choice_samples() == 10
    if ended == "before its record":
        next(tmp_path.glob("*/*/*.json")).unlink()
    summary, heard = run(tmp_path, "steady:bits=16", preset="full")
    assert (summary.ok, choice_samples()) == (1, 24)
    if ended == "after its record":
        assert heard.said == ["stem steady bits=16: has 10 choice samples, not 24; measuring it again"]
    summary, _ = run(tmp_path, "steady:bits=16")
    assert (summary.present, choice_samples()) == (1, 24)


@pytest.mark.parametrize("damage", ["samples", "record"])
def test_a_damaged_result_is_said_and_measured_again(tmp_path: Path, shared: KeptPair, damage: str) -> None:
    run(tmp_path, "steady:bits=16")
    whole = content_of(tmp_path)
    (path,) = tmp_path.glob("*/*/*.parquet" if damage == "samples" else "*/*/*.json")
    path.write_bytes(path.read_bytes()[:-9])
    summary, heard = run(tmp_path, "steady:bits=16")
    assert summary.ok == 1
    assert len(heard.said) == 1
    assert str(path) in heard.said[0]
    assert heard.said[0].endswith("measuring the cell again")
    assert content_of(tmp_path) == whole


def test_a_record_of_a_later_version_is_not_overwritten(tmp_path: Path, shared: KeptPair) -> None:
    run(tmp_path, "steady:bits=16")
    (path,) = tmp_path.glob("*/*/*.json")
    path.write_text(path.read_text().replace(f'"schema": {SCHEMA}', '"schema": 99'))
    newer = path.read_text()
    with pytest.raises(NewerSchemaError, match="upgrade codecbench"):
        run(tmp_path, "steady:bits=16")
    assert path.read_text() == newer


def test_a_skipped_cell_whose_reason_has_gone_is_measured(tmp_path: Path, shared: KeptPair) -> None:
    missing = plugin_with(tmp_path, method("unavailable(cls): return 'needs a package'"))
    summary, _ = run(tmp_path / "out", "mine:bits=16", plugin=(missing,))
    assert summary.skipped == 1
    path = next((tmp_path / "out").glob("*/*/*.json"))
    assert json.loads(path.read_text())["reason"] == "needs a package"
    # The same source, now that the package is there.
    run_codec = Run(configured(tmp_path / "out", "mine:bits=16", plugin=(missing,)), Heard())
    run_codec.asked[0][0].unavailable = classmethod(lambda cls: None)  # type: ignore[method-assign, assignment]
    assert run_codec.execute().ok == 1


# --- what a bad codec costs -----------------------------------------------------------------------------------------


def test_a_bad_codec_costs_its_own_cell_only(tmp_path: Path, shared: KeptPair) -> None:
    bad = ("raises-when-asked", "segfaults", "hangs-in-decode")
    summary, heard = run(tmp_path, *bad, "steady", timeout_s=10.0)
    reasons = {r.key.codec: r.reason or "" for r in Store(tmp_path).records() if r.status == "failed"}
    assert reasons.keys() == set(bad)
    assert reasons["raises-when-asked"] == (
        "asked about this tensor, the codec raised ZeroDivisionError: division by zero"
    )
    assert reasons["segfaults"] == "the device process was killed by SIGSEGV"
    assert reasons["hangs-in-decode"] == (
        "no answer from the edge process within the cell's limit of 10 s (--timeout-s)"
    )
    assert [r.status for r in Store(tmp_path).records() if r.key.codec == "steady"] == ["ok", "ok"]
    assert summary.failed == len(reasons)
    assert sorted(summary.failures) == sorted(f"stem {codec}: {reason}" for codec, reason in reasons.items())
    assert not [r.samples for r in Store(tmp_path).records() if r.status == "failed" and r.samples]

    again, heard = run(tmp_path, "segfaults", timeout_s=10.0)
    assert (again.failed, again.present, heard.cells) == (0, 1, 0)
    assert again.failures == [f"stem segfaults: {reasons['segfaults']} (in an earlier run; --fresh tries again)"]


def test_points_that_are_no_json_scalars_are_refused(tmp_path: Path, shared: KeptPair) -> None:
    odd = plugin_with(tmp_path, method("points_for(cls, spec): return ({'bits': (1, 2)},)"))
    with pytest.raises(PluginError, match=r"mine\.py:Steady: bits=\(1, 2\) in a point is no JSON scalar"):
        run(tmp_path / "out", "mine", plugin=(odd,))


def test_a_whole_number_is_the_same_point_as_its_fraction(tmp_path: Path, shared: KeptPair) -> None:
    job = Run(configured(tmp_path, "interpolation:scale=1", split=["stem"]), Heard())
    (cell,) = job.plan()
    assert repr(cell.key.point["scale"]) == "1.0"


# --- fitting --------------------------------------------------------------------------------------------------------


def test_a_fit_runs_once_in_its_own_process_and_its_state_is_kept(
    tmp_path: Path, shared: KeptPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    summary, _ = run(tmp_path / "out", "learns", "fails-to-learn")
    assert (summary.ok, summary.failed) == (1, 1)
    assert record_of(tmp_path / "out", "fails-to-learn").reason == "fit: FloatingPointError: the loss is nan"
    record = record_of(tmp_path / "out", "learns")
    assert record.time is not None
    assert record.time.fit_s is not None
    assert record.size is not None

    (kept,) = states.cache_folder().iterdir()
    state = states.read(kept.parent, kept.stem)
    assert state is not None
    about = {**record.key.model_dump(), "sample_set": state.about["sample_set"], "starts_from": None}
    assert about == state.about
    told = json.loads(state.device)
    assert record.size.device_state_bytes == len(state.device)
    assert record.size.edge_state_bytes == 0
    assert (told["count"], told["train"], told["held_out_count"], told["held_out"]) == (32, 32, 8, 8)
    assert told["overlap"] == 0
    assert not told["same_order"]
    assert told["gradient"]
    assert told["time_left"]
    assert len(told["targets"]) == 8
    assert set(told["targets"]) <= {0, 1, 2, 3}

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(Run, "_fit", refuse)
    summary, _ = run(tmp_path / "out", "learns", fresh=True)
    assert summary.ok == 1
    again = record_of(tmp_path / "out", "learns").time
    assert again is not None
    assert again.fit_s == record.time.fit_s


def test_fits_without_a_run_go_where_they_are_wanted(tmp_path: Path, shared: KeptPair) -> None:
    config = RunConfig(
        workload="tiny", codec=["learns", "fails-to-learn", "steady"], split=["stem"], samples="all",
        plugin=[TINY, CODECS],
    )  # fmt: skip
    heard = Heard()
    summary = Run(config, heard).fit(tmp_path)
    assert (summary.fitted, summary.present) == (1, 0)
    assert summary.failures == ["stem fails-to-learn: fit: FloatingPointError: the loss is nan"]
    assert [status for status, _ in heard.ended] == ["ok", "failed"]
    (kept,) = (tmp_path / "learns").iterdir()
    state = states.read(kept.parent, kept.stem)
    assert state is not None
    assert state.about["codec"] == "learns"
    again = Run(config.model_copy(update={"codec": ["learns"]}), Heard()).fit(tmp_path)
    assert (again.fitted, again.present) == (0, 1)


def test_the_bound_of_a_payload_is_recorded(tmp_path: Path, shared: KeptPair) -> None:
    run(tmp_path, "bounded", "steady")
    record = record_of(tmp_path, "bounded")
    assert record.size is not None
    columns = Store(tmp_path).samples(record)
    test = columns["subset"] == "test"
    assert columns["bound_bytes"].shape == columns["payload_bytes"].shape
    assert record.size.estimated_bytes == columns["bound_bytes"][test].mean()
    plain = next(r for r in Store(tmp_path).records() if r.key.codec == "steady")
    assert plain.size is not None
    assert plain.size.estimated_bytes is None


# --- the results folder ---------------------------------------------------------------------------------------------


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any process that is started fails the test."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("codecbench.workers.pair.DeviceClient", refuse)
    monkeypatch.setattr("codecbench.workers.pair.EdgeClient", refuse)


def test_a_folder_in_use_is_refused_before_any_work(tmp_path: Path, no_processes: None) -> None:
    with Store(tmp_path).locked(), pytest.raises(UsageError, match="another run is writing to"):
        run(tmp_path, "steady")


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, no_processes: None) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to .*; choose another --out"):
        run(tmp_path / "file" / "out", "steady")


def test_a_full_disk_keeps_earlier_records_and_the_run_goes_on_later(
    tmp_path: Path, shared: KeptPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = iter(range(100))

    def fsync(descriptor: int) -> None:
        if next(written) == 3:  # after the samples of both cells and the record of the first
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("codecbench.results.store.os.fsync", fsync)
        with pytest.raises(DataError, match="the disk is full; earlier records are kept, so run the same"):
            run(tmp_path, "steady")
    assert len(files_of(tmp_path, ".parquet")) == 2
    assert not list(tmp_path.rglob("*.tmp"))
    (kept,) = files_of(tmp_path, ".json").items()
    summary, _ = run(tmp_path, "steady")
    assert (summary.ok, summary.present) == (1, 1)
    assert kept in files_of(tmp_path, ".json").items()


# --- plans ----------------------------------------------------------------------------------------------------------


def test_the_grid(tmp_path: Path, shared: KeptPair) -> None:
    def cells(*codecs: str, **options: Any) -> list[str]:
        return [cell.label for cell in Run(configured(tmp_path, *codecs, **options), Heard()).plan()]

    assert cells("steady", split=["block", "input", "block"]) == [
        "block steady bits=16", "block steady bits=32", "input steady bits=16", "input steady bits=32",
    ]  # fmt: skip
    assert cells("steady:bits=8", "steady:bits=8") == ["stem steady bits=8"]
    every = cells("steady:bits=16", split=[], all_splits=True)
    assert {"input steady bits=16", "stem.0 steady bits=16", "classifier steady bits=16"} <= set(every)
    with pytest.raises(UsageError, match="no split point 'steem'; did you mean 'stem'"):
        cells("steady", split=["steem"])
    with pytest.raises(
        UsageError, match=r"codec 'steady' has no argument 'bist'; did you mean 'bits'\?; it takes: bits"
    ):
        cells("steady:bist=3")
    assert not list(tmp_path.iterdir())


def test_more_samples_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--samples 65: workload 'tiny' has 64 test samples$"):
        Run(configured(tmp_path, samples=65), Heard())
    with pytest.raises(UsageError, match="run 'codecbench data get cifar10' for more"):
        Run(configured(tmp_path, samples=20_000, workload="cifar10-resnet20"), Heard())


def test_fewer_samples_are_the_first_ones(tmp_path: Path, shared: KeptPair) -> None:
    summary, _ = run(tmp_path, "steady:bits=16", samples=5)
    assert summary.ok == 1
    record = record_of(tmp_path, "steady")
    assert record.key.sample_set.startswith("test-5-")
    assert Store(tmp_path).samples(record)["sample_id"].tolist() == [*range(2_000, 2_005), *range(1_000, 1_005)]


def test_a_tensor_spec_reaches_the_codec(tmp_path: Path, shared: KeptPair) -> None:
    specs = {cell.key.split: cell.spec for cell in Run(configured(tmp_path, "steady", split=[]), Heard()).plan()}
    assert specs["input"] == TensorSpec((3, 8, 8), image=True)
    assert specs["stem"] == TensorSpec((6, 4, 4))


# --- kill -9 --------------------------------------------------------------------------------------------------------

COMMAND = ["run", "--workload", "tiny", "--samples", "all", "--split", "input", "--split", "stem"]
COMMAND += ["--codec", "steady", "--codec", "skips-input", "--codec", "raises-when-asked"]


def start(out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "codecbench.cli.main", *COMMAND, "--out", str(out)]
    command += ["--plugin", str(TINY), "--plugin", str(CODECS)]
    temporary = out.with_name(out.name + "-tmp")
    temporary.mkdir(exist_ok=True)
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(temporary)}
    )


def finish(out: Path) -> dict[str, Any]:
    """Run the command to its end; its results. One cell fails, so the status is 1."""
    assert start(out).wait(timeout=600) == 1
    return content_of(out)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    """The results of a run that nobody kills, and its seconds."""
    began = time.monotonic()
    content = finish(tmp_path_factory.mktemp("undisturbed") / "out")
    assert len([name for name in content if name.endswith(".json")]) == 8
    return content, time.monotonic() - began


def exists(out: Path, ending: str) -> bool:
    return any(True for _ in out.rglob(f"*{ending}"))


@pytest.mark.parametrize("moment", [pytest.param(".lock", marks=pytest.mark.slow), ".parquet", ".json"])
def test_a_killed_run_goes_on_where_it_was(
    tmp_path: Path, undisturbed: tuple[dict[str, Any], float], moment: str
) -> None:
    out = tmp_path / "out"
    process = start(out)
    deadline = time.monotonic() + 300
    while not exists(out, moment):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert finish(out) == undisturbed[0]


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_moments_loses_nothing(
    tmp_path: Path, undisturbed: tuple[dict[str, Any], float]
) -> None:
    """Half of the kills hit one run again and again, half hit a fresh one each."""
    content, seconds = undisturbed
    rng = random.Random(20)
    for number in range(20):
        out = tmp_path / ("again" if number % 2 else f"fresh-{number}")
        process = start(out)
        time.sleep(rng.uniform(0.0, seconds))
        process.kill()
        process.wait()
        assert_is_part_of(content, out)
        if number % 2 == 0:
            assert finish(out) == content
    assert finish(tmp_path / "again") == content


def assert_is_part_of(whole: Mapping[str, Any], out: Path) -> None:
    """What a killed run leaves: whole files of the undisturbed run, and at most temporary ones beside them."""
    for path in out.glob("*/*/*.json"):
        assert lasting(path.read_text()) == whole[str(path.relative_to(out))]
    for path in out.rglob("*.parquet"):
        assert path.read_bytes() == whole[str(path.relative_to(out))]
