"""The search for the smallest payload within a budget: exact where loss falls, and not misled where it is noisy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench.harness.search.bisection import CLOSE, GAP, MAX_TRIED, MAX_TRIED_WITH_OWN, Bisection, Tried


def searched(search: Bisection, points: list[Tried]) -> Bisection:
    """The search, once it has tried what it wants of these points."""
    while (number := search.following()) is not None:
        assert number not in search.tried
        search.add(number, points[number])
    assert 0 < len(search.tried) <= (MAX_TRIED_WITH_OWN if search.own else MAX_TRIED)
    return search


@given(st.integers(1, 160), st.integers(-5, 200), st.integers(0, 170), st.floats(1.01, 1.1))
def test_where_loss_falls_the_coarsest_point_within_is_found(count: int, start: int, first: int, ratio: float) -> None:
    """Points from number `first` on are within the budget, the coarser ones certainly not."""
    points = [
        Tried(100 * ratio**number, loss := max(0.0, 1.0 + first - number - 0.5), low=loss - 0.1)
        for number in range(count)
    ]
    chosen = searched(Bisection(count, start, budget=1.0), points).chosen()
    if first < count:
        assert first <= chosen
        assert points[chosen].payload_bytes <= points[first].payload_bytes * max(CLOSE, GAP)
        assert chosen == first or points[chosen].payload_bytes <= points[first].payload_bytes * CLOSE * ratio
    else:
        assert chosen == count - 1


@given(st.lists(st.tuples(st.floats(-3, 9), st.floats(0, 3)), min_size=1, max_size=160), st.integers(0, 160))
def test_noise_never_gives_a_point_over_the_budget_where_one_within_was_tried(
    losses: list[tuple[float, float]], start: int
) -> None:
    points = [Tried(1.06**number, loss, low=loss - width) for number, (loss, width) in enumerate(losses)]
    search = searched(Bisection(len(points), start, budget=1.0), points)
    tried = {number: points[number] for number in search.tried}
    within = [number for number, each in tried.items() if each.loss is not None and each.loss <= 1.0 + 1e-9]
    assert search.chosen() == (min(within) if within else min(tried, key=lambda number: (tried[number].loss, number)))


def test_a_coarser_point_that_may_be_within_is_tried() -> None:
    """By chance, number 14 is within the budget and 15 and 16 are not, as a few samples tell."""
    points = [Tried(1.1**number, loss=1.4, low=0.3) for number in range(40)]
    points[:6] = [Tried(1.1**number, loss=9.0, low=8.0) for number in range(6)]
    points[14] = Tried(1.1**14, loss=0.9, low=0.0)
    points[17:] = [Tried(1.1**number, loss=0.9, low=0.0) for number in range(17, 40)]
    assert searched(Bisection(40, 20, budget=1.0), points).chosen() == 14


@given(st.integers(20, 60), st.integers(0, 60), st.sets(st.integers(0, 60), min_size=1, max_size=4), st.integers(0, 60))
def test_the_codecs_own_points_are_not_passed_over(count: int, start: int, own: set[int], lucky: int) -> None:
    """Coarser points lose no more than finer ones, as far as a few samples tell: `own` are tried nevertheless."""
    points = [Tried(1.06**number, loss=1.4, low=0.3) for number in range(count)]
    points[count // 2 :] = [Tried(1.06**number, loss=0.9, low=0.0) for number in range(count // 2, count)]
    numbers = sorted({number % count for number in own})
    lucky = numbers[lucky % len(numbers)]
    points[lucky] = Tried(1.06**lucky, loss=0.9, low=0.0)
    chosen = searched(Bisection(count, start, 1.0, numbers), points).chosen()
    assert points[chosen].payload_bytes <= points[lucky].payload_bytes


def test_own_points_certainly_over_the_budget_end_the_search_for_coarser_ones() -> None:
    points = [Tried(1.06**number, loss=max(0.0, 30.0 - number), low=max(0.0, 29.0 - number)) for number in range(60)]
    search = searched(Bisection(60, 40, 1.0, range(0, 60, 4)), points)
    assert search.chosen() == 29
    assert not {0, 4, 8, 12} & set(search.tried)


def test_a_single_own_point_certainly_over_the_budget_may_be_chance() -> None:
    """Number 16 is within the budget; between it and the first one tried, one is over it by its whole interval."""
    points = [Tried(1.06**number, loss=1.4, low=0.3) for number in range(30)]
    points[24] = Tried(1.06**24, loss=0.9, low=0.0)
    points[20], points[16] = Tried(1.06**20, loss=4.8, low=1.2), Tried(1.06**16, loss=0.8, low=0.0)
    assert searched(Bisection(30, 24, 1.0, range(0, 30, 4)), points).chosen() == 16


@pytest.mark.parametrize("start", [0, 10, 19])
def test_points_at_which_the_codec_fails_are_passed_over(start: int) -> None:
    points = [Tried() if number < 12 else Tried(1.1**number, 0.0, 0.0) for number in range(20)]
    assert searched(Bisection(20, start, budget=1.0), points).chosen() == 12


def test_where_every_point_fails_the_last_one_tried_says_why() -> None:
    search = searched(Bisection(20, 5, budget=1.0), [Tried()] * 20)
    assert search.chosen() == max(search.tried) == 19


def test_an_infinite_budget_takes_the_coarsest() -> None:
    points = [Tried(float(number + 1), 50.0, 40.0) for number in range(100)]
    assert searched(Bisection(100, 70, budget=math.inf), points).chosen() == 0
