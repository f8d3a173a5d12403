"""Priors of contexts: exact for any weights and shapes, near their bound, and safe against what no encoder wrote."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codecbench import PayloadError
from codecbench.toolbox.coding.context_prior import FINE_LEVELS, PHASES, ContextPrior
from codecbench.toolbox.coding.prior import FEW_SYMBOLS, Prior
from codecbench.toolbox.coding.scale_model import LEVELS, ScaleModel, group_sizes
from codecbench.toolbox.coding.symbol_means import MeanPredictor

Symbols = NDArray[np.int32]
SHAPES = st.one_of(st.just((1, 1)), st.tuples(st.just(1), st.integers(1, 9)), st.tuples(*[st.integers(1, 5)] * 2))


def laplace(rng: np.random.Generator, *shape: int, scale: float = 1.5) -> Symbols:
    return np.rint(rng.laplace(0, scale, shape)).astype(np.int32)


def weights(rng: np.random.Generator, channels: int, max_weight: float = 0.5) -> NDArray[np.float64]:
    """A constant, and factors of all sums, most of them small; a few negative."""
    return rng.uniform(-0.1, max_weight, (channels, 1 + 3 * len(group_sizes(channels)))) ** 3 + 0.05


@cache
def made(seed: int, channels: int, max_weight: float = 0.5) -> ContextPrior:
    rng = np.random.default_rng(seed)
    return ContextPrior.fitted(weights(rng, channels, max_weight), [laplace(rng, channels, 3, 4) for _ in range(3)])


@st.composite
def cases(draw: st.DrawFn) -> tuple[ContextPrior, Symbols]:
    """A prior of one to seven groups, and symbols from typical ones to some that are far outside its tables."""
    channels = draw(st.sampled_from([1, 2, 3, 4, 8, 9, 16, 17, 40, 70]))
    seed, spread = draw(st.integers(0, 2**32)), draw(st.sampled_from([0.0, 1.0, 30.0]))
    symbols = laplace(np.random.default_rng(seed), channels, *draw(SHAPES), scale=spread)
    return made(draw(st.integers(0, 1)), channels, draw(st.sampled_from([0.01, 0.5, 3.0]))), symbols


def sent(prior: ContextPrior, symbols: Symbols) -> Symbols:
    """What comes out of the decoder."""
    return prior.decode(prior.encode(symbols), symbols.shape[1:])


# --- codes


@settings(deadline=None, max_examples=60)
@given(cases())
def test_what_is_within_the_tables_comes_back(case: tuple[ContextPrior, Symbols]) -> None:
    prior, symbols = case
    within = sent(prior, symbols)  # clipped where need be
    assert within.shape == symbols.shape
    bitstream = prior.encode(within)
    assert (prior.decode(bitstream, symbols.shape[1:]) == within).all()
    assert prior.encode(symbols) == bitstream
    # On average it takes no less either; but the interval of the first symbols of all tables takes no byte at all.
    assert len(bitstream) <= 1.01 * prior.bound_bytes(within) + 4
    assert prior.bound_bytes(symbols) == pytest.approx(prior.bound_bytes(within))
    if np.abs(symbols).max() <= 1:  # every table goes so far, but for those of the first group, which may not
        first = prior.scales.sizes[0]
        assert (within[first:] == symbols[first:]).all()


@pytest.mark.parametrize("channels", [3, 20])
def test_symbols_outside_a_table_are_sent_as_the_nearest_inside(channels: int) -> None:
    prior = made(0, channels)
    prior = replace(prior, means=MeanPredictor.zero(prior.scales.sizes))
    high, low = (sent(prior, np.full((channels, 2, 2), value, np.int32)) for value in (10_000, -10_000))
    tables = zip(prior.prior.lowest, prior.prior.tables, strict=True)
    highest = [lowest + len(table) - 1 for lowest, table in tables]
    assert high[:3, 0, 0].tolist() == highest[: 3 * PHASES : PHASES]
    assert low[:3, 0, 0].tolist() == prior.prior.lowest[: 3 * PHASES : PHASES]
    assert (high > 0).all()
    assert (low < 0).all()


@pytest.mark.parametrize("spread", [1.0, 100.0])
def test_neither_type_nor_memory_layout_matters(spread: float) -> None:
    prior = made(1, 17)
    symbols = laplace(np.random.default_rng(2), 17, 4, 6, scale=spread)
    swapped = np.ascontiguousarray(symbols.transpose(0, 2, 1)).transpose(0, 2, 1)
    last = np.ascontiguousarray(symbols.transpose(1, 2, 0)).transpose(2, 0, 1)
    given_types = [symbols.astype(np.float32), symbols.astype(np.int64), swapped, last]
    assert {prior.encode(alike) for alike in given_types} == {prior.encode(symbols)}


def test_many_symbols_take_the_other_coder_and_keep_to_the_bound() -> None:
    prior = made(2, 40)
    symbols = laplace(np.random.default_rng(0), 40, 41, 41, scale=0.3)
    assert symbols.size > FEW_SYMBOLS
    within = sent(prior, symbols)
    bitstream = prior.encode(within)
    assert (prior.decode(bitstream, (41, 41)) == within).all()
    assert len(bitstream) <= 1.01 * prior.bound_bytes(within) + 4


def test_messages_take_no_less_than_their_bound_on_average() -> None:
    prior, rng = made(0, 17), np.random.default_rng(3)
    messages = [sent(prior, laplace(rng, 17, 3, 4)) for _ in range(200)]
    mean_bytes = np.mean([len(prior.encode(message)) for message in messages])
    mean_bound_bytes = np.mean([prior.bound_bytes(message) for message in messages])
    assert mean_bound_bytes - 1 <= mean_bytes <= 1.01 * mean_bound_bytes + 4


# --- contexts


@pytest.mark.parametrize("channels", [9, 17, 70])
def test_a_level_depends_on_earlier_groups_only(channels: int) -> None:
    prior, rng = made(3, channels, max_weight=2.0), np.random.default_rng(4)
    symbols = laplace(rng, channels, 3, 5)
    spans = prior.scales.spans
    for start, end in spans[1:]:
        other = symbols.copy()
        other[start:] = laplace(rng, channels - start, 3, 5, scale=20)
        whole, part = prior.scales.features(symbols), prior.scales.features(other, start)
        assert (prior.scales.levels(whole, start, end) == prior.scales.levels(part, start, end)).all()
    # ... and on the group just before.
    other = symbols.copy()
    other[: spans[0][1]] += 9
    scales = prior.scales
    changed = scales.levels(scales.features(other), *spans[1]) != scales.levels(scales.features(symbols), *spans[1])
    assert changed.any()


def test_a_context_spares_bits_where_activity_varies() -> None:
    rng = np.random.default_rng(5)

    def draw(count: int) -> list[Symbols]:
        activity = np.exp(rng.normal(0, 1.5, (count, 1, 2, 2))).repeat(4, 2).repeat(4, 3)
        return list(np.rint(rng.laplace(0, 1, (count, 16, 8, 8)) * activity).astype(np.int32))

    training, test = draw(40), draw(10)
    groups = len(group_sizes(16))
    factors = np.zeros((16, 1 + 3 * groups))
    factors[:, 0] = 0.02
    for first, known in ((3, 1), (8, 2)):  # the mean magnitude of all channels before, at the place and around it
        factors[first:, 1 : 1 + 3 * groups] = 0
        factors[first:, 1 : 1 + known] = 0.2 / first
        factors[first:, 1 + groups : 1 + groups + known] = 0.8 / first
    prior = ContextPrior.fitted(factors, training)
    rows = [np.concatenate([sample.reshape(16, -1) for sample in part], 1) for part in (training, test)]
    static = Prior.fitted(rows[0])
    context_bytes = sum(len(prior.encode(sample)) for sample in test)
    assert context_bytes < 0.9 * static.bound_bytes(static.clip(rows[1]))


def test_outliers_do_not_speak_for_all() -> None:
    prior = made(0, 9, max_weight=2.0)
    symbols = np.zeros((9, 2, 2), np.int32)
    levels = []
    for outlier in (15, 16, 10_000):
        symbols[0, 0, 0] = outlier
        levels.append(prior.scales.levels(prior.scales.features(symbols), 3, 8).tolist())
    assert levels[0] == levels[1] == levels[2]


@given(st.integers(1, 3000))
def test_sizes_of_groups_sum_to_the_channels(channels: int) -> None:
    sizes = group_sizes(channels)
    assert sum(sizes) == channels
    assert min(sizes) >= 1
    assert len(sizes) <= 3 + math.ceil(math.log2(max(channels / 8, 1)))
    assert all(
        size == usual for size, usual in zip(sizes[:-1], [3, 5, 8, 16, 32, 64, 128, 256, 512, 1024], strict=False)
    )


# --- states


@settings(deadline=None, max_examples=20)
@given(cases())
def test_states_come_back(case: tuple[ContextPrior, Symbols]) -> None:
    prior, symbols = case
    again = ContextPrior.from_bytes(prior.to_bytes())
    assert again.to_bytes() == prior.to_bytes()
    assert again.encode(symbols) == prior.encode(symbols)
    assert again.channels == prior.channels == len(symbols)


def test_floating_weights_are_those_given_on_their_grid() -> None:
    rng = np.random.default_rng(6)
    given_weights = weights(rng, 20)
    prior = ContextPrior.fitted(given_weights, [laplace(rng, 20, 2, 2)])
    assert np.abs(prior.floating_weights() - given_weights).max() < 9 / 2**14
    again = ContextPrior.fitted(prior.floating_weights(), [laplace(rng, 20, 2, 2)])
    assert (again.scales.weights == prior.scales.weights).all()


STATE = made(7, 9).to_bytes()


@settings(deadline=None)
@given(st.integers(0, len(STATE) - 1))
def test_states_that_are_cut_short_are_refused(length: int) -> None:
    with pytest.raises((ValueError, PayloadError)):
        ContextPrior.from_bytes(STATE[:length])


@settings(deadline=None)
@given(st.integers(0, 8 * len(STATE) - 1))
def test_states_with_a_flipped_bit_are_refused_or_code(bit: int) -> None:
    damaged = bytearray(STATE)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        prior = ContextPrior.from_bytes(bytes(damaged))
    except (ValueError, PayloadError):
        return
    symbols = laplace(np.random.default_rng(0), prior.channels, 2, 3)
    assert sent(prior, symbols).shape == symbols.shape


@pytest.mark.parametrize("state", [b"", b"\0" * 8, b"\0" * 100, b"\xff" * 100, STATE + b"\0", b"\1\0\0\0" * 30])
def test_foreign_states_are_refused(state: bytes) -> None:
    with pytest.raises((ValueError, PayloadError)):
        ContextPrior.from_bytes(state)


# --- damage


@settings(deadline=None, max_examples=60)
@given(cases(), st.data())
def test_damaged_bitstreams_give_symbols_of_the_shape_or_an_error(
    case: tuple[ContextPrior, Symbols], data: st.DataObject
) -> None:
    prior, symbols = case
    damaged = bytearray(prior.encode(symbols))
    if damaged and data.draw(st.booleans(), "flip"):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif damaged and data.draw(st.booleans(), "cut"):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    else:
        damaged += data.draw(st.binary(min_size=1, max_size=9))
    try:
        decoded = prior.decode(bytes(damaged), symbols.shape[1:])
    except PayloadError:
        return
    assert decoded.shape == symbols.shape
    assert decoded.dtype == np.int32


@pytest.mark.parametrize("bitstream", [b"\0", bytes(100_000), b"\1" * 100_000], ids=["zero", "zeros", "long"])
def test_foreign_bitstreams_are_refused(bitstream: bytes) -> None:
    with pytest.raises(PayloadError):
        made(0, 9).decode(bitstream, (2, 2))


# --- the format


def golden_predictor() -> MeanPredictor:
    means = MeanPredictor.zero((3, 5, 8, 2))
    for part in (means.earlier, *means.own):
        indices = np.arange(part.size)
        part[:] = np.where(indices % 5, 0, indices * 29 % 33 - 16).reshape(part.shape)
    return means


def golden_prior() -> tuple[ContextPrior, Symbols]:
    """A prior and symbols whose numbers follow from integers alone."""
    sizes = (3, 5, 8, 2)
    factors = np.arange(18 * 13, dtype=np.int64).reshape(18, 13) * 37 % 11 * 64
    fine = [2, 3, 4, *(1 + level // 6 for level in range(FINE_LEVELS))]
    reaches = [reach for reach in fine for _ in range(PHASES)]
    reaches += [1 + level // 6 for level in range(FINE_LEVELS, LEVELS)]
    counts = [(1 + reach - np.abs(np.arange(-reach, reach + 1))) ** 2 for reach in reaches]
    symbols = (np.arange(18 * 4 * 5) * 7919 % 101 - 50) // (9 + np.arange(18 * 4 * 5) * 31 % 23)
    tables = Prior.from_counts([-reach for reach in reaches], counts)
    prior = ContextPrior(ScaleModel(sizes, factors), golden_predictor(), tables)
    return prior, symbols.astype(np.int32).reshape(18, 4, 5)


def test_the_format_stays() -> None:
    prior, symbols = golden_prior()
    within = sent(prior, symbols)
    assert 0 < (within != symbols).sum() < 20  # some are clipped, and what is sent instead tells the later ones
    assert prior.encode(symbols).hex() == GOLDEN
    assert hashlib.sha256(within.astype("<i4").tobytes()).hexdigest() == SYMBOLS
    assert hashlib.sha256(prior.to_bytes()[: 8 + 4 * 4 + 4 * 18 * 13]).hexdigest() == STATE_HEAD


GOLDEN = (
    "0ac362de5d9696bcd98a6ab3c72c131a3f56df62eacd3d30165496e95347db7134235421e6ec307afcf74e271f4c9bf7a75de7c508fb00d5"
    "b33c8555ae5419aaf2a72e7171d9884a6849f1f91044a485676382b2cf14be1eb935c19b286a7be78ce1e9568f694ff689459a2ae456f204"
    "bb29a7c81b0aef7995f31eab19cc4c53a7198ffd3581ad0b6dea16"
)
SYMBOLS = "679edc73d187270a705844c811970ecc459ccd2cb97ad5edc7648bc8aa719f70"
STATE_HEAD = "eb283efd7d0955b4fdf20611c00de1d22e72d9900848e6042ba7ea1bf1240b80"
"""Of groups and weights; the rest is the state of a `Prior`."""
