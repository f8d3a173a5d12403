"""Payload sizes of the test samples, read from the Parquet files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.factories import make_record, make_samples

from codecbench.errors import DataError
from codecbench.results.cell import CellKey
from codecbench.results.payload_sizes import PayloadSizes
from codecbench.results.record import Record
from codecbench.results.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def put(store: Store, sizes: list[int], subsets: list[str]) -> tuple[Record, Path]:
    """A record with payloads of these sizes, and its Parquet file."""
    record = make_record()
    key = CellKey(**record.key.model_dump())
    columns = {**make_samples([1] * len(sizes)), "payload_bytes": np.array(sizes), "subset": np.array(subsets)}
    samples = store.write_samples(key, columns, {})
    return record.model_copy(update={"samples": samples}), store.out / key.folder / samples.file


def test_the_sizes_of_the_test_samples_are_counted(store: Store) -> None:
    record, _ = put(store, [3, 900, 3, 0, 7], ["test", "test", "test", "test", "choice"])
    found = PayloadSizes(store)(record)
    assert found is not None
    assert (found.payload_bytes.tolist(), found.counts.tolist()) == ([0, 3, 900], [1, 2, 1])


def test_a_file_is_read_once(store: Store) -> None:
    record, path = put(store, [3, 4], ["test", "test"])
    sizes = PayloadSizes(store)
    first = sizes(record)
    path.write_bytes(b"damaged")
    assert sizes(record) is first
    with pytest.raises(DataError, match="is damaged"):
        PayloadSizes(store)(record)


def test_records_that_were_copied_alone_have_no_sizes(store: Store) -> None:
    record, path = put(store, [3, 4], ["test", "test"])
    path.unlink()
    assert PayloadSizes(store)(record) is None
    assert PayloadSizes(store)(make_record(status="skipped")) is None
