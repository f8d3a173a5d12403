"""Texts of CTC outputs: the likeliest path, and the beam search beside the sum over all paths."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecbench.toolbox.speech import beam_text, greedy_text, normalised

LETTERS = ["", " ", "a", "b", "c"]


def logits(*tokens: int) -> np.ndarray:
    found: np.ndarray = np.eye(len(LETTERS), dtype=np.float32)[list(tokens)]
    return found


def test_repeated_tokens_count_once_and_blanks_part_them() -> None:
    assert greedy_text(logits(0, 2, 2, 0, 2, 1, 1, 3, 0, 0), LETTERS) == "aa b"
    assert greedy_text(logits(1, 2, 1), LETTERS) == "a"
    assert greedy_text(logits(0, 0), LETTERS) == ""


def test_texts_are_compared_in_small_letters_with_single_spaces() -> None:
    assert normalised("  Good   Morning ") == "good morning"


def text_of_all_paths(shares: np.ndarray) -> tuple[str, list[float]]:
    """The likeliest text by the probabilities of all paths, and the two largest probabilities of texts."""
    found: dict[str, float] = defaultdict(float)
    for path in itertools.product(range(shares.shape[1]), repeat=len(shares)):
        tokens = [token for token, _ in itertools.groupby(path) if token]
        found["".join("abcd"[token - 1] for token in tokens)] += float(np.prod(shares[range(len(shares)), path]))
    first, *others = sorted(found.values(), reverse=True)
    return max(found, key=found.__getitem__), [first, others[0] if others else 0.0]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(2, 4), st.integers(0, 2**32 - 1), st.floats(0.1, 3))
def test_a_beam_of_all_prefixes_finds_the_likeliest_text_of_all_paths(
    steps: int, tokens: int, seed: int, spread: float
) -> None:
    drawn = spread * np.random.default_rng(seed).standard_normal((steps, tokens))
    shares = np.exp(drawn) / np.exp(drawn).sum(-1, keepdims=True)
    expected, (first, second) = text_of_all_paths(shares)
    if first - second > 1e-9:
        assert beam_text(drawn, ["", *"abcd"], beam=10_000, negligible=0) == expected


def test_the_beam_search_adds_up_paths_where_the_likeliest_one_misleads() -> None:
    shares = np.array([[0.6, 0.4], [0.6, 0.4]])  # the path of two blanks is the likeliest, "a" has 0.64
    assert greedy_text(np.log(shares), ["", "a"]) == ""
    assert beam_text(np.log(shares), ["", "a"]) == "a"


def test_long_recordings_do_not_underflow() -> None:
    steps = np.tile(np.log([[0.2, 0.4, 0.4], [0.9, 0.05, 0.05]]), (3_000, 1))
    steps[10, 1] += 9
    assert set(beam_text(steps, ["", "a", "b"])) <= {"a", "b"}
    assert beam_text(np.tile([[9.0, 0, 0]], (6_000, 1)), ["", "a", "b"]) == ""


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_any_size_are_taken(dtype: type[np.floating]) -> None:
    found = np.array([[1e4, 0, 0], [0, 1e4, 0], [1e4, 0, 0]], dtype=dtype)
    assert beam_text(found, ["", "a", "b"]) == "a"
