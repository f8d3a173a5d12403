"""Records on disk: written whole or not at all, found by key, and never trusted when damaged."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.factories import make_record, make_samples

from codecbench.errors import DataError, UsageError
from codecbench.results.cell import CellKey
from codecbench.results.outcomes import object_column
from codecbench.results.record import Record, Task
from codecbench.results.set_values import SetValues
from codecbench.results.store import Store
from codecbench.system.files import replace_file

PARTIAL = {"source_hash": "a", "weights_hash": "b"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def key_of(record: Record) -> CellKey:
    return CellKey(**record.key.model_dump())


def put(store: Store, split: str = "input", point: Mapping[str, Any] | None = None, **fields: Any) -> Record:
    """A record with samples, as a run writes it."""
    record = make_record(split, point=point, **fields)
    samples = store.write_samples(key_of(record), make_samples([1, 0, 1]), PARTIAL)
    record = record.model_copy(update={"samples": samples}).with_digest()
    store.write(key_of(record), record)
    return record


def files(store: Store) -> list[str]:
    return sorted(str(p.relative_to(store.out)) for p in store.out.rglob("*") if p.is_file())


def test_what_is_written_is_found_again(store: Store) -> None:
    record = put(store, point={"quality": 5})
    assert store.find(key_of(record)) == record
    assert store.records() == [record]
    assert store.find(key_of(make_record("stem"))) is None
    columns = store.samples(record)
    assert columns["numerator"].tolist() == [1, 0, 1]
    assert columns["subset"].tolist() == ["test"] * 3
    assert list(store.samples(record, ("subset", "payload_bytes"))) == ["subset", "payload_bytes"]
    assert store.has_samples(record)
    assert not store.has_samples(make_record("stem"))


def put_set_metric(store: Store, **metadata: Any) -> tuple[Record, Task]:
    """A record of a set metric, with arrays and the values for resamples in its Parquet file."""
    record = make_record()
    assert record.task is not None
    task = record.task.model_copy(update={"metric": "AP", "scale": None})
    columns = {**make_samples([1, 0]), "outcome:boxes:0": object_column([np.zeros((0, 2)), np.ones((3, 2))])}
    samples = store.write_samples(key_of(record), columns, {**PARTIAL, **metadata})
    record = record.model_copy(update={"samples": samples, "task": task}).with_digest()
    store.write(key_of(record), record)
    return record, task


def test_arrays_of_set_metrics_and_their_values_for_resamples_are_kept(store: Store) -> None:
    values = SetValues(90.5, np.array([1.0, np.nan]))
    record, task = put_set_metric(store, resampled={"AP": values.to_text()})
    assert [array.shape for array in store.samples(record)["outcome:boxes:0"]] == [(0, 2), (3, 2)]
    found = store.set_values(record, task)
    assert found.value == 90.5
    assert np.array_equal(found.resampled, values.resampled, equal_nan=True)


@pytest.mark.parametrize("metadata", [{}, {"resampled": {}}, {"resampled": {"AP": "?"}}])
def test_values_for_resamples_that_are_missing_are_named_with_the_file(store: Store, metadata: dict[str, Any]) -> None:
    record, task = put_set_metric(store, **metadata)
    with pytest.raises(DataError, match=r"\.parquet has no values of AP for resamples; run the cell again"):
        store.set_values(record, task)
    with pytest.raises(DataError, match=r"\(skipped\) has no AP"):
        store.set_values(make_record(status="skipped"), task)


def test_names_tell_what_lies_there(store: Store) -> None:
    record = put(store, "stage1", {"quality": 5})
    stem = f"toy/stage1/alpha-quality=5-{record.cell}"
    assert files(store) == [f"{stem}.json", f"{stem}.parquet"]


def test_records_come_by_file_name_and_other_files_are_left_alone(store: Store) -> None:
    second, first = put(store, "stem"), put(store, "input")
    (store.out / "notes.json").write_text("mine")
    (store.out / "table.md").write_text("mine")
    benchmarks = store.out / "benchmarks" / "a-machine"
    benchmarks.mkdir(parents=True)
    (benchmarks / "0001_before.json").write_text("pytest-benchmark's")
    assert store.records() == [first, second]


@pytest.mark.parametrize(
    "name",
    [
        "._{stem}.json", ".{stem}.json", ".DS_Store", "Thumbs.db", "{stem}.json~", "{stem} (1).json", "{stem} 2.json",
        "Copy of {stem}.json", "{stem}.sync-conflict-20260101-120000-ABCDEFG.json", "{stem} (conflicted copy).json",
        "renamed-{stem}.json", "#{stem}.json#", ".{stem}.json.swp", "{stem}.json.bak", "~${stem}.json",
    ],
)  # fmt: skip
@pytest.mark.parametrize("damaged", [False, True])
def test_files_of_other_programs_are_passed_over(store: Store, name: str, damaged: bool) -> None:
    record = put(store)
    (path,) = store.out.rglob("*.json")
    other = path.with_name(name.format(stem=path.stem))
    other.write_bytes(b"\x00\x05\x16\x07" if damaged and "renamed" not in name else path.read_bytes())
    with store.locked():
        assert store.records() == [record]
        assert store.find(key_of(record)) == record
    assert other.exists()


def test_folders_named_like_records_and_hidden_folders_are_passed_over(store: Store) -> None:
    record = put(store)
    (path,) = store.out.rglob("*.json")
    (path.parent / "beta-0123456789ab.json").mkdir()
    (store.out / "toy" / "layers.json").mkdir()
    hidden = store.out / ".trash" / "input"
    hidden.mkdir(parents=True)
    (hidden / path.name).write_text("{")
    (hidden.parent / "layers.json").write_text("{")
    assert store.records() == [record]
    assert store.all_layers() == {}


def test_temporary_files_of_other_programs_stay(store: Store) -> None:
    put(store)
    mine = [
        store.out / "notes.tmp",
        store.out / "toy" / "input" / "draft.tmp",
        store.out / "a" / "b" / "c" / "deep.tmp",
    ]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (store.out / "toy" / "folder.tmp").mkdir()
    with store.locked():
        assert all(path.exists() for path in mine)


def test_a_byte_order_mark_is_no_damage(store: Store) -> None:
    record = put(store)
    (path,) = store.out.rglob("*.json")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert store.records() == [record]
    assert store.find(key_of(record)) == record


def test_no_results(store: Store) -> None:
    with pytest.raises(UsageError, match=r"no results in .*results; run 'codecbench run --out .*results' first"):
        store.records()


def test_a_finished_accuracy_pass_without_its_record_is_partial(store: Store) -> None:
    key = key_of(make_record())
    assert store.partial(key) is None
    written = store.write_samples(key, make_samples([1, 1]), PARTIAL)
    assert store.find(key) is None
    partial = store.partial(key)
    assert partial is not None
    columns, values, samples = partial
    assert values == PARTIAL
    assert samples == written
    assert columns["numerator"].tolist() == [1, 1]


@pytest.mark.parametrize("content", [b"", b"PAR1 and nonsense", bytes(200)])
def test_a_partial_that_does_not_read_is_none(store: Store, content: bytes) -> None:
    key = key_of(make_record())
    store.write_samples(key, make_samples([1]), PARTIAL)
    (path,) = store.out.rglob("*.parquet")
    path.write_bytes(content)
    assert store.partial(key) is None


def test_a_parquet_file_of_somebody_else_is_no_partial(store: Store) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    key = key_of(make_record())
    store.write_samples(key, make_samples([1]), PARTIAL)
    (path,) = store.out.rglob("*.parquet")
    pq.write_table(pa.table({"a": [1]}), path)
    assert store.partial(key) is None


def test_damaged_samples_are_named_with_both_sums(store: Store) -> None:
    record = put(store)
    (path,) = store.out.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert record.samples is not None
    reason = rf"{path} is damaged: expected sha256 {record.samples.sha256}, found [0-9a-f]{{64}}; run the cell again"
    with pytest.raises(DataError, match=reason):
        store.samples(record)
    with pytest.raises(DataError, match=reason):
        store.find(key_of(record))


def test_lost_samples(store: Store) -> None:
    record = put(store)
    next(store.out.rglob("*.parquet")).unlink()
    assert store.find(key_of(record)) is None
    with pytest.raises(DataError, match=r"expected sha256 [0-9a-f]+, found no file; run the cell again"):
        store.samples(record)


def test_a_record_without_samples(store: Store) -> None:
    record = make_record(status="skipped")
    store.write(key_of(record), record)
    assert store.find(key_of(record)) == record
    with pytest.raises(DataError, match=r"\(skipped\) has no samples"):
        store.samples(record)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_a_record_that_cannot_be_read_is_named(store: Store, content: bytes) -> None:
    record = put(store)
    (path,) = store.out.rglob("*.json")
    path.write_bytes(content)
    for read in (store.records, lambda: store.find(key_of(record))):
        with pytest.raises(DataError, match=rf"{path} .*; delete it and run again") as caught:
            read()
        assert "\n" not in str(caught.value)


def raw_files(store: Store) -> dict[str, bytes]:
    return {name: (store.out / name).read_bytes() for name in files(store)}


def assert_records_have_their_samples(store: Store) -> None:
    for record in store.records():
        assert record.samples is None or len(store.samples(record)["numerator"]) == record.samples.rows


def replacement(store: Store, record: Record, outcomes: Sequence[int], reason: str = "again") -> Record:
    """A finished pass of a cell that has a record, up to the writing of the new record."""
    samples = store.write_samples(key_of(record), make_samples(list(outcomes)), PARTIAL)
    return record.model_copy(update={"samples": samples, "reason": reason}).with_digest()


def test_a_pass_beside_a_record_leaves_it_whole_and_takes_its_place_at_the_end(store: Store) -> None:
    old = put(store)
    names, before = files(store), raw_files(store)
    new = replacement(store, old, [0, 0, 0])
    assert {name: content for name, content in raw_files(store).items() if name in names} == before
    assert store.find(key_of(old)) == old
    partial = store.partial(key_of(old))
    assert partial is not None
    assert partial[0]["numerator"].tolist() == [0, 0, 0]
    store.write(key_of(old), new)
    assert files(store) == names
    (found,) = store.records()
    assert found.reason == "again"
    assert store.samples(found)["numerator"].tolist() == [0, 0, 0]


def test_a_failed_cell_takes_the_place_of_a_measured_one(store: Store) -> None:
    old = put(store)
    replacement(store, old, [1, 1])
    store.write(key_of(old), make_record(status="failed"))
    assert [record.status for record in store.records()] == ["failed"]
    assert len(files(store)) == 1


class Killed(BaseException):
    """Stands for a kill: nothing that follows is run."""


@pytest.mark.parametrize("outcomes", [[0, 0, 0], [1, 0, 1]], ids=["other samples", "the same samples"])
@pytest.mark.parametrize("renamed", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("moment", range(6))
def test_a_kill_at_any_write_leaves_a_record_with_its_samples(
    store: Store, monkeypatch: pytest.MonkeyPatch, outcomes: list[int], renamed: bool, moment: int
) -> None:
    old = put(store)
    names = files(store)
    writes = 0

    def replace(path: Path, content: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes > moment and not renamed:
            raise Killed
        replace_file(path, content)
        if writes > moment:
            raise Killed

    with monkeypatch.context() as patch, suppress(Killed):
        patch.setattr("codecbench.results.store.replace_file", replace)
        store.write(key_of(old), replacement(store, old, outcomes))
    assert_records_have_their_samples(store)
    found = store.find(key_of(old))
    assert found is not None
    assert found.reason in (None, "again")

    settled = store.settle(key_of(old), found)  # as the next run does
    store.forget_pass(key_of(old), settled)
    assert files(store) == names
    assert_records_have_their_samples(store)
    assert store.find(key_of(old)) == settled
    assert settled.reason == found.reason


def full_disk(number: int) -> Any:
    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    return fsync


@pytest.mark.parametrize(
    ("number", "cause"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk is full"), (errno.EIO, "Input")]
)
def test_a_failed_write_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch, number: int, cause: str) -> None:
    record = put(store)
    before = {name: (store.out / name).read_bytes() for name in files(store)}
    monkeypatch.setattr("codecbench.system.files.os.fsync", full_disk(number))
    with pytest.raises(DataError, match=rf"cannot write .*\.json: {cause}.*; earlier records are kept"):
        store.write(key_of(record), record.model_copy(update={"reason": "new"}))
    with pytest.raises(DataError, match=r"cannot write .*\.parquet"):
        put(store, "stem")
    assert {name: (store.out / name).read_bytes() for name in files(store)} == before


def test_one_run_at_a_time(store: Store) -> None:
    with (
        store.locked(),
        pytest.raises(UsageError, match=r"another run is writing to .*; wait for it or choose another --out"),
        Store(store.out).locked(),
    ):
        pass
    with store.locked():
        pass


def test_folders_are_removed_again_if_nothing_was_written_before_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "results")
    with pytest.raises(UsageError, match="no codec"), store.locked():
        raise UsageError("no codec")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="no record"), store.locked():  # noqa: PT012 - what was written before
        record = put(store)
        raise UsageError("no record")
    assert store.records() == [record]


def test_a_folder_that_was_there_stays_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no codec"), Store(tmp_path).locked():
        raise UsageError("no codec")
    assert tmp_path.is_dir()


def test_what_a_killed_run_left_half_written_is_cleared(store: Store) -> None:
    record = put(store)
    path = next(store.out.rglob("*.json"))
    path.with_name(path.name + ".tmp").write_text("half")
    with store.locked():
        assert not list(store.out.rglob("*.tmp"))
    assert store.records() == [record]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match=r"cannot write to .*results \(Not a directory\); choose another --out"),
        Store(tmp_path / "file" / "results").locked(),
    ):
        pass


def test_columns_keep_their_kinds(store: Store) -> None:
    key = key_of(make_record())
    columns = {**make_samples([1, 0]), "psnr_db": np.array([np.inf, np.nan])}
    store.write_samples(key, columns, PARTIAL)
    partial = store.partial(key)
    assert partial is not None
    assert list(partial[0]) == list(columns)
    assert partial[0]["sample_id"].dtype == np.int64
    assert partial[0]["psnr_db"][0] == np.inf
    assert np.isnan(partial[0]["psnr_db"][1])


def test_columns_of_many_samples_come_back_and_take_little(store: Store) -> None:
    rng = np.random.default_rng(0)
    count = 2000
    columns = {
        **make_samples([1] * count), "sample_id": rng.permutation(10_000)[:count],
        "psnr_db": rng.normal(30, 2, count).astype(np.float32),
    }  # fmt: skip
    samples = store.write_samples(key_of(make_record()), columns, PARTIAL)
    (path,) = store.out.rglob("*.parquet")
    partial = store.partial(key_of(make_record()))
    assert partial is not None
    for name, values in columns.items():
        assert partial[0][name].dtype == values.dtype
        assert np.array_equal(partial[0][name], values)
    assert samples.rows == count
    assert path.stat().st_size < count * 6 + 3000
