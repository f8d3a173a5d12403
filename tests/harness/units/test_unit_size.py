"""Units are neither many nor long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from codecbench.harness.chunks import chunks_of
from codecbench.harness.units.unit_size import FEWEST_CELLS, UNIT_S, UNITS_PER_SLOT, UnitSize

COUNTS = st.integers(1, 60_000)


def test_short_runs_have_several_units_for_each_crew() -> None:
    chunks = chunks_of({"test": 2_000, "choice": 1_000}, 12_288, 2.0)
    size = UnitSize.of([(chunks, 10)] * 5, 2, 0.001)
    assert size.cells == 10
    assert UNITS_PER_SLOT * 2 <= 5 * size.count(chunks, 10) <= 3 * UNITS_PER_SLOT * 2


def test_units_of_large_models_are_as_short_as_a_batch_allows() -> None:
    chunks = chunks_of({"test": 50_000, "choice": 5_000}, 602_112, 2.0)
    size = UnitSize.of([(chunks, 250)], 2, 0.1)
    assert size == UnitSize(1, FEWEST_CELLS)


@given(COUNTS, COUNTS, st.integers(1, 300), st.integers(1, 64), st.floats(1e-5, 1.0))
def test_no_unit_takes_long_that_could_be_shorter(
    test: int, choice: int, cells: int, slots: int, sample_s: float
) -> None:
    chunks = chunks_of({"test": test, "choice": choice}, 12_288, 2.0)
    size = UnitSize.of([(chunks, cells)], slots, sample_s)
    batch_s = sample_s * max(len(batch.positions) for chunk in chunks for batch in chunk.batches)
    assert 1 <= size.cells <= cells
    assert size.batches == 1 or size.batches * batch_s * (size.cells + 1) <= UNIT_S * 1.001
    assert size.count(chunks, cells) >= 1


def test_the_work_is_linear_in_samples() -> None:
    """Units of long runs have one size, so that their number grows with the samples."""
    counts = []
    for samples in (10_000, 20_000, 40_000):
        chunks = chunks_of({"test": samples, "choice": 0}, 12_288, 2.0)
        counts.append(UnitSize.of([(chunks, 50)], 2, 0.01).count(chunks, 50))
    assert abs(counts[1] / counts[0] - 2) <= 0.1
    assert abs(counts[2] / counts[1] - 2) <= 0.1
