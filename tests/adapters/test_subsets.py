"""The order of samples and their subsets follow from their names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench.adapters.subsets import parted
from codecbench.errors import DataError

NAMES = st.lists(st.text(st.characters(codec="utf-8"), max_size=12), min_size=10, max_size=60, unique=True)


@given(NAMES)
def test_every_name_is_in_one_subset_and_none_is_empty(names: list[str]) -> None:
    found = parted(names, "data")
    assert sorted(name for members in found.values() for name in members) == sorted(names)
    assert all(found.values())


@given(NAMES, st.randoms())
def test_the_order_of_the_files_makes_no_difference(names: list[str], random: object) -> None:
    mixed = list(names)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert parted(mixed, "data") == parted(names, "data")


def test_a_new_sample_moves_no_other() -> None:
    names = [f"photos/{number:04}.jpg" for number in range(200)]
    before, after = parted(names, "data"), parted([*names, "photos/new.jpg"], "data")
    assert {subset: [name for name in members if name in names] for subset, members in after.items()} == before


def test_subsets_have_their_shares() -> None:
    found = parted([f"{number}.png" for number in range(5_000)], "data")
    shares = {subset: len(members) / 5_000 for subset, members in found.items()}
    assert shares == pytest.approx({"test": 0.5, "choice": 0.2, "fit": 0.3}, abs=0.02)
    assert found["test"] != sorted(found["test"])


def test_too_few_samples_say_how_many_there_have_to_be() -> None:
    with pytest.raises(DataError, match=r"^imagefolder:mine has 9 samples; give at least 10, which are parted into"):
        parted([str(number) for number in range(9)], "imagefolder:mine")
