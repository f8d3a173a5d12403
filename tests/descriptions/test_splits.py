"""Split points that are chosen from a model's cuts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from codecbench.codec import TensorSpec
from codecbench.descriptions.splits import chosen_splits


def cuts(*lengths: int, names: str = "") -> dict[str, TensorSpec]:
    return {names[i] if names else f"c{i}" if i else "input": TensorSpec((n,)) for i, n in enumerate(lengths)}


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40))
def test_splits_are_a_few_cuts_in_order_and_begin_with_the_input(lengths: list[int]) -> None:
    known = cuts(*lengths)
    found = chosen_splits(known)
    assert found[0] == "input"
    assert len(found) == min(4, len(known))
    assert [name for name in known if name in found] == list(found)


def test_cuts_that_are_smaller_than_all_before_are_taken_first() -> None:
    known = cuts(100, 200, 90, 90, 200, 80, 80, 300, 60, 60, 70, 40, 10, 5)
    assert chosen_splits(known) == ("input", "c2", "c5", "c11")


def test_where_none_is_smaller_the_smallest_of_each_part_is_taken() -> None:
    assert chosen_splits(cuts(10, 40, 30, 20, 30, 40, 40, 20, 50, 10)) == ("input", "c2", "c3", "c7")


def test_a_model_without_a_cut_at_its_input() -> None:
    assert chosen_splits(cuts(4, 3, names="ab")) == ("a", "b")


def test_the_end_of_a_block_stands_for_cuts_of_its_size_within_it() -> None:
    sizes = {
        "input": 100,
        "a.conv": 50,
        "a.relu": 50,
        "a": 50,
        "b": 50,
        "b.wide": 90,
        "c": 40,
        "d": 30,
        "d.e": 30,
        "f": 1,
    }
    found = chosen_splits({name: TensorSpec((n,)) for name, n in sizes.items()})
    assert found == ("input", "a.conv", "a", "d")
