"""BD-rate: exact where the answer is known, refused with a reason where it would mean nothing."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import make_record, undefined
from support.rates import LEVELS, curve_of, mixed, rising

from codecbench.analysis import bd_rate
from codecbench.analysis.bd_rate import Envelope, compare, envelope
from codecbench.errors import UsageError
from codecbench.results.record import Quality, Record


def line(points: int, first: float, step: float, low: float, high: float) -> Envelope:
    """Log-linear: bytes = first * exp(step * (metric - low)), between two metrics."""
    metrics = [low + (high - low) * i / (points - 1) for i in range(points)]
    return Envelope(tuple(first * math.exp(step * (m - low)) for m in metrics), tuple(metrics))


def test_half_the_bytes_at_every_metric_is_minus_50_percent() -> None:
    records = [*curve_of("alpha", rising(), [*LEVELS]), *curve_of("beta", rising(50), [*LEVELS])]
    (found,) = bd_rate.build(records, "alpha")
    value = found.values["top-1"]["input"]["beta"]
    assert value.percent == pytest.approx(-50)
    assert (value.low, value.high) == (83.0, 90.5)
    assert value.overlap == 1
    (other,) = bd_rate.build(records, "beta")
    assert other.values["top-1"]["input"]["alpha"].percent == pytest.approx(100)


@given(
    st.lists(st.integers(1, 400), min_size=4, max_size=9, unique=True),
    st.lists(st.floats(1.05, 3), min_size=9, max_size=9),
    st.floats(0.1, 10),
)
def test_a_factor_is_found_whatever_the_curve(metrics: list[int], ratios: list[float], factor: float) -> None:
    sizes = [100.0]
    for ratio in ratios[: len(metrics) - 1]:
        sizes.append(sizes[-1] * ratio)
    anchor = Envelope(tuple(sizes), tuple(sorted(float(metric) for metric in metrics)))
    scaled = Envelope(tuple(factor * size for size in sizes), anchor.metric)
    assert compare(scaled, anchor).percent == pytest.approx(100 * (factor - 1), abs=1e-6)


@given(st.floats(-0.3, 0.3), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_log_linear_curves_have_the_mean_of_their_difference(offset: float, step: float, other_step: float) -> None:
    anchor, curve = line(5, 100, step, 80, 90), line(6, 100 * math.exp(offset), other_step, 82, 92)
    low, high = 82, 90

    def mean_log(first_log: float, slope: float, start: float) -> float:
        return first_log + slope * ((low + high) / 2 - start)

    difference = mean_log(math.log(100) + offset, other_step, 82) - mean_log(math.log(100), step, 80)
    assert compare(curve, anchor).percent == pytest.approx(100 * (math.exp(difference) - 1), rel=1e-6, abs=1e-6)


def test_only_points_that_no_smaller_payload_beats_count() -> None:
    found = envelope([(300, 90, 1), (100, 80, 1), (200, 79, 3), (250, 80, 3), (400, 91, 3)])
    assert found.payload_bytes == (100, 300, 400)
    assert found.metric == (80, 90, 91)
    assert found.dropped == 2
    assert found.noise == 3


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 20), st.just(0.0)), max_size=30))
def test_an_envelope_rises_and_drops_only_what_is_beaten(points: list[tuple[float, float, float]]) -> None:
    found = envelope(points)
    assert all(a < b for a, b in zip(found.metric, found.metric[1:], strict=False))
    assert all(a < b for a, b in zip(found.payload_bytes, found.payload_bytes[1:], strict=False))
    assert found.points + found.dropped == len(points)
    for size, metric, _ in points:
        assert any(s <= size and m >= metric for s, m in zip(found.payload_bytes, found.metric, strict=True))


GOOD = line(5, 100, 0.1, 80, 90)


@pytest.mark.parametrize(
    ("curve", "anchor", "reason"),
    [
        (line(3, 100, 0.1, 80, 90), GOOD, "its curve has 3 points on its envelope"),
        (GOOD, line(2, 100, 0.1, 80, 90), "the anchor's curve has 2 points"),
        (GOOD, Envelope(), "the anchor's curve has 0 points"),
        (line(5, 100, 0.1, 91, 95), GOOD, "no metric in common"),
        (line(5, 100, 0.1, 88, 98), GOOD, "less than 50 %"),
        (Envelope((1, 2, 3, 4), (80.0, 80.1, 80.2, 80.3), noise=0.5), GOOD, "narrower than the uncertainty"),
    ],
)
def test_a_number_that_would_mean_nothing_is_refused(curve: Envelope, anchor: Envelope, reason: str) -> None:
    found = compare(curve, anchor)
    assert found.percent is None
    assert reason in found.reason


def test_where_less_is_better_the_range_is_told_in_the_metrics_own_direction() -> None:
    options: dict[str, Any] = {"higher_is_better": False, "uncompressed": 0.08, "half_width": 0.01}
    wer = [0.08, 0.04, 0.02, 0.01, 0.005]
    records = [*curve_of("alpha", rising(), wer, **options), *curve_of("beta", rising(200), wer, **options)]
    (found,) = bd_rate.build(records, "alpha")
    value = found.values["WER"]["input"]["beta"]
    assert value.percent == pytest.approx(100)
    assert (value.low, value.high) == pytest.approx((0.085, 0.16))


def test_psnr_at_an_image_input_is_a_metric_of_its_own() -> None:
    def with_psnr(records: list[Record], first: float) -> list[Record]:
        return [
            record.model_copy(update={"quality": Quality(psnr_db=first + 2 * i, ssim=0.9)})
            for i, record in enumerate(records)
        ]

    records = [
        *with_psnr(curve_of("alpha", rising(), [*LEVELS]), 30),
        *with_psnr(curve_of("beta", rising(80), [*LEVELS]), 30),
        *curve_of("alpha", rising(), [*LEVELS], split="stem"),
        *curve_of("beta", rising(), [*LEVELS], split="stem"),
    ]
    (found,) = bd_rate.build(records, "alpha")
    assert list(found.values["PSNR"]) == ["input"]
    assert found.values["PSNR"]["input"]["beta"].percent == pytest.approx(-20)
    assert list(found.values["top-1"]) == ["input", "stem"]


def test_a_workload_without_the_anchor_is_left_out_and_an_unknown_row_suggests() -> None:
    other = curve_of("beta", rising(), [*LEVELS], workload="other")
    assert [found.workload for found in bd_rate.build([*mixed(), *other], "alpha")] == ["toy"]
    with pytest.raises(UsageError, match="did you mean 'alpha'"):
        bd_rate.build(mixed(), "alhpa")
    with pytest.raises(UsageError, match="no measured records"):
        bd_rate.build([make_record(status="failed")], "alpha")


def test_the_default_anchor_has_a_curve_at_the_most_splits() -> None:
    assert bd_rate.default_anchor(mixed()) == "alpha"
    assert bd_rate.default_anchor(curve_of("raw", [10.0], [0.0])) is None


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bjontegaard", None)
    with pytest.raises(UsageError, match=r"pip install 'codecbench\[figures\]'"):
        compare(GOOD, GOOD)


def test_points_of_no_bytes_and_points_without_a_metric_are_left_out_by_name() -> None:
    records = [*curve_of("alpha", rising(), [*LEVELS]), *curve_of("beta", rising(50), [*LEVELS])]
    (without,) = bd_rate.build(records, "alpha")
    broken = undefined(make_record(codec="beta", point={"level": 9}, payload_bytes=60))
    empty = make_record(codec="beta", point={"level": 8}, payload_bytes=0, change=-9.0)
    (found,) = bd_rate.build([*records, empty, broken], "alpha")
    assert found.values == without.values
    assert found.left_out[-2] == "Left out: 1 point of 0 bytes (beta): 0 has no logarithm."
    assert found.left_out[-1].startswith("Left out: 1 point (beta), because top-1 is undefined")
    (turned,) = bd_rate.build([*records, empty, broken], "beta")
    assert turned.values["top-1"]["input"]["alpha"].percent == pytest.approx(100)


@given(st.lists(st.tuples(st.sampled_from([0, 1, 1, 5, 1e300]), st.sampled_from([-1.0, -2.0, 0.0])), min_size=1))
def test_equal_points_and_points_of_no_bytes_give_a_reason_or_a_number(
    points: list[tuple[float, float]],
) -> None:
    sizes, changes = (list(values) for values in zip(*points, strict=True))
    (found,) = bd_rate.build([*curve_of("alpha", rising(), [*LEVELS]), *curve_of("beta", sizes, changes)], "alpha")
    rate = found.values["top-1"]["input"]["beta"]
    assert rate.reason if rate.percent is None else math.isfinite(rate.percent)
