"""The timing pass: the steps of each sample, and the cost on the device."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.runs import RAW_BYTES, record_of

from codecbench.measure import percentile
from codecbench.results.store import Store


def test_a_record_keeps_the_steps_of_each_timed_sample(measured: Path) -> None:
    record = record_of(measured, "raw", "stem")
    assert record.timed is not None
    assert record.time is not None
    assert record.timed.payload_bytes == [RAW_BYTES["stem"]] * 24
    for step in ("head_s", "encode_s", "decode_s", "tail_s"):
        seconds, summary = getattr(record.timed, step), getattr(record.time, step)
        assert len(seconds) == summary.n == 24
        assert percentile(seconds, 0.5) == pytest.approx(summary.median, abs=1e-8)
    others = [r.timed for r in Store(measured).records() if r.key.split == "stem" and r.timed is not None]
    assert len(others) > 1
    assert all(other.head_s == record.timed.head_s for other in others)


def test_timings_have_a_sample_each(measured: Path) -> None:
    for record in Store(measured).records():
        if record.status == "ok":
            assert record.time is not None
            steps = (record.time.head_s, record.time.encode_s, record.time.decode_s, record.time.tail_s)
            assert [step.n for step in steps] == [24] * 4
            assert all(0 < step.median <= step.p95 for step in steps)
            assert record.time.fit_s is None


def test_costs_are_null_where_nothing_was_counted(measured: Path) -> None:
    cost = record_of(measured, "raw", "stem").cost
    assert cost is not None
    assert cost.head_flop == 2 * 27 * 6 * 16
    assert (cost.encoder_flop, cost.encoder_parameters) == (None, None)
    assert cost.head_peak_bytes is not None
    assert cost.head_peak_bytes > 0
    assert cost.device_peak_bytes == max(cost.head_peak_bytes, cost.encoder_peak_bytes or 0)
