"""Reported times against round trips: an honest codec passes, on a busy machine too; one that hides time does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench.harness.earned import SHARE, SLACK_S, unearned
from codecbench.workers.answers import TimedStep

seconds = st.floats(1e-6, 10.0)
short = st.floats(1e-6, 0.01)


@given(st.lists(st.tuples(seconds, short), min_size=1, max_size=64))
def test_a_round_trip_as_long_as_step_and_empty_one_is_honest(samples: list[tuple[float, float]]) -> None:
    times = [TimedStep(reported, reported + empty, empty) for reported, empty in samples]
    assert unearned("encode", times) is None


@given(st.lists(st.tuples(seconds, short, st.floats(0, 5.0)), min_size=4, max_size=64), st.randoms())
def test_a_machine_that_delays_two_thirds_of_the_round_trips_accuses_nobody(
    samples: list[tuple[float, float, float]], random: st.DataObject
) -> None:
    times = [
        TimedStep(reported, reported + empty + (delay if number % 3 else 0.0), empty)
        for number, (reported, empty, delay) in enumerate(samples)
    ]
    random.shuffle(times)
    assert unearned("decode", times) is None


@given(seconds, short, st.integers(1, 64), st.floats(1.01, 100.0))
def test_time_that_is_hidden_on_every_sample_is_found(
    reported_s: float, empty_s: float, count: int, times_more: float
) -> None:
    hidden_s = (SHARE * reported_s + SLACK_S) * times_more
    times = [TimedStep(reported_s, reported_s + empty_s + hidden_s, empty_s)] * count
    assert (unearned("encode", times) or "").startswith("encode reported ")


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ([], None),
        ([TimedStep(0.0, 0.0109, 0.0009)] * 5, "encode reported 0 ms, took 10 ms"),
        ([TimedStep(0.001, 0.0123, 0.0003)] * 5, "encode reported 1 ms, took 12 ms"),
        # Round trips that took 1 ms more than they should, which a busy machine does.
        ([TimedStep(0.002, 0.0033, 0.0003)] * 5, None),
        # A clock that runs at half the speed.
        ([TimedStep(0.5, 1.0, 0.0)] * 5, "encode reported 500 ms, took 1e+03 ms"),
        # One sample of five without hidden time is not enough to hide it on the others; two are delays.
        ([TimedStep(0.001, 0.001, 0.0)] + [TimedStep(0.001, 0.05, 0.0)] * 4, "encode reported 1 ms, took 50 ms"),
        ([TimedStep(0.001, 0.001, 0.0)] * 2 + [TimedStep(0.001, 0.05, 0.0)] * 3, None),
    ],
)
def test_the_reason_names_step_and_both_times(times: list[TimedStep], reason: str | None) -> None:
    assert unearned("encode", times) == reason
