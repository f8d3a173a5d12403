"""What makes an earlier result outdated: a change of any of the four things that it was made of."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.codec_files import plugin_with
from support.factories import make_info, make_key
from support.paths import TINY
from support.runs import KeptProcesses, RecordingReporter, execute, record_of

from codecbench.codec import TensorSpec
from codecbench.descriptions.workload_info import WorkloadInfo
from codecbench.experiment.cells import PlannedCell, Summary
from codecbench.experiment.config import RunConfig
from codecbench.harness.provenance import RunProvenance, sources_of
from codecbench.harness.records import RecordWriter
from codecbench.harness.resume import EarlierResults
from codecbench.harness.run import Run
from codecbench.isolation.seal import Isolation
from codecbench.results.store import Store
from codecbench.results.summaries import Summaries
from codecbench.workload import RatioMetric

WORKLOAD = WorkloadInfo(
    name="toy", reference="nowhere:Toy", metrics=(RatioMetric("top-1", "%", higher_is_better=True),),
    default_splits=("input",), budget=1.5, dataset=None, source_hash="a" * 64, weights_sha256="b" * 64,
    training_s=60.0, training_note="timed",
    input_spec=TensorSpec((3, 8, 8)), sample_ids={"fit": (), "choice": (), "test": ()}, training_ids=(),
)  # fmt: skip
DATA_HASH = "c" * 64
NO_VALUES: Any = None
"""No set metric is asked for its values."""


def provenance(out: Path, data_hash: str = DATA_HASH, **changes: Any) -> RunProvenance:
    return RunProvenance(RunConfig(out=out), replace(WORKLOAD, **changes), data_hash=data_hash, test_samples=4)


def planned(source_hash: str = "d" * 64, **fields: Any) -> PlannedCell:
    return PlannedCell(make_key(), make_info(source_hash=source_hash), TensorSpec((3, 8, 8)), **fields)


CHANGES: Mapping[str, tuple[dict[str, str], dict[str, str], str]] = {
    "codec": ({"source_hash": "e" * 64}, {}, "the codec's source has changed"),
    "workload": ({}, {"source_hash": "e" * 64}, "the workload's source has changed"),
    "weights": ({}, {"weights_sha256": "e" * 64}, "the model's weights have changed"),
    "data": ({}, {"data_hash": "e" * 64}, "the workload's data has changed"),
    "two": (
        {"source_hash": "e" * 64}, {"weights_sha256": "e" * 64},
        "the codec's source and the model's weights have changed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("status", ["skipped", "failed"])
def test_a_record_is_outdated_by_each_of_four_changes_which_the_log_names(
    tmp_path: Path, status: str, change: str
) -> None:
    cell = planned(skip_reason="takes no images" if status == "skipped" else None)
    store, reporter = Store(tmp_path), RecordingReporter()
    writer = RecordWriter(
        store, provenance(tmp_path), reporter, Summary(), choice_set="choice-0",
        summaries=Summaries(WORKLOAD.metrics, NO_VALUES), isolation=Isolation(None, seccomp=False),
    )  # fmt: skip
    getattr(writer, status)(cell, "reasons")

    def missing(now: RunProvenance, cell: PlannedCell) -> int:
        earlier = EarlierResults(store, now, reporter, choice_samples=0, fresh=False)
        return len(earlier.missing([cell])[0])

    assert (missing(provenance(tmp_path), cell), reporter.logged) == (0, [])
    codec, workload, reason = CHANGES[change]
    changed = replace(cell, codec=replace(cell.codec, **codec)) if codec else cell  # type: ignore[arg-type]
    assert missing(provenance(tmp_path, **workload), changed) == 1
    assert reporter.logged == [f"input alpha: {reason}; measuring it again"]


@pytest.mark.parametrize("change", CHANGES)
def test_outcomes_without_a_record_are_outdated_by_the_same_changes(tmp_path: Path, change: str) -> None:
    cell, now = planned(), provenance(tmp_path)
    kept = now.sources(cell)
    assert now.changes(cell, kept) is None
    codec, workload, reason = CHANGES[change]
    changed = replace(cell, codec=replace(cell.codec, **codec)) if codec else cell  # type: ignore[arg-type]
    assert provenance(tmp_path, **workload).changes(changed, kept) == reason


def test_a_result_that_does_not_say_what_it_was_made_of_is_not_current(tmp_path: Path) -> None:
    now, cell = provenance(tmp_path), planned()
    older = {name: value for name, value in now.sources(cell).items() if name in ("source_hash", "weights_hash")}
    assert now.changes(cell, older) == (
        "it was made before codecbench recorded the workload's source and the workload's data"
    )
    assert now.changes(cell, {**older, "weights_hash": "e" * 64}) == "the model's weights have changed"


# --- runs -----------------------------------------------------------------------------------------------------------

EDITS = {
    "score": ("== target), 1.0", "!= target), 1.0"),
    "targets": ("* 7 % CLASSES", "* 5 % CLASSES"),
    "inputs": (".integers(0, 256, ", ".integers(0, 255, "),
}
BESIDE = {"helper": ("labels.py", "STEP = 2\n"), "data": ("shift.txt", "3"), "weights": ("weights.txt", "2")}
NAMES = {
    "score": {"the workload's source"}, "targets": {"the workload's source", "the workload's data"},
    "inputs": {"the workload's source", "the workload's data"},
    "helper": {"the workload's source", "the workload's data"}, "data": {"the workload's data"},
    "weights": {"the model's weights"},
}  # fmt: skip


def written(folder: Path, change: str | None = None) -> Path:
    """A workload with a helper module, a file of data and a file of weights beside it; one of them changed."""
    folder.mkdir()
    source = TINY.read_text().replace("ids[p] * 7", "ids[p] * labels.STEP + self._beside('shift') + ids[p] * 7")
    source = source.replace('hashlib.sha256(b"tiny, seed 1")', "hashlib.sha256(self._beside('weights').to_bytes())")
    source = source.replace("import hashlib\n", "import hashlib\n\nimport labels\n")
    beside = "    def _beside(self, name):\n        return int(Path(__file__).with_name(name + '.txt').read_text())\n\n"
    source = source.replace("    def sample_ids(", f"{beside}    def sample_ids(")
    for name, (old, new) in EDITS.items():
        assert old in source
        source = source.replace(old, new) if change == name else source
    files = {"tiny.py": source, "labels.py": "STEP = 0\n", "shift.txt": "1", "weights.txt": "1"}
    files |= dict([BESIDE[change]]) if change in BESIDE else {}
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder / "tiny.py"


def run(out: Path, workload: Path, **options: Any) -> tuple[Summary, RecordingReporter]:
    config = RunConfig.model_validate({
        "workload": "tiny", "samples": 16, "split": ["stem"], "codec": ["raw:values=float32"], "out": out,
        "plugin": [workload], **options,
    })  # fmt: skip
    return execute(config)


@pytest.fixture(scope="module")
def first(kept: KeptProcesses, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        kept.share(patch)
        assert run(folder / "out", written(folder / "before"))[0].ok == 1
        same = written(folder / "same")
        same.write_text(same.read_text() + "\n# a comment\n")
        assert run(folder / "out", same)[0].present == 1
    return folder / "out"


@pytest.mark.parametrize("change", NAMES)
def test_a_changed_workload_is_measured_again(
    tmp_path: Path, first: Path, shared: KeptProcesses, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    out = tmp_path / "out"
    shutil.copytree(first, out)
    monkeypatch.syspath_prepend(tmp_path / "changed")  # before the folder of the first run
    summary, reporter = run(out, written(tmp_path / "changed", change))
    assert (summary.ok, summary.present, summary.stale) == (1, 0, 1)
    (line,) = reporter.logged
    text = line.removeprefix("stem raw values=float32: ").removesuffix("; measuring it again")
    assert set(text.rsplit(" ha", 1)[0].split(" and ")) == NAMES[change]
    assert sources_of(record_of(out, "raw")) != sources_of(record_of(first, "raw"))


def test_the_table_of_a_run_shows_what_is_current_and_names_the_rest(tmp_path: Path, shared: KeptProcesses) -> None:
    plugin = plugin_with(tmp_path)
    points = ["mine:bits=16", "mine:bits=32"]
    options = {"workload": "tiny", "samples": 16, "split": ["stem"], "plugin": [TINY, plugin], "out": tmp_path / "out"}
    execute(RunConfig.model_validate({**options, "codec": points}))
    plugin_with(tmp_path, ("bits: int\n", "bits: int\n    edited = True\n"))
    store = Store(tmp_path / "out")
    with Run(RunConfig.model_validate({**options, "codec": points[:1]}), RecordingReporter()) as job:
        assert job.execute().ok == 1
        shown, left_out = job.current(store.records())
    assert [record.key.point["bits"] for record in shown] == [16]
    assert left_out[0].startswith("Left out: 1 record of a")
    assert left_out[0].endswith(" source of codec mine.")


def test_a_record_says_what_tables_need_of_workload_and_codec(measured: Path) -> None:
    for codec in ("raw", "skips-input"):
        record = record_of(measured, codec, "input")
        assert record.workload is not None
        assert (record.workload.budget, record.workload.training_s, record.workload.training_note) == (1.0, None, "")
        assert record.description
        assert "\n" not in record.description
        assert record.workload == record_of(measured, "skips-input").workload
