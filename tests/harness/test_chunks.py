"""The order of samples: every one once, in chunks that fit the scratch space; the samples that are timed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecbench.errors import UsageError
from codecbench.harness.chunks import (
    BATCH,
    GB,
    SHARES,
    TIMED_BATCHES,
    Chunk,
    SampleBatch,
    batches_of,
    chunks_of,
    drawn_positions,
)
from codecbench.workers.protocol import MODEL_BATCH
from codecbench.workload import Subset

counts_of_samples = st.fixed_dictionaries({"test": st.integers(1, 1500), "choice": st.integers(0, 500)})


def rows_of(batches: list[SampleBatch]) -> list[tuple[Subset, int]]:
    """The samples of batches, in order; their rows have to be counted through."""
    rows: list[tuple[Subset, int]] = []
    for batch in batches:
        assert batch.first == len(rows)
        rows += [(batch.subset, position) for position in batch.positions]
        assert batch.end == len(rows)
    return rows


@given(counts_of_samples, st.integers(1, 3_000_000), st.integers(MODEL_BATCH, 2000), st.floats(0, 0.9))
def test_chunks_have_every_sample_once_and_in_order_within_the_scratch_space(
    counts: dict[Subset, int], sample_bytes: int, room: int, more: float
) -> None:
    scratch_gb = (room + more) * sample_bytes * SHARES / GB
    chunks = chunks_of(counts, sample_bytes, scratch_gb)
    batches = [batch for chunk in chunks for batch in chunk.batches]
    expected = [("test", at) for at in range(counts["test"])] + [("choice", at) for at in range(counts["choice"])]
    assert rows_of(batches) == expected
    for chunk in chunks:
        assert chunk.count == sum(len(batch.positions) for batch in chunk.batches) == chunk.end - chunk.first
        assert chunk.count * sample_bytes * SHARES <= scratch_gb * GB * (1 + 1e-9)


@given(counts_of_samples, st.integers(MODEL_BATCH, 400))
def test_models_run_on_the_same_samples_together_in_any_scratch_space(counts: dict[Subset, int], room: int) -> None:
    for chunk in chunks_of(counts, 1000, (room + 0.5) * 1000 * SHARES / GB):
        for batch in chunk.batches:
            assert batch.positions.start % MODEL_BATCH == 0
            assert len(batch.positions) <= BATCH
            ends_there = batch.positions.stop == counts[batch.subset]
            assert ends_there or len(batch.positions) % MODEL_BATCH == 0


def test_what_fits_is_one_chunk() -> None:
    counts: dict[Subset, int] = {"test": 300, "choice": 70}
    (chunk,) = chunks_of(counts, 1000, 1.0)
    assert chunk.batches == batches_of(counts)
    assert [len(batch.positions) for batch in chunk.batches] == [128, 128, 44, 70]


@given(st.integers(1, 10**9), st.floats(1e-9, 100.0))
def test_too_little_space_is_said_with_a_number_that_is_enough(sample_bytes: int, scratch_gb: float) -> None:
    counts: dict[Subset, int] = {"test": 100, "choice": 0}
    try:
        chunks_of(counts, sample_bytes, scratch_gb)
    except UsageError as error:
        found = re.fullmatch(r"--scratch-gb \S+: tensors of \S+ MB need at least (\S+)", str(error))
        assert found is not None
        assert float(found[1]) > scratch_gb
        assert chunks_of(counts, sample_bytes, float(found[1]))


def test_the_text_for_too_little_space() -> None:
    with pytest.raises(UsageError, match=r"^--scratch-gb 0\.5: tensors of 100\.0 MB need at least 12\.8$"):
        chunks_of({"test": 1, "choice": 0}, 100_000_000, 0.5)


def test_a_chunk_of_some_positions_has_the_batches_of_these() -> None:
    chunk = Chunk(batches_of({"test": 300, "choice": 40}))
    assert [batch.positions.start for batch in chunk.only([290, 5]).batches] == [0, 256]
    assert chunk.only([]).batches == []
    # Choice samples are not timed, though their positions are the same numbers.
    assert {batch.subset for batch in chunk.only(range(300)).batches} == {"test"}


@given(st.integers(1, 10_000), st.integers(1, 64), st.integers(0, 2**32 - 1))
def test_positions_are_drawn_from_few_batches(count: int, limit: int, seed: int) -> None:
    found = drawn_positions(count, limit, seed)
    assert found == drawn_positions(count, limit, seed)
    assert set(found) <= set(range(count))
    assert len(found) == len(set(found))
    assert len({position // BATCH for position in found}) <= TIMED_BATCHES
    assert len(found) <= limit
    if count % BATCH == 0 or count < BATCH:  # else the short last batch may be among the few
        assert len(found) == min(count, limit)


def test_another_seed_times_other_samples() -> None:
    assert drawn_positions(2000, 24, 0) != drawn_positions(2000, 24, 1)
