"""Merging: agreeing records come together whole, and whatever does not is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.factories import make_record, make_samples

from codecbench.analysis.merging import merge
from codecbench.errors import UsageError
from codecbench.results.cell import CellKey
from codecbench.results.record import Record
from codecbench.results.store import Store


def put(folder: Path, quality: int, *, outcomes: tuple[int, ...] = (1, 0, 1), **fields: Any) -> Record:
    """A record with samples, as a run writes it."""
    store, record = Store(folder), make_record(point={"quality": quality}, **fields)
    key = CellKey(**record.key.model_dump())
    if record.status == "ok":
        record = record.model_copy(update={"samples": store.write_samples(key, make_samples(list(outcomes)), {})})
    store.write(key, record)
    found = store.find(key)
    assert found is not None
    return found


def qualities(folder: Path) -> list[int]:
    return sorted(record.key.point["quality"] for record in Store(folder).records())


def test_folders_come_together_with_their_samples(tmp_path: Path) -> None:
    put(tmp_path / "a", 1, outcomes=(1, 1, 0))
    put(tmp_path / "b", 2)
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert (merged.records, merged.added, merged.left_out) == (2, 2, ())
    assert qualities(tmp_path / "c") == [1, 2]
    first = Store(tmp_path / "c").records()[0]
    assert Store(tmp_path / "c").samples(first)["numerator"].tolist() == [1, 1, 0]
    assert first == Store(tmp_path / "a").records()[0]
    again = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert (again.records, again.added) == (2, 0)


def test_records_of_another_model_are_left_out_and_named(tmp_path: Path) -> None:
    for quality in (1, 2):
        put(tmp_path / "a", quality)
    put(tmp_path / "b", 3, provenance={"weights_hash": "f" * 64})
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert qualities(tmp_path / "c") == [1, 2]
    assert any("1 record of another model (weights ffffffff" in sentence for sentence in merged.left_out)


def test_the_folder_that_is_written_to_decides_which_model_it_has(tmp_path: Path) -> None:
    put(tmp_path / "c", 3, provenance={"weights_hash": "f" * 64})
    for quality in (1, 2):
        put(tmp_path / "a", quality)
    merged = merge([tmp_path / "a"], tmp_path / "c")
    assert qualities(tmp_path / "c") == [3]
    assert any("2 records of another model" in sentence for sentence in merged.left_out)


def test_records_of_another_source_of_a_codec_are_left_out(tmp_path: Path) -> None:
    put(tmp_path / "a", 1)
    put(tmp_path / "a", 2)
    put(tmp_path / "b", 3, provenance={"source_hash": "e" * 64})
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert qualities(tmp_path / "c") == [1, 2]
    assert any("source of codec alpha" in sentence for sentence in merged.left_out)


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_a_measured_cell_is_better_than_a_failed_one(tmp_path: Path, order: tuple[str, str]) -> None:
    put(tmp_path / "a", 1, status="failed")
    put(tmp_path / "b", 1)
    merged = merge([tmp_path / name for name in order], tmp_path / "c")
    (record,) = Store(tmp_path / "c").records()
    assert record.status == "ok"
    assert merged.left_out == ("1 record of cells that others are of, too: the best is kept.",)


def test_a_later_record_replaces_an_earlier_one_in_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "c", 1, provenance={"started_utc": "2026-01-01T00:00:00Z"}, outcomes=(0, 0, 0))
    put(tmp_path / "a", 1, provenance={"started_utc": "2026-02-01T00:00:00Z"}, outcomes=(1, 1, 1))
    merged = merge([tmp_path / "a"], tmp_path / "c")
    (record,) = Store(tmp_path / "c").records()
    assert Store(tmp_path / "c").samples(record)["numerator"].tolist() == [1, 1, 1]
    assert merged.added == 1
    assert sorted(path.suffix for path in (tmp_path / "c").rglob("*-*") if path.is_file()) == [".json", ".parquet"]


def test_what_is_damaged_or_missing_is_left_out_and_named(tmp_path: Path) -> None:
    for quality in (1, 2, 3, 4):
        put(tmp_path / "a", quality)
    paths = sorted((tmp_path / "a").rglob("*.parquet"))
    paths[0].unlink()
    paths[1].write_bytes(b"damaged")
    paths[2].with_suffix(".json").write_text("{}")
    merged = merge([tmp_path / "a"], tmp_path / "c")
    assert qualities(tmp_path / "c") == [4]
    assert len(merged.left_out) == 3
    assert all(any(path.stem in sentence for sentence in merged.left_out) for path in paths[:3])


def test_a_folder_without_results_is_a_mistake(tmp_path: Path) -> None:
    put(tmp_path / "a", 1)
    (tmp_path / "b").mkdir()
    with pytest.raises(UsageError, match=r"no results in .*b; name a folder"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert not (tmp_path / "c").exists()
    with pytest.raises(UsageError, match="is one of the folders to merge"):
        merge([tmp_path / "a"], tmp_path / "a")


@settings(deadline=None, max_examples=25)
@given(places=st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=6), first=st.sampled_from(["a", "b"]))
def test_no_cell_is_lost_and_the_order_of_folders_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, places: list[str], first: str
) -> None:
    root = tmp_path_factory.mktemp("merge")
    for quality, names in enumerate(places):
        for name in names:
            put(root / name, quality, provenance={"started_utc": f"2026-01-0{1 + (name == 'b')}T00:00:00Z"})
    folders = [root / name for name in sorted("ab", key=lambda name: name != first) if (root / name).is_dir()]
    merged = merge(folders, root / "c")
    assert qualities(root / "c") == list(range(len(places)))
    assert merged.records == len(places)
    for record in Store(root / "c").records():
        later = "b" in places[record.key.point["quality"]]
        assert record.provenance.started_utc.startswith(f"2026-01-0{1 + later}")
