"""The time that is left of a run: from samples, from fits and from their time limit."""

from __future__ import annotations

import pytest
from support.factories import cell_of

from codecbench.experiment.time_left import TimeEstimate, TimeLeft, clock

PLAIN = cell_of("zstd")
LEARNED = cell_of("deepcod", tags=("learned",))


class Clock:
    """A time that tests set."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def at() -> Clock:
    return Clock()


@pytest.fixture
def time(at: Clock) -> TimeLeft:
    return TimeLeft(at)


def test_nothing_is_known_at_the_start(time: TimeLeft) -> None:
    assert time.left() is None
    time.expect(100)
    assert time.left() is None
    assert str(time) == ""


def test_samples_take_as_long_as_before_without_the_start(time: TimeLeft, at: Clock) -> None:
    time.expect(400)
    at.now_s = 30  # processes start
    time.scored(100)
    assert time.left() is None
    at.now_s = 90
    time.scored(100)
    assert time.left() == TimeEstimate(120)
    assert str(time) == "about 2 min left"
    time.expect(-200)  # an earlier run has scored them
    assert time.left() is None


def test_a_learned_fit_is_expected_to_take_its_limit(time: TimeLeft, at: Clock) -> None:
    time.expect_fits([LEARNED, cell_of("deepcod", tags=("learned",), split="stage1")], 900)
    assert time.left() == TimeEstimate(1800)
    time.fitting(LEARNED, 0.0, "")
    at.now_s = 300
    assert time.left() == TimeEstimate(600 + 900)


def test_a_fit_that_says_its_share_is_followed(time: TimeLeft, at: Clock) -> None:
    time.expect_fits([LEARNED], 900)
    time.fitting(LEARNED, 0.0, "")
    at.now_s = 60  # training data are made
    time.fitting(LEARNED, 0.1, "")
    at.now_s = 160
    time.fitting(LEARNED, 0.3, "loss 0.2")
    assert time.left() == TimeEstimate(pytest.approx(350))
    at.now_s = 200
    assert time.left() == TimeEstimate(pytest.approx(310))
    assert str(time.fit) == "stem deepcod: fitting, 30%, loss 0.2"


def test_no_fit_takes_longer_than_its_limit(time: TimeLeft, at: Clock) -> None:
    time.expect_fits([LEARNED], 900)
    time.fitting(LEARNED, 0.01, "")
    at.now_s = 800
    time.fitting(LEARNED, 0.02, "")
    assert time.left() == TimeEstimate(100)
    at.now_s = 1000
    assert time.left() == TimeEstimate(0)


def test_later_fits_of_a_codec_take_as_long_as_its_first(time: TimeLeft, at: Clock) -> None:
    time.expect_fits([LEARNED, LEARNED, PLAIN, PLAIN], 900)
    assert time.left() == TimeEstimate(1800, complete=False)
    time.fitting(LEARNED, 0.0, "")
    at.now_s = 120
    time.fitted()
    time.fitting(PLAIN, 0.0, "")
    at.now_s = 125
    time.fitted()
    assert time.left() == TimeEstimate(120 + 5)


def test_the_time_of_fits_is_none_of_the_samples(time: TimeLeft, at: Clock) -> None:
    time.expect(300)
    time.scored(100)
    at.now_s = 10
    time.fitting(PLAIN, 0.0, "")
    at.now_s = 1010
    time.fitted()
    at.now_s = 1020
    time.scored(100)
    assert time.left() == TimeEstimate(20)


def test_later_expectations_take_the_place_of_earlier_ones(time: TimeLeft) -> None:
    time.expect_fits([LEARNED, LEARNED], 900)
    time.expect_fits([LEARNED], 900)
    assert time.left() == TimeEstimate(900)


def test_samples_of_which_none_is_scored_are_left_beside_the_fits(time: TimeLeft) -> None:
    time.expect(100)
    time.expect_fits([LEARNED], 900)
    assert time.left() == TimeEstimate(900, complete=False)
    assert str(time) == "more than 15 min left"


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (TimeEstimate(0), ""),
        (TimeEstimate(59), "less than a minute left"),
        (TimeEstimate(59, complete=False), ""),
        (TimeEstimate(725), "about 12 min left"),
        (TimeEstimate(12_000, complete=False), "more than 3 h 20 min left"),
    ],
)
def test_a_time_in_words(estimate: TimeEstimate, text: str) -> None:
    assert str(estimate) == text


def test_a_time_as_on_a_clock() -> None:
    assert [clock(seconds) for seconds in (0, 65.9, 3600, 90_061)] == ["0:00:00", "0:01:05", "1:00:00", "25:01:01"]
