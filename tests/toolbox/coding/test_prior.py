"""Priors and their codes: exact, within the bound, and safe against what no encoder wrote."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench import PayloadError
from codecbench.toolbox.coding.coders import PRECISION_BITS, BitstreamReader
from codecbench.toolbox.coding.prior import FEW_SYMBOLS, MAX_ALPHABET, MAX_SYMBOL, Prior

WHOLE = 1 << PRECISION_BITS


@st.composite
def priors(draw: st.DrawFn, max_rows: int = 4) -> Prior:
    """Any prior, from even to almost certain rows."""
    weights = st.one_of(st.just(0.0), st.floats(1e-6, 1), st.sampled_from([1e9, 1.0]))
    counts = draw(st.lists(st.lists(weights, min_size=1, max_size=40), max_size=max_rows))
    lowest = [draw(st.integers(-1000, 1000)) for _ in counts]
    return Prior.from_counts(lowest, [np.array(row) for row in counts])


@st.composite
def coded(draw: st.DrawFn) -> tuple[Prior, np.ndarray]:
    """A prior, and symbols of its alphabets, not drawn from its probabilities."""
    prior, count = draw(priors()), draw(st.integers(0, 50))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return prior, rng.integers(prior.min_symbols, prior.max_symbols + 1, (len(prior), count))


def skewed(rare: int, count: int, rows: int = 1) -> tuple[Prior, np.ndarray]:
    """Two symbols, the second with `rare` of 2^20, drawn from these probabilities."""
    prior = Prior([0] * rows, [np.array([WHOLE - rare, rare])] * rows)
    return prior, (np.random.default_rng(0).random((rows, count)) < rare / WHOLE).astype(np.int64)


# --- codes


@given(coded())
def test_symbols_come_back_and_their_size_keeps_to_the_bound(case: tuple[Prior, np.ndarray]) -> None:
    prior, symbols = case
    bitstream = prior.encode(symbols)
    assert (prior.decode(bitstream, symbols.shape[1]) == symbols).all()
    assert len(bitstream) <= 1.01 * prior.bound_bytes(symbols) + 4


@given(coded())
def test_symbols_written_in_one_call_are_those_written_row_by_row(case: tuple[Prior, np.ndarray]) -> None:
    prior, symbols = case
    rows = np.repeat(np.arange(len(prior)), symbols.shape[1])
    indices = (symbols - prior.min_symbols).astype(np.int32).reshape(-1)
    assert prior.write(rows, indices) == prior.encode(symbols)
    assert prior.bits(rows, indices).sum() / 8 == pytest.approx(prior.bound_bytes(symbols))


def test_many_symbols_written_in_one_call_are_read_run_by_run() -> None:
    prior = Prior([0, 5, -1], [np.array([1, WHOLE - 2, 1]), np.array([WHOLE]), np.array([WHOLE // 2, WHOLE // 2])])
    rows = np.arange(FEW_SYMBOLS + 10) % 3
    indices = np.where(rows == 1, 0, np.arange(len(rows)) // 3 % 2).astype(np.int32)
    for count in (0, 1, 2, 3, 99, len(rows)):
        reader = BitstreamReader(prior.write(rows[:count], indices[:count]), count, count > FEW_SYMBOLS)
        found = [reader.read(prior.models[row], 1)[0] for row in rows[:count]]
        reader.finish()
        assert found == indices[:count].tolist()


@pytest.mark.parametrize("rare", [1, 30, 1000, 30_000, WHOLE // 2])
@pytest.mark.parametrize("count", [FEW_SYMBOLS // 2, FEW_SYMBOLS // 2 + 1, 500_000])
def test_long_rows_that_are_almost_certain_keep_to_the_bound(rare: int, count: int) -> None:
    prior, symbols = skewed(rare, count, rows=2)
    bitstream = prior.encode(symbols)
    assert len(bitstream) <= 1.01 * prior.bound_bytes(symbols) + 4
    assert (prior.decode(bitstream, count) == symbols).all()


def test_a_large_alphabet_whose_first_symbol_is_almost_certain_keeps_to_the_bound() -> None:
    table = np.ones(MAX_ALPHABET, np.int64)
    table[-1] += WHOLE - MAX_ALPHABET
    prior = Prior([0], [table])
    symbols = np.full((1, 200_000), MAX_ALPHABET - 1)
    assert prior.bound_bytes(symbols) < len(prior.encode(symbols)) <= 1.01 * prior.bound_bytes(symbols) + 4


def test_short_messages_are_within_a_byte_of_the_bound_on_average() -> None:
    rng = np.random.default_rng(0)
    over = []
    for _ in range(300):
        prior = Prior.from_counts([0], [rng.dirichlet(np.ones(12))])
        symbols = rng.choice(12, (1, 60), p=prior.tables[0] / WHOLE)
        over.append(len(prior.encode(symbols)) - prior.bound_bytes(symbols))
    assert 0 < np.mean(over) < 0.7


def test_the_bound_is_the_sum_of_the_logarithms() -> None:
    prior = Prior([-1, 5], [np.array([WHOLE // 2, WHOLE // 4, WHOLE // 4]), np.array([WHOLE])])
    assert prior.bound_bytes(np.array([[-1, 0, 1, 1], [5, 5, 5, 5]])) == (1 + 2 + 2 + 2) / 8


def test_nothing_costs_nothing() -> None:
    certain = Prior([7, -7], [np.array([WHOLE])] * 2)
    assert certain.encode(np.array([[7] * 9, [-7] * 9])) == b""
    assert certain.decode(b"", 9).tolist() == [[7] * 9, [-7] * 9]
    for prior in (Prior([], []), skewed(9, 0)[0]):
        empty = np.zeros((len(prior), 0), np.int64)
        assert prior.encode(empty) == b""
        assert prior.bound_bytes(empty) == 0
        assert prior.decode(b"", 0).shape == empty.shape


@given(priors(), st.binary(max_size=60), st.integers(0, 30))
def test_arbitrary_bytes_give_symbols_of_the_alphabet_or_an_error(prior: Prior, bitstream: bytes, count: int) -> None:
    try:
        symbols = prior.decode(bitstream, count)
    except PayloadError:
        return
    assert symbols.shape == (len(prior), count)
    assert ((prior.min_symbols <= symbols) & (symbols <= prior.max_symbols)).all()


@pytest.mark.parametrize("rows", [1, 2])
def test_altered_bitstreams_of_the_ans_coder_give_symbols_of_the_alphabet_or_an_error(rows: int) -> None:
    prior, symbols = skewed(200_000, FEW_SYMBOLS, rows=2)
    valid = prior.encode(symbols)
    for altered in (valid[:-1], valid[: len(valid) // 2], valid + b"\1", b"", b"\xff" * 9, valid[::-1]):
        try:
            decoded = prior.decode(altered, FEW_SYMBOLS)
        except PayloadError:
            continue
        assert ((decoded == 0) | (decoded == 1)).all()


@pytest.mark.parametrize("count", [3, FEW_SYMBOLS + 1])
def test_bytes_behind_a_code_are_refused(count: int) -> None:
    prior, symbols = skewed(WHOLE // 4, count)
    valid = prior.encode(symbols)
    for bitstream in (valid + b"\0", valid + b"\1" * (count + 99)):
        with pytest.raises(PayloadError):
            prior.decode(bitstream, count)


# --- what is refused, what is clipped


def test_symbols_outside_the_alphabet_are_refused_and_clipped() -> None:
    prior = Prior.fitted(np.array([[0, 3], [5, 5]]))
    symbols = np.array([[-9, 9, 2], [5, 4, 6]])
    for use in (prior.encode, prior.bound_bytes):
        with pytest.raises(ValueError, match="outside its row's alphabet"):
            use(symbols)
        with pytest.raises(ValueError, match="shape"):
            use(symbols[:1])
    assert prior.clip(symbols).tolist() == [[-1, 4, 2], [5, 5, 5]]
    assert prior.clip(np.array([[-np.inf, np.inf], [0.0, 1e300]])).tolist() == [[-1, 4], [5, 5]]
    with pytest.raises(ValueError, match="not a number"):
        prior.clip(np.array([[np.nan], [5.0]]))


@pytest.mark.parametrize(
    ("lowest", "table"),
    [
        (0, [WHOLE - 1]),
        (0, [WHOLE, 0]),
        (0, [WHOLE + 1, -1]),
        (0, []),
        (MAX_SYMBOL, [WHOLE]),
        (-MAX_SYMBOL - 1, [WHOLE]),
        (0, [1] * MAX_ALPHABET + [WHOLE - MAX_ALPHABET]),
    ],
)
def test_tables_that_are_none_are_refused(lowest: int, table: list[int]) -> None:
    with pytest.raises(ValueError, match=r"table|alphabet"):
        Prior([lowest], [np.array(table, np.int64)])


@pytest.mark.parametrize("counts", [[], [np.nan], [1, -1], [np.inf], [1] * (MAX_ALPHABET + 1)])
def test_counts_that_are_none_are_refused(counts: list[float]) -> None:
    with pytest.raises(ValueError, match="counts are"):
        Prior.from_counts([0], [np.array(counts, float)])


# --- tables


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=100))
def test_tables_are_in_proportion_to_the_counts(counts: list[float]) -> None:
    (table,) = Prior.from_counts([0], [np.array(counts)]).tables
    assert table.sum() == WHOLE
    assert table.min() >= 1
    scaled = np.array(counts) / max(max(counts), 1e-300)
    shares = scaled / scaled.sum() if scaled.any() else np.full(len(counts), 1 / len(counts))
    assert np.abs(table - 1 - shares * (WHOLE - len(counts))).max() <= 1.01


def test_a_fitted_prior_counts_and_leaves_a_margin() -> None:
    prior = Prior.fitted(np.array([[2, 2, 2, 4], [1, 1, 1, 1]]), margin=2, pseudo_count=0.5)
    assert (prior.lowest, [len(table) for table in prior.tables]) == ([0, 1], [7, 1])
    assert np.allclose(prior.tables[0] / WHOLE, np.array([0.5, 0.5, 3.5, 0.5, 1.5, 0.5, 0.5]) / 7.5, atol=1e-5)


@pytest.mark.parametrize("symbols", [[[]], [[0, MAX_ALPHABET]]])
def test_a_prior_is_fitted_to_symbols_that_lie_near_each_other(symbols: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"at least one symbol|more coarsely"):
        Prior.fitted(np.array(symbols, np.int64))


# --- states


@given(priors())
def test_a_state_gives_the_prior_back(prior: Prior) -> None:
    again = Prior.from_bytes(prior.to_bytes())
    assert again.lowest == prior.lowest
    assert all((one == other).all() for one, other in zip(again.tables, prior.tables, strict=True))
    assert again.to_bytes() == prior.to_bytes()


@given(st.data())
def test_a_damaged_state_is_refused_or_a_prior(data: st.DataObject) -> None:
    whole = data.draw(priors()).to_bytes()
    state = bytearray(whole)
    position = data.draw(st.integers(0, len(state) - 1))
    state[position] ^= data.draw(st.integers(1, 255))
    damaged = data.draw(st.sampled_from([bytes(state), bytes(state[:position]), bytes(state) + b"x"]))
    try:
        found = Prior.from_bytes(damaged)
    except (PayloadError, ValueError):
        return
    assert found.to_bytes() == whole  # a stream's last byte has bits that say nothing
