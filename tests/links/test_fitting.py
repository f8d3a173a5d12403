"""Links fitted to pairs: the constants that made them come back, and `wifi-450` from the rows of Table 1 alone."""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from codecbench import TcpRampLink, manager
from codecbench.errors import UsageError
from codecbench.links.fitting import LinkFit, fit_pairs
from codecbench.registry import links

SIZES = np.array([500, 1_500, 3_000, 6_000, 12_000, 25_000, 50_000, 100_000, 200_000, 400_000, 800_000, 1_600_000])


def published(table: str) -> tuple[np.ndarray, np.ndarray]:
    """Payload bytes and network ms of the paper's rows."""
    with (files("codecbench") / "analysis" / "data" / "paper_tables.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["table"] == table]
    payload_bytes = np.array([float(row["payload_kib"]) * 1024 for row in rows])
    return payload_bytes, np.array([float(row["network_ms"]) for row in rows])


@pytest.fixture(scope="module")
def table_1() -> LinkFit:
    payload_bytes, ms = published("1")
    assert len(payload_bytes) == 30
    return fit_pairs(payload_bytes, ms)


def test_wifi_450_is_the_fit_to_table_1(table_1: LinkFit) -> None:
    preset = links(manager())["wifi-450"]
    assert isinstance(preset, TcpRampLink)
    constants = ("round_trip_s", "bandwidth_bit_per_s", "base_s", "initial_window_bytes", "handshake_round_trips")
    for name in (*constants, "loss"):
        assert getattr(table_1.link, name) == pytest.approx(getattr(preset, name), rel=0.005), name


@pytest.mark.parametrize(("table", "mean", "median"), [("1", 0.17, 0.07), ("2", 0.21, 0.17)])
def test_wifi_450_is_near_both_published_tables(table: str, mean: float, median: float) -> None:
    payload_bytes, ms = published(table)
    relative_error = np.abs(links(manager())["wifi-450"].seconds(payload_bytes) * 1e3 / ms - 1)
    assert relative_error.mean() <= mean
    assert np.median(relative_error) <= median


def test_the_errors_of_a_fit_are_those_of_its_link(table_1: LinkFit) -> None:
    payload_bytes, ms = published("1")
    relative_error = np.abs(table_1.link.seconds(payload_bytes) * 1e3 / ms - 1)
    assert table_1.mean_error == pytest.approx(relative_error.mean())
    assert table_1.median_error == pytest.approx(np.median(relative_error))
    assert table_1.held_out_mean_error > table_1.mean_error
    assert table_1.held_out_median_error < 0.07


@settings(max_examples=4, deadline=None)
@given(
    window_segments=st.sampled_from([1, 2, 10]),
    round_trip_s=st.floats(0.02, 0.1),
    bandwidth_bit_per_s=st.floats(2e7, 1e8),
    base_s=st.floats(0.001, 0.05),
)
def test_a_ramp_is_found_again(
    window_segments: int, round_trip_s: float, bandwidth_bit_per_s: float, base_s: float
) -> None:
    made = TcpRampLink("l", round_trip_s, bandwidth_bit_per_s, base_s, initial_window_bytes=1_460 * window_segments)
    fitted = fit_pairs(SIZES, made.seconds(SIZES) * 1e3)
    # Three digits, and among near-equal ramps the one with fewer stalls, leave this much.
    assert fitted.mean_error < 0.025


def test_a_line_is_found_again_without_a_round_trip() -> None:
    made = TcpRampLink("l", 0.0, 19.1e6, 0.0021)
    fitted = fit_pairs(np.repeat(SIZES, 3), np.repeat(made.seconds(SIZES) * 1e3, 3))
    assert (fitted.link.base_s, fitted.link.bandwidth_bit_per_s) == (0.0021, 19.1e6)
    assert fitted.link.round_trip_s == 0
    assert (fitted.pairs, fitted.sizes) == (36, 12)
    assert fitted.held_out_mean_error < 1e-3


def test_what_a_solver_leaves_below_zero_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def within_its_tolerance(*arguments: Any, **keywords: Any) -> Any:
        solved = solve(*arguments, **keywords)
        solved.x = solved.x - np.array([6e-8, 6e-8, *[0.0] * (len(solved.x) - 2)])
        return solved

    solve = scipy.optimize.linprog
    monkeypatch.setattr(scipy.optimize, "linprog", within_its_tolerance)
    size = np.array([1e3, 1e4, 5e4, 1e5, 4e5, 6e5])
    assert fit_pairs(size, 1e-4 * size).link.base_s == 0.0


def test_an_outlier_among_repeats_does_no_harm() -> None:
    made = TcpRampLink("l", 0.0, 19.1e6, 0.0021)
    size, ms = np.repeat(SIZES, 3), np.repeat(made.seconds(SIZES) * 1e3, 3)
    ms[::3] *= 40
    assert fit_pairs(size, ms).link.bandwidth_bit_per_s == 19.1e6


def test_the_handshake_of_fresh_connections_is_known_not_fitted() -> None:
    made = TcpRampLink("l", 0.05, 2e7, 0.05, handshake_round_trips=1)
    fitted = fit_pairs(SIZES, made.seconds(SIZES) * 1e3, handshake_round_trips=1)
    assert fitted.link.handshake_round_trips == 1
    assert fitted.mean_error < 0.025


def test_a_fit_is_deterministic() -> None:
    generator = np.random.default_rng(0)
    ms = (2 + SIZES / 5e3) * generator.lognormal(0, 0.1, len(SIZES))
    assert fit_pairs(SIZES, ms) == fit_pairs(SIZES[::-1], ms[::-1])


@pytest.mark.parametrize(
    ("size", "ms", "said"),
    [
        ([1, 2, 3, 4, 4], [1, 2, 3, 4, 5], "4 different sizes are too few for a fit; give at least 5"),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4], "a time for each size"),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 0], "times above 0"),
        ([1, 2, 3, 4, -5], [1, 2, 3, 4, 5], "sizes from 0"),
        ([1, 2, 3, 4, 5], [3, 3, 3, 3, 3], "do not grow with the size"),
    ],
)
def test_pairs_that_fit_no_link(size: list[float], ms: list[float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        fit_pairs(size, ms)
