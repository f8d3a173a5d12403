"""`codecbench verify`: whatever is changed in a results folder is found, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.cli import Cli
from support.paths import MISBEHAVING, TINY
from support.runs import KeptProcesses, RecordingReporter, configured, execute

from codecbench.errors import UsageError
from codecbench.experiment.config import RunConfig
from codecbench.results.digests import payload_sha256
from codecbench.results.record import Record, SampleDigest, parse
from codecbench.results.store import Store
from codecbench.verification import encode_again, verify
from codecbench.verification.summaries import _equal

pytestmark = pytest.mark.usefixtures("prepared")

EDITS = 200


@pytest.fixture(scope="module")
def config(kept: KeptProcesses, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    out = tmp_path_factory.mktemp("measured")
    config = configured(out, "raw:values=float32", "steady:bits=16", split=["input", "stem"])
    with pytest.MonkeyPatch.context() as patch:
        kept.share(patch)
        assert execute(config)[0].ok == 4
    return config


@pytest.fixture
def out(config: RunConfig, tmp_path: Path) -> Path:
    return Path(shutil.copytree(config.out, tmp_path / "out"))


def records(out: Path) -> list[Path]:
    return sorted(path for path in out.glob("*/*/*.json"))


def test_a_folder_as_it_was_written_is_intact(out: Path) -> None:
    found = verify(out)
    assert (found.records, found.faults, found.remarks) == (4, (), ())
    assert found.samples == sum(record.samples.rows for record in found.intact if record.samples) > 0


def flip(rng: random.Random, path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(7)
    path.write_bytes(content)


def change_number(rng: random.Random, path: Path, *, digest: bool = False) -> None:
    """Change a number of a record; with `digest`, of its summaries, and the record's own digest with it."""
    values = json.loads(path.read_text())
    places: list[tuple[Any, Any]] = []

    def collect(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)):
            if isinstance(value[key], dict | list):
                collect(value[key])
            elif isinstance(value[key], int | float) and not isinstance(value[key], bool):
                places.append((value, key))

    for part in ("task", "choice", "size") if digest else ("task", "choice", "size", "time", "timed", "cost", "tensor"):
        collect(values[part])
    constant = {"decimals", "scale", "device_state_bytes", "edge_state_bytes"}
    group, key = rng.choice([place for place in places if not (digest and place[1] in constant)])
    group[key] += rng.choice([1, -1])
    path.write_text(json.dumps(values, indent=1))
    if digest:
        path.write_text(Record.model_validate(values).to_text())


def swap_columns(rng: random.Random, path: Path) -> None:
    table = pq.read_table(path.with_suffix(".parquet"))
    names = list(table.column_names)
    first, second = rng.sample(range(len(names)), 2)
    names[first], names[second] = names[second], names[first]
    pq.write_table(table.rename_columns(names), path.with_suffix(".parquet"))


def change_schema(rng: random.Random, path: Path) -> None:
    values = json.loads(path.read_text())
    values["schema"] = rng.choice([1, 2, 3, 4, 5, 7, "6", None])
    path.write_text(json.dumps(values, indent=1))


def remove_or_rename(rng: random.Random, path: Path) -> None:
    if rng.random() < 0.5:
        path.with_suffix(".parquet").unlink()
    else:
        path.rename(path.with_name(f"{path.stem[:-12]}{'0' * 12}.json"))


@pytest.mark.parametrize("seed", range(5))
def test_every_edit_is_found(out: Path, seed: int) -> None:
    rng = random.Random(seed)
    paths = records(out)
    edits: list[Callable[[random.Random, Path], None]] = [
        flip,
        lambda rng, path: flip(rng, path.with_suffix(".parquet")),
        change_number,
        lambda rng, path: change_number(rng, path, digest=True),
        swap_columns,
        change_schema,
        remove_or_rename,
    ]
    for number in range(EDITS // 5):
        path = rng.choice(paths)
        kept = {each: each.read_bytes() for each in (path, path.with_suffix(".parquet"))}
        edits[number % len(edits)](rng, path)
        found = verify(out)
        assert found.faults, f"edit {number} of {path.name}"
        assert all("\n" not in fault for fault in found.faults)
        for other in path.parent.glob("*000000000000.json"):
            other.unlink()
        for each, content in kept.items():
            each.write_bytes(content)
    assert verify(out).faults == ()


def test_columns_that_agree_with_their_digest_but_not_with_the_summary(out: Path) -> None:
    """Who writes other outcomes and the file's new checksum is found out by the summaries."""
    path = records(out)[0]
    store, record = Store(out), parse(path.read_text(), path.name)
    columns = store.samples(record)
    columns["numerator"] = 1 - columns["numerator"]
    assert record.samples is not None
    table = pa.table({name: pa.array(column) for name, column in columns.items()})
    pq.write_table(table, path.with_suffix(".parquet"))
    digest = hashlib.sha256(path.with_suffix(".parquet").read_bytes()).hexdigest()
    changed = record.model_copy(update={"samples": record.samples.model_copy(update={"sha256": digest})})
    path.write_text(changed.to_text())
    assert any("task.value is" in fault for fault in verify(out).faults)


def test_layers_that_were_changed(out: Path) -> None:
    (path,) = out.glob("*/layers.json")
    path.write_text(path.read_text().replace("conv", "linear", 1))
    assert any("layers.json" in fault for fault in verify(out).faults)


def test_samples_of_a_cell_that_is_not_finished_are_no_fault(out: Path) -> None:
    records(out)[0].unlink()
    found = verify(out)
    assert found.faults == ()
    assert len(found.remarks) == 1


def test_payloads_are_encoded_again(config: RunConfig, shared: KeptProcesses) -> None:
    found = encode_again(config, verify(config.out).intact, 4, RecordingReporter())
    assert (found.faults, found.remarks) == ((), ())
    assert found.payloads >= 4 * 8


def test_other_payloads_are_found(config: RunConfig, shared: KeptProcesses) -> None:
    (record,) = (r for r in verify(config.out).intact if r.key.codec == "steady" and r.key.split == "stem")
    assert record.digests is not None
    wrong = [
        SampleDigest(**{**each.model_dump(), "payload": payload_sha256(b"another")}) for each in record.digests.samples
    ]
    forged = record.model_copy(update={"digests": record.digests.model_copy(update={"samples": wrong})})
    found = encode_again(config, [forged], 1, RecordingReporter())
    assert len(found.faults) == 1
    assert "payloads are others" in found.faults[0]


def test_a_codec_that_is_not_here_is_a_remark(config: RunConfig, shared: KeptProcesses) -> None:
    (record,) = (r for r in verify(config.out).intact if r.key.codec == "steady" and r.key.split == "stem")
    gone = record.model_copy(update={"key": record.key.model_copy(update={"codec": "gone"})})
    changed = record.model_copy(update={"provenance": record.provenance.model_copy(update={"source_hash": "0" * 64})})
    found = encode_again(config, [gone, changed], 2, RecordingReporter())
    assert (found.payloads, found.faults) == (0, ())
    assert any("'gone'" in remark for remark in found.remarks)
    assert any("source has changed since its record" in remark for remark in found.remarks)


def test_the_command(out: Path, cli: Cli, shared: KeptProcesses) -> None:
    ended = cli("verify", out, "--encode", "1", "--plugin", TINY, "--plugin", MISBEHAVING)
    assert ended.status == 0
    assert "4 records" in ended.out
    assert ended.out.rstrip().endswith("0 faults")
    flip(random.Random(0), records(out)[0])
    ended = cli("verify", out)
    assert ended.status == 1
    assert "1 fault" in ended.out
    assert cli("verify", out / "none").error.startswith("codecbench: no results in")


def test_a_folder_without_results(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no results in"):
        verify(tmp_path)


def test_numbers_that_are_null_agree() -> None:
    """Undefined metrics are null on both sides."""
    assert _equal(None, None)
    assert not _equal(None, 1.0)
    assert _equal(np.float64(1.0), 1.0 + 1e-12)
