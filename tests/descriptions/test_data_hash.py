"""The hash of a workload's data: by content, the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.paths import ROOT

from codecbench.descriptions.data_hash import data_sha256, first_positions, spread_positions, value_sha256


@dataclass
class Box:
    label: int
    corners: set[str] = field(default_factory=set)


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


DIFFERENT: list[Any] = [
    None, 0, False, 0.0, "0", b"0", "", [], (), {}, set(), [0], [[0]], [0, 0], (0,), {0}, {0: 0}, {"0": 0},
    np.float32(0), np.float64(0), np.int64(0), np.zeros(1), np.zeros((1, 1)), np.zeros(2, np.float32), np.array(["0"]),
    np.array([None]), np.array([{"a"}], dtype=object), torch.zeros(1), torch.zeros(1, dtype=torch.bfloat16),
    Box(0), Box(1), Box(0, {"a"}), Slotted(0), Slotted(1), range(3), range(4), Box, len,
]  # fmt: skip


def test_different_values_have_different_hashes() -> None:
    assert len({value_sha256(value) for value in DIFFERENT}) == len(DIFFERENT)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (Box(1, {"a", "b", "c"}), Box(1, {"c", "b", "a"})),
        (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
        (np.arange(3, dtype=">i4"), np.arange(3, dtype="<i4")),
        (np.arange(6)[::2], np.array([0, 2, 4])),
        (OrderedDict(a=1), OrderedDict(a=1)),
        (Slotted([1, {2}]), Slotted([1, {2}])),
    ],
)
def test_equal_content_has_one_hash(one: object, other: object) -> None:
    assert value_sha256(one) == value_sha256(other)


def test_what_holds_itself_and_what_cannot_be_taken_apart_have_hashes() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert value_sha256(loop) == value_sha256(loop)
    assert value_sha256(iter(())) == value_sha256(iter(()))
    assert value_sha256(x for x in ()) == value_sha256(x for x in ())


def test_the_hash_is_the_same_in_every_process() -> None:
    code = (
        "from codecbench.descriptions.data_hash import value_sha256\n"
        "value = [{'alpha', 'beta', 'gamma'}, {'x': frozenset('abcdefg')}, 1.5, None, len, 'täglich']\n"
        "print(value_sha256(value).hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, cwd=ROOT, capture_output=True,
            text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(found) == 1


nested = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(nested, nested)
def test_plain_values_have_one_hash_exactly_if_they_are_one_text(one: Any, other: Any) -> None:
    def text(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ",".join(f"{key!r}:{text(value[key])}" for key in sorted(value)) + "}"
        return "[" + ",".join(map(text, value)) + "]" if isinstance(value, list) else repr(value)

    assert (value_sha256(one) == value_sha256(other)) == (text(one) == text(other))


def test_inputs_targets_and_their_subset_count() -> None:
    inputs, targets = [np.zeros(3, np.float32), np.ones(3, np.float32)], [0, 1]
    whole = data_sha256({"test": (inputs, targets), "choice": (inputs, targets)})
    assert whole == data_sha256({"choice": (list(inputs), targets), "test": (np.stack(inputs), targets)})
    others = [
        {"test": (inputs, targets)},
        {"test": (inputs, targets), "choice": (inputs, [0, 2])},
        {"test": (inputs[::-1], targets), "choice": (inputs, targets)},
        {"test": ([each.astype(np.float64) for each in inputs], targets), "choice": (inputs, targets)},
        {"test": (inputs, targets), "fit": (inputs, targets)},
    ]
    assert len({whole, *map(data_sha256, others)}) == 1 + len(others)  # type: ignore[arg-type]


@given(st.integers(0, 10_000))
def test_positions_are_few_and_cover_the_samples(count: int) -> None:
    spread, first = spread_positions(count), first_positions(count)
    assert len(spread) == len(set(spread)) == len(first) == min(count, 8)
    assert spread == sorted(spread)
    assert not count or (spread[0], spread[-1]) == (0, count - 1)
    assert first == list(range(len(first)))
