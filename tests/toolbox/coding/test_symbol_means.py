"""Means of symbols: the same from all symbols as from those before, near the best linear ones, and safe to load."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codecbench.toolbox.coding.scale_model import group_sizes
from codecbench.toolbox.coding.symbol_means import (
    CHECKERBOARD_PASSES,
    EARLIER_CHANNELS,
    FACTOR_GRID,
    MAX_INPUT,
    OWN_CHANNELS,
    QUARTERS,
    MeanPredictor,
    pass_positions,
    spans_of,
)

Symbols = NDArray[np.int32]
SHAPES = st.one_of(st.just((1, 1)), st.tuples(st.just(1), st.integers(1, 9)), st.tuples(*[st.integers(1, 5)] * 2))


def random_predictor(rng: np.random.Generator, channels: int) -> MeanPredictor:
    """Any factors at all, of symbols that are not sent before, too, as a damaged state may have them."""
    means = MeanPredictor.zero(group_sizes(channels))
    for part in (means.earlier, *means.own):
        part[:] = rng.integers(-127, 128, part.shape)
    return means


def random_symbols(rng: np.random.Generator, channels: int, shape: tuple[int, int]) -> Symbols:
    return np.rint(rng.laplace(0, 3, (channels, *shape))).astype(np.int32)


def naive(means: MeanPredictor, symbols: Symbols, channel: int, row: int, column: int) -> int:
    """The mean of one symbol in quarters of a step, term by term in whole numbers."""
    height, width = symbols.shape[1:]
    (start, end), group = next(
        (span, i) for i, span in enumerate(spans_of(means.sizes)) if span[0] <= channel < span[1]
    )
    pass_ = (row + column) % 2

    def at(other: int, down: int, right: int) -> int:
        inside = 0 <= row + down < height and 0 <= column + right < width
        return int(np.clip(symbols[other, row + down, column + right], -MAX_INPUT, MAX_INPUT)) if inside else 0

    total = 0
    for other in range(min(start, EARLIER_CHANNELS)):
        factors = means.earlier[pass_, channel].reshape(-1, 3, 3)[other].astype(int)
        total += sum(factors[1 + a, 1 + b] * at(other, a, b) for a in (-1, 0, 1) for b in (-1, 0, 1))
    if pass_:
        factors = means.own[group][channel - start].reshape(-1, 4).astype(int)
        for i in range(min(end - start, OWN_CHANNELS)):
            beside = ((-1, 0), (0, -1), (0, 1), (1, 0))
            total += sum(factor * at(start + i, *where) for factor, where in zip(factors[i], beside, strict=True))
    return int(np.floor(total * QUARTERS / FACTOR_GRID + 0.5))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([1, 3, 4, 9, 17, 40, 90]), SHAPES, st.integers(0, 2**32))
def test_a_mean_depends_on_what_is_sent_before_only(channels: int, shape: tuple[int, int], seed: int) -> None:
    """So the encoder, which has all symbols, and the decoder, which has those before, find the same."""
    rng = np.random.default_rng(seed)
    means, symbols = random_predictor(rng, channels), random_symbols(rng, channels, shape)
    whole = means.quarters(symbols, 0, channels)
    known = np.zeros_like(symbols)
    for start, end in spans_of(means.sizes):
        for pass_, at in zip(CHECKERBOARD_PASSES, pass_positions(*shape), strict=True):
            found = means.quarters(known, start, end, [pass_])
            first = len(pass_positions(*shape)[0]) if pass_ else 0
            assert (found == whole[start:end, first : first + len(at)]).all()
            known.reshape(channels, -1)[start:end, at] = symbols.reshape(channels, -1)[start:end, at]
    assert (known == symbols).all()


@settings(deadline=None, max_examples=15)
@given(st.sampled_from([1, 4, 9, 20, 60]), SHAPES, st.integers(0, 2**32))
def test_a_mean_is_the_sum_that_is_documented(channels: int, shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    means, symbols = random_predictor(rng, channels), random_symbols(rng, channels, shape)
    symbols.flat[0] = 1_000_000
    found = means.quarters(symbols, 0, channels)
    positions = np.concatenate(pass_positions(*shape)).tolist()
    expected = [
        [naive(means, symbols, channel, *divmod(at, shape[1])) for at in positions] for channel in range(channels)
    ]
    assert found.tolist() == expected


def related(rng: np.random.Generator, count: int) -> list[Symbols]:
    """Channels 3 to 7 follow channel 0 at the place above, and each follows itself from place to place."""
    smooth = rng.normal(0, 3, (count, 8, 9, 9))
    smooth[:, :, :-1] += smooth[:, :, 1:]
    smooth[:, 3:, 1:] += 0.5 * smooth[:, :1, :-1]
    return list(np.rint(smooth).astype(np.int32))


def test_means_that_are_fitted_take_away_what_symbols_have_in_common() -> None:
    rng = np.random.default_rng(0)
    training, test = related(rng, 200), related(rng, 50)
    means = MeanPredictor.fitted([3, 5], training, [np.ones(sample.shape) for sample in training])
    positions = np.concatenate(pass_positions(9, 9))
    spread, left = np.zeros(8), np.zeros(8)
    for sample in test:
        flat = sample.reshape(8, -1)[:, positions]
        spread += np.square(flat).sum(1)
        left += np.square(flat - means.quarters(sample, 0, 8) / QUARTERS).sum(1)
    assert (left[3:] < 0.8 * spread[3:]).all()
    assert (left[:3] < 0.9 * spread[:3]).all()  # where only the second pass has a mean
    first = means.earlier[0, 3:].reshape(5, 8, 3, 3) / FACTOR_GRID
    assert np.abs(first[:, 0, 0, 1] - 0.4).max() < 0.2  # the position above
    assert np.abs(first[:, 1:3]).max() < 0.1


def test_symbols_that_have_nothing_in_common_have_no_means() -> None:
    rng = np.random.default_rng(1)
    activity = np.exp(rng.normal(0, 1.5, (40, 1, 2, 2))).repeat(4, 2).repeat(4, 3)
    training = list(np.rint(rng.laplace(0, 1, (40, 8, 8, 8)) * activity).astype(np.int32))
    means = MeanPredictor.fitted([3, 5], training, [np.ones(sample.shape) for sample in training])
    flat = [np.abs(means.quarters(sample, 0, 8)).mean() for sample in training]
    assert np.mean(flat) < 0.2 * np.mean(np.abs(training)) * QUARTERS


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 4)])
def test_few_samples_and_samples_of_many_shapes_can_be_fitted(count: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    samples = [random_symbols(rng, 9, (shape[0], shape[1] + i % 2)) for i in range(count)]
    means = MeanPredictor.fitted(group_sizes(9), samples, [np.ones(sample.shape) for sample in samples])
    assert means.quarters(samples[0], 0, 9).shape == (9, shape[0] * shape[1])


def test_errors_count_by_the_inverse_of_the_scale() -> None:
    """Half of the samples are ten times as large, and follow in another way: they count a tenth as much."""
    rng = np.random.default_rng(3)
    samples, scales = [], []
    for i in range(400):
        size, sign = ((1, 1), (10, -1))[i // 5 % 2]
        symbols = np.rint(rng.normal(0, 4 * size, (8, 2, 2)))
        symbols[3:] += np.rint(sign * 0.5 * symbols[:1])
        samples.append(symbols.astype(np.int32))
        scales.append(np.full(symbols.shape, float(size**4)))
    factor = MeanPredictor.fitted([3, 5], samples, scales).earlier[0, 3].reshape(-1, 3, 3)[0, 1, 1] / FACTOR_GRID
    assert factor == pytest.approx(0.5, abs=0.1)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([1, 4, 9, 20, 90]), st.integers(0, 2**32), st.binary(max_size=9))
def test_states_come_back_and_leave_what_follows(channels: int, seed: int, behind: bytes) -> None:
    means = random_predictor(np.random.default_rng(seed), channels)
    again, rest = MeanPredictor.from_bytes(means.sizes, means.to_bytes() + behind)
    assert rest == behind
    assert again.to_bytes() == means.to_bytes()
    assert (again.earlier == means.earlier).all()
    assert all((a == b).all() for a, b in zip(again.own, means.own, strict=True))


STATE = random_predictor(np.random.default_rng(4), 9).to_bytes()


@pytest.mark.parametrize("state", [b"", STATE[:3], STATE[:-1], b"\0" * 9, b"\xff" * 99], ids=lambda s: str(len(s)))
def test_states_that_are_none_are_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="means"):
        MeanPredictor.from_bytes(group_sizes(9), state)


def test_a_state_of_other_groups_is_refused() -> None:
    for channels in (8, 10):
        with pytest.raises(ValueError, match="of other groups"):
            MeanPredictor.from_bytes(group_sizes(channels), STATE)
