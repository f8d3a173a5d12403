"""Intervals and tests: against scipy, against known values, and by their coverage."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy import stats as reference

from codecbench.results import statistics as stats
from codecbench.workload import Metric

TOP1 = Metric("top-1", "%", higher_is_better=True, scale=100.0, binary=True)
WER = Metric("WER", "", higher_is_better=False, decimals=3)


def binary(n: int, share: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(n) < share).astype(float)


def words(n: int, rate: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 40, n)
    return rng.binomial(lengths, rate).astype(float), lengths.astype(float)


def interval(scale: float, numerators: ArrayLike, denominators: ArrayLike, **options: Any) -> tuple[float, float]:
    """The interval of a metric: that of its change from a metric which is always zero."""
    count = np.asarray(numerators).size
    return stats.paired_change(scale, numerators, denominators, np.zeros(count), np.ones(count), **options)[1:]


def test_interval_of_right_or_wrong_agrees_with_scipy() -> None:
    right = binary(400, 0.85)
    expected = reference.bootstrap(
        (right,), np.mean, method="percentile", n_resamples=5000, rng=np.random.default_rng(1)
    ).confidence_interval
    low, high = interval(100.0, right, np.ones(400), resamples=5000)
    assert low == pytest.approx(100 * expected.low, abs=0.4)
    assert high == pytest.approx(100 * expected.high, abs=0.4)


def test_interval_of_a_ratio_of_sums_agrees_with_scipy() -> None:
    edits, lengths = words(300, 0.1)
    expected = reference.bootstrap(
        (edits, lengths),
        lambda e, n, axis: e.sum(axis) / n.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=5000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    low, high = interval(1.0, edits, lengths, resamples=5000)
    assert low == pytest.approx(expected.low, abs=0.001)
    assert high == pytest.approx(expected.high, abs=0.001)


def test_interval_narrows_with_the_level() -> None:
    right = binary(400, 0.85)
    low, high = interval(100.0, right, np.ones(400))
    low_50, high_50 = interval(100.0, right, np.ones(400), level=0.5)
    assert low < low_50 < high_50 < high


def test_the_two_ways_of_resampling_agree() -> None:
    right = binary(300, 0.7)
    jittered = right + np.random.default_rng(0).normal(0, 1e-9, 300)  # all rows distinct: drawn sample by sample
    low, high = interval(100.0, right, np.ones(300), resamples=8000)
    low_distinct, high_distinct = interval(100.0, jittered, np.ones(300), resamples=8000)
    assert (low_distinct, high_distinct) == pytest.approx((low, high), abs=0.5)


def test_same_seed_same_interval_other_seed_another() -> None:
    edits, lengths = words(200, 0.1)
    first = interval(1.0, edits, lengths, seed=3)
    assert interval(1.0, edits, lengths, seed=3) == first
    assert interval(1.0, edits, lengths, seed=4) != first


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    trials, truth = 300, 80.0
    hits = 0
    for trial in range(trials):
        low, high = interval(100.0, rng.random(200) < 0.8, np.ones(200), resamples=500, seed=trial)
        hits += low <= truth <= high
    # A percentile interval covers a little less than its level on 200 samples.
    assert 0.90 <= hits / trials <= 0.98


def test_paired_change_is_narrower_than_an_unpaired_one_would_be() -> None:
    uncompressed = binary(500, 0.9)
    coded = uncompressed.copy()
    coded[:5] = 0
    change, low, high = stats.paired_change(100.0, coded, np.ones(500), uncompressed, np.ones(500))
    value_low, value_high = interval(100.0, coded, np.ones(500))
    assert change == pytest.approx(100 * (coded.mean() - uncompressed.mean()))
    assert low < change < high <= 0
    assert high - low < (value_high - value_low) / 2


def test_paired_change_of_equal_outcomes_is_exactly_none() -> None:
    edits, lengths = words(100, 0.2)
    assert stats.paired_change(1.0, edits, lengths, edits, lengths) == (0.0, 0.0, 0.0)
    assert stats.paired_bootstrap_p(1.0, edits, lengths, edits, lengths) == 1.0


def test_paired_bootstrap_p_sees_a_clear_change_and_no_other() -> None:
    edits, lengths = words(200, 0.1)
    assert stats.paired_bootstrap_p(1.0, edits + 1, lengths, edits, lengths) == pytest.approx(2 / 2001)
    shuffled = np.random.default_rng(5).permutation(np.repeat([1.0, -1.0], 100))
    assert stats.paired_bootstrap_p(1.0, edits + 2 + shuffled, lengths, edits + 2, lengths) > 0.3


def test_paired_bootstrap_p_is_seldom_small_without_a_change() -> None:
    rng = np.random.default_rng(0)
    n, trials = 100, 200
    ones = np.ones(n)
    small = 0
    for trial in range(trials):
        a, b = rng.normal(1, 1, n), rng.normal(1, 1, n)
        small += stats.paired_bootstrap_p(1.0, a, ones, b, ones, resamples=400, seed=trial) < 0.05
    assert small / trials < 0.11


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_the_binomial_test_of_the_discordant_samples(pairs: list[tuple[bool, bool]]) -> None:
    a, b = zip(*pairs, strict=True)
    only_a = sum(x and not y for x, y in pairs)
    discordant = sum(x != y for x, y in pairs)
    expected = reference.binomtest(only_a, discordant).pvalue if discordant else 1.0
    assert stats.mcnemar_p(a, b) == pytest.approx(expected)
    assert stats.mcnemar_p(b, a) == stats.mcnemar_p(a, b)


def test_mcnemar_known_values() -> None:
    wins = [True] * 6
    assert stats.mcnemar_p(wins, [False] * 6) == pytest.approx(2 / 64)
    assert stats.mcnemar_p([True] * 10 + [False] * 2, [False] * 10 + [True] * 2) == pytest.approx(2 * 79 / 4096)


def test_mcnemar_stays_exact_for_thousands_of_samples() -> None:
    a = np.repeat([True, False], [5200, 4800])
    assert stats.mcnemar_p(a, ~a) == pytest.approx(reference.binomtest(5200, 10_000).pvalue, rel=1e-9)


def test_mcnemar_refuses_outcomes_that_are_not_paired() -> None:
    with pytest.raises(ValueError, match="3 and 2"):
        stats.mcnemar_p([1, 1, 0], [1, 0])


def test_task_of_right_or_wrong_outcomes() -> None:
    uncompressed = binary(300, 0.9)
    coded = uncompressed.copy()
    coded[:30] = 0
    task = stats.summarise_task(TOP1, coded, np.ones(300), uncompressed, np.ones(300))
    assert (task.metric, task.unit, task.n, task.scale, task.decimals) == ("top-1", "%", 300, 100.0, 1)
    assert task.value == pytest.approx(100 * coded.mean())
    assert task.uncompressed == pytest.approx(100 * uncompressed.mean())
    assert task.change == pytest.approx(task.value - task.uncompressed)
    assert task.low < task.value < task.high
    assert task.change_low < task.change < task.change_high
    assert task.test == "mcnemar"
    assert task.p_value == stats.mcnemar_p(coded > 0, uncompressed > 0)


def test_task_of_a_ratio_of_sums() -> None:
    edits, lengths = words(200, 0.1)
    worse = edits + (np.arange(200) % 3 == 0)
    task = stats.summarise_task(WER, worse, lengths, edits, lengths)
    assert task.value == pytest.approx(worse.sum() / lengths.sum())
    assert task.test == "paired-bootstrap"
    assert task.p_value == stats.paired_bootstrap_p(1.0, worse, lengths, edits, lengths)
    assert (task.change, task.change_low, task.change_high) == pytest.approx(
        stats.paired_change(1.0, worse, lengths, edits, lengths)
    )
    assert (task.low, task.high) == pytest.approx(interval(1.0, worse, lengths))


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_task_of_one_sample(right: float) -> None:
    task = stats.summarise_task(TOP1, [right], [1.0], [1.0], [1.0])
    assert (task.low, task.value, task.high) == (100 * right,) * 3
    assert task.p_value == 1.0


def test_task_where_all_are_right_has_no_width() -> None:
    task = stats.summarise_task(TOP1, np.ones(50), np.ones(50), np.ones(50), np.ones(50))
    assert (task.low, task.value, task.high) == (100.0, 100.0, 100.0)
    assert (task.change_low, task.change, task.change_high) == (0.0, 0.0, 0.0)


def test_silent_samples_do_not_break_the_ratio() -> None:
    low, high = interval(1.0, [0.0, 1.0], [0.0, 2.0])
    assert (low, high) == (0.5, 0.5)
    assert interval(1.0, [0.0], [0.0]) == (None, None)


def test_resamples_without_a_denominator_count_for_nothing() -> None:
    worse, lengths = [2.0] + [0.0] * 19, [4.0] + [0.0] * 19
    change, low, high = stats.paired_change(1.0, worse, lengths, [1.0] + [0.0] * 19, lengths)
    assert (change, low, high) == (0.25, 0.25, 0.25)
    p_value = stats.paired_bootstrap_p(1.0, worse, lengths, [1.0] + [0.0] * 19, lengths)
    assert p_value is not None
    assert 2 / p_value - 1 == pytest.approx(2000 * (1 - 0.95**20), rel=0.1)  # a third of the resamples lack the one


@pytest.mark.parametrize(
    ("numerators", "denominators"),
    [([1.0, 0.0, 1.0], [0.0, 0.0, 0.0]), ([1.0, math.nan, 1.0], [1.0] * 3), ([1.0, math.inf, 1.0], [1.0] * 3),
     ([1.0, 0.0, 1.0], [1.0, math.nan, 1.0]), ([1.0, 0.0, 1.0], [1.0, -1.0, 0.0])],
)  # fmt: skip
@pytest.mark.parametrize("metric", [TOP1, WER])
def test_a_metric_without_meaning_has_no_numbers(
    numerators: list[float], denominators: list[float], metric: Metric
) -> None:
    ones, found = [1.0] * 3, (numerators, denominators)
    task = stats.summarise_task(metric, *found, ones, ones)
    assert (task.value, task.low, task.high) == (None, None, None)
    assert (task.change, task.change_low, task.change_high, task.p_value) == (None, None, None, None)
    assert task.uncompressed == metric.scale
    other = stats.summarise_task(metric, ones, ones, *found)
    assert (other.value, other.low, other.high, other.uncompressed) == (metric.scale, metric.scale, metric.scale, None)
    assert (other.change, other.p_value) == (None, None)
    choice = stats.summarise_choice(metric, "choice-3-x", ones, *found, *found)
    assert (choice.value, choice.uncompressed, choice.change, choice.change_low) == (None, None, None, None)
    assert stats.paired_change(1.0, *found, ones, ones) == (None, None, None)
    assert stats.paired_bootstrap_p(1.0, *found, ones, ones) is None


numbers = st.sampled_from([0.0, 1.0, 2.0, -1.0, 1e-300, 1e308, math.nan, math.inf, -math.inf]) | st.floats(-5, 5)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=20), st.booleans())
def test_every_number_of_a_task_is_finite_or_none(samples: list[tuple[float, ...]], binary: bool) -> None:
    metric = dataclasses.replace(TOP1, binary=binary)
    task = stats.summarise_task(metric, *zip(*samples, strict=True))
    json.dumps(task.model_dump(mode="json"), allow_nan=False)
    assert (task.change is None) == (task.value is None or task.uncompressed is None)
    if task.change is None:
        assert (task.change_low, task.change_high, task.p_value) == (None, None, None)
    elif task.p_value is not None:
        assert 0 < task.p_value <= 1
    for low, high in ((task.low, task.high), (task.change_low, task.change_high)):
        assert (low is None) == (high is None)
        assert low is None or high is None or low <= high


def test_the_reason_names_what_is_wrong_with_the_outcomes() -> None:
    assert stats.undefined_reason([1.0, 0.0], [0.0, 0.0]) == "the denominators of its 2 samples sum to 0"
    assert stats.undefined_reason([1.0, math.nan], [1.0, 1.0]) == "1 of 2 outcomes are not finite numbers"
    assert stats.undefined_reason([1e308, 1e308], [1.0, 1.0]) == "the sum of its numerators is not a finite number"
    assert stats.undefined_reason([1.0, 0.0], [1.0, 0.0]) is None


def test_choice_summary() -> None:
    uncompressed = binary(100, 0.9)
    coded = uncompressed.copy()
    coded[:10] = 0
    choice = stats.summarise_choice(
        TOP1, "choice-100-x", np.arange(100), coded, np.ones(100), uncompressed, np.ones(100)
    )
    assert choice.payload_mean_bytes == 49.5
    assert (choice.sample_set, choice.n) == ("choice-100-x", 100)
    assert choice.change == pytest.approx(100 * (coded.mean() - uncompressed.mean()))
    assert choice.change_low < choice.change < choice.change_high


def test_payload_summary() -> None:
    summary = stats.payload_summary(np.arange(101))
    assert (summary.mean, summary.median, summary.p95, summary.min, summary.max) == (50.0, 50.0, 95.0, 0, 100)


def test_no_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="no payload"):
        stats.payload_summary([])
    with pytest.raises(ValueError, match="at least 1"):
        interval(1.0, [], [])


def test_columns_of_unequal_length_are_an_error() -> None:
    with pytest.raises(ValueError, match="one common length"):
        interval(1.0, [1.0, 1.0], [1.0])
