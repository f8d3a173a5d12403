"""Values of set metrics for resamples: drawn from a seed, the same for all records of a sample set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from codecbench.results import set_values
from codecbench.results import statistics as stats
from codecbench.results.set_values import SetValues, bootstrap, resampled_from
from codecbench.workload import RatioMetric

WER = RatioMetric("WER", "", higher_is_better=False)


def ratio(outcomes: Sequence[tuple[NDArray[Any], ...]], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """A set metric that equals a ratio metric."""
    pairs = np.array([outcome[0] for outcome in outcomes])
    sums = counts @ pairs
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(counts), np.nan), where=sums[:, 1] != 0)


pairs = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))


@given(st.lists(pairs, min_size=1, max_size=40))
def test_a_set_metric_that_is_a_ratio_has_the_values_the_interval_and_the_p_of_the_ratio(found: list[Any]) -> None:
    columns = np.array(found, dtype=float) + np.linspace(0, 1, len(found))[:, None]
    assume(16 * len(np.unique(columns, axis=0)) > len(columns))  # a ratio draws few distinct rows by their counts
    by_set, by_ratio = (
        stats.summarise_set_task(
            WER, *(bootstrap(ratio, [(pair,) for pair in columns[:, half : half + 2]], 2000) for half in (0, 2)),
            len(columns),
        ),
        stats.summarise_task(WER, *columns.T),
    )  # fmt: skip
    shared = {name: value for name, value in by_ratio.model_dump().items() if name != "scale"}
    assert {name: by_set.model_dump()[name] for name in shared} == pytest.approx(shared)
    assert by_set.scale is None


def test_resamples_are_of_as_many_samples_and_the_same_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[NDArray[np.int64]] = []

    def values(_outcomes: Any, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        seen.append(counts)
        return counts[:, 0].astype(float)

    at_once = bootstrap(values, [(np.ones(1),)] * 10, 50)
    assert [len(counts) for counts in seen] == [1, 50]
    assert all((counts.sum(axis=1) == 10).all() for counts in seen)
    assert at_once.value == 1.0
    monkeypatch.setattr(set_values, "_CHUNK_COUNTS", 70)
    in_chunks = bootstrap(values, [(np.zeros(1),)] * 10, 50)
    assert len(seen) == 2 + 1 + 8
    assert np.array_equal(at_once.resampled, in_chunks.resampled)


def test_the_text_of_resampled_values_gives_them_back() -> None:
    values = SetValues(0.5, np.array([0.1, np.nan, -2.0]))
    assert np.array_equal(resampled_from(values.to_text()), values.resampled, equal_nan=True)
    with pytest.raises(ValueError, match=r"base64|padded|buffer"):
        resampled_from("no base64")


def test_a_value_that_is_none_has_no_interval_and_no_change() -> None:
    defined, undefined = SetValues(0.5, np.array([0.4, 0.6])), SetValues(np.nan, np.array([np.nan, 0.5]))
    task = stats.summarise_set_task(WER, undefined, defined, 4)
    assert (task.value, task.uncompressed, task.low, task.change, task.p_value) == (None, 0.5, None, None, None)
    assert stats.paired_set_change(defined, undefined) == (None,) * 4


def test_resamples_without_a_value_are_left_out_of_the_interval() -> None:
    partly = SetValues(0.5, np.array([0.4, np.nan, 0.6]))
    task = stats.summarise_set_task(WER, partly, SetValues(0.5, np.full(3, 0.5)), 4)
    assert task.low == pytest.approx(0.405)
    assert task.high == pytest.approx(0.595)
    assert (task.change, task.p_value) == (0.0, 1.0)
