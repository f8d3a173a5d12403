"""Outcomes as columns: their names, how rows are replaced, and that they survive processes and Parquet files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from codecbench import RatioMetric, SetMetric
from codecbench.errors import DataError
from codecbench.results.outcomes import (
    as_columns,
    from_table,
    joined,
    object_column,
    of_full_model,
    parquet,
    replaced,
    set_columns,
    set_outcomes,
)
from codecbench.workers.protocol import pack_columns, unpack_columns


class Plain(SetMetric):
    """A set metric that nobody asks for values."""

    def values(self, outcomes: Any, counts: Any) -> Any:
        """Not asked for."""
        raise NotImplementedError


TOP1, TOP5 = (RatioMetric(name, "%", higher_is_better=True, scale=100.0) for name in ("top-1", "top-5"))
AP, AP50 = (Plain(name, "", higher_is_better=True, outcome="boxes") for name in ("AP", "AP50"))
METRICS = (TOP1, TOP5, AP, AP50)
BOXES = [(np.array([1, 2, 3], np.int16), np.zeros((3, 2), np.float32)), (np.zeros(0, np.int16), np.ones((0, 2), "f4"))]
OUTCOMES = [{"top-1": (1.0, 1.0), "top-5": (0.5, 2.0), "boxes": boxes} for boxes in BOXES]


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    def alike(a: Any, b: Any) -> bool:
        if a.dtype == object and isinstance(a[0], np.ndarray):
            return len(a) == len(b) and all(map(alike, a, b))
        return a.dtype == b.dtype and a.shape == b.shape and a.tolist() == b.tolist()

    return list(found) == list(expected) and all(alike(found[name], expected[name]) for name in expected)


def test_the_deciding_ratio_has_the_plain_names_and_metrics_with_one_outcome_share_its_columns() -> None:
    columns = as_columns(METRICS, OUTCOMES)
    assert list(columns) == [
        "numerator", "denominator", "numerator:top-5", "denominator:top-5", "outcome:boxes:0", "outcome:boxes:1",
    ]  # fmt: skip
    assert columns["numerator:top-5"].tolist() == [0.5, 0.5]
    assert [array.shape for array in columns["outcome:boxes:1"]] == [(3, 2), (0, 2)]
    named = as_columns((AP, TOP1), [{"top-1": (1.0, 1.0), "boxes": boxes} for boxes in BOXES])
    assert list(named) == ["outcome:boxes:0", "outcome:boxes:1", "numerator:top-1", "denominator:top-1"]


def test_outcomes_of_a_set_metric_are_found_again_with_and_without_the_full_models() -> None:
    columns = as_columns(METRICS, OUTCOMES)
    other = as_columns(METRICS, OUTCOMES[::-1])
    both = columns | of_full_model(other)
    assert same(set_columns(AP50, both), set_columns(AP50, columns))
    assert same(set_columns(AP, both, full_model=True), set_columns(AP, other))
    found = set_outcomes(AP, set_columns(AP, both))
    assert [[part.tolist() for part in outcome] for outcome in found] == [
        [part.tolist() for part in outcome] for outcome in BOXES
    ]


def test_names_that_begin_alike_are_told_apart() -> None:
    one, two = Plain("a", "", True), Plain("a:0", "", True)
    columns = as_columns((one, two), [{"a": (np.ones(1),), "a:0": (np.zeros(2), np.zeros(3))}])
    assert list(set_columns(one, columns)) == ["outcome:a:0"]
    assert list(set_columns(two, columns)) == ["outcome:a:0:0", "outcome:a:0:1"]


def test_rows_that_were_found_anew_take_the_place_of_the_full_models() -> None:
    full = as_columns(METRICS, [OUTCOMES[0]] * 3)
    anew = as_columns(METRICS, [OUTCOMES[1]] * 2)
    found = replaced(full, np.array([True, False, True]), anew)
    assert same(found, as_columns(METRICS, [OUTCOMES[1], OUTCOMES[0], OUTCOMES[1]]))
    assert same(full, as_columns(METRICS, [OUTCOMES[0]] * 3))
    assert same(replaced(full, np.zeros(3, bool), {}), full)


def test_arrays_of_another_form_than_the_full_models_are_refused() -> None:
    full = as_columns((AP,), [{"boxes": (np.zeros((1, 2)),)}])
    with pytest.raises(DataError, match=r"\('float64', \(2,\)\) for the full model and \('float64', \(3,\)\) for the"):
        replaced(full, np.array([True]), as_columns((AP,), [{"boxes": (np.zeros((1, 3)),)}]))


def test_groups_of_samples_are_joined() -> None:
    assert same(joined([as_columns(METRICS, [each]) for each in OUTCOMES]), as_columns(METRICS, OUTCOMES))
    assert joined([]) == {}


dtypes = (
    arrays.boolean_dtypes()
    | arrays.integer_dtypes(endianness="=")
    | arrays.floating_dtypes(endianness="=", sizes=(32, 64))
)


@given(st.data(), dtypes, st.lists(st.integers(0, 3), min_size=1, max_size=5), st.sampled_from([(), (2,), (2, 3)]))
def test_columns_of_arrays_survive_processes_and_files(
    data: st.DataObject, dtype: Any, lengths: list[int], axes: tuple[int, ...]
) -> None:
    elements = {"allow_nan": False} if dtype.kind == "f" else None
    column = [data.draw(arrays.arrays(dtype, (length, *axes), elements=elements)) for length in lengths]
    columns = {
        "sample_id": np.arange(len(lengths)), "numerator": np.linspace(0, 1, len(lengths)),
        "outcome:a:0": object_column(column),
    }  # fmt: skip
    assert same(unpack_columns(*pack_columns(columns)), columns)
    table = pq.read_table(io.BytesIO(parquet(columns, {b"key": b"value"})))
    assert table.schema.metadata[b"key"] == b"value"
    assert same(from_table(table), columns)
