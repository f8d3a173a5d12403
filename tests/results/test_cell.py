"""Cells are named by their keys alone, readably and without collisions."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import make_key

from codecbench.results.cell import CellKey, digest, point_label, row_label, sample_set_id, slug

POINT = {"quality": 50, "tables": "shared", "fast": True, "scale": 0.5}


def test_a_known_key_keeps_its_hash_for_ever() -> None:
    # Records of earlier versions are found by these names: if this fails, every stored result is lost to resuming.
    key = CellKey("cifar10-resnet20", "stage1", "jpeg-huffman", 1, {"quality": 50}, 0, "test-500-0a1b2c3d")
    assert key.cell == "36e363003bb3"
    assert key.stem == f"jpeg-huffman-quality=50-{key.cell}"
    assert key.folder == "cifar10-resnet20/stage1"


@pytest.mark.parametrize(
    "change",
    [
        {"workload": "other"}, {"split": "stem"}, {"codec": "beta"}, {"codec_version": 2}, {"point": {"quality": 51}},
        {"seed": 1}, {"sample_set": "test-5-00000000"},
    ],
)  # fmt: skip
def test_every_part_of_the_key_names_another_cell(change: dict[str, object]) -> None:
    key = make_key(point=POINT)
    assert replace(key, **change).cell != key.cell  # type: ignore[arg-type]


def test_the_order_of_a_points_arguments_does_not_matter() -> None:
    assert make_key(point=POINT).cell == make_key(point=dict(reversed(POINT.items()))).cell


def test_keys_are_hashable_and_become_plain_values() -> None:
    key = make_key(point=POINT)
    assert len({key, make_key(point=POINT)}) == 1
    assert CellKey(**key.to_json()) == key


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text() | st.integers(), max_size=3))
def test_file_names_are_safe_whatever_the_names(split: str, codec: str, point: dict[str, object]) -> None:
    key = make_key(split, codec, point)
    for part in (*key.folder.split("/"), key.stem):
        assert re.fullmatch(r"[A-Za-z0-9._=-]+", part)
        assert part not in (".", "..")
    assert key.folder.count("/") == 1
    assert len(key.stem) <= 93
    assert key.stem.endswith(key.cell)


def test_labels() -> None:
    assert point_label(POINT) == "quality=50,tables=shared,fast=True,scale=0.5"
    assert point_label({}) == ""
    assert make_key(codec="raw").stem.startswith("raw-")
    assert slug("stage1.0/conv@1") == "stage1.0-conv-1"


def test_rows_are_a_codec_or_one_of_its_points() -> None:
    assert row_label("one", (), {"bits": 8}) == "one"
    rows_by = ("mode", "table")
    assert row_label("one", rows_by, {"bits": 8, "mode": "a"}) == "one (a)"
    assert row_label("one", rows_by, {"table": "own", "bits": 8, "mode": "a"}) == "one (a, own)"
    assert row_label("one", rows_by, {}) == "one"


def test_a_sample_set_is_named_by_its_samples_in_order() -> None:
    name = sample_set_id("test", [3, 1, 2])
    assert re.fullmatch(r"test-3-[0-9a-f]{8}", name)
    assert name == sample_set_id("test", [3, 1, 2])
    assert name != sample_set_id("test", [1, 2, 3])
    assert name != sample_set_id("choice", [3, 1, 2])


def test_the_digest_is_of_canonical_json() -> None:
    assert digest({"b": 1, "a": [1.5, "x"]}) == digest({"a": [1.5, "x"], "b": 1})
    assert len(digest(None)) == 64
