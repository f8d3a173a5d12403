"""Measurement of a device profile: plain code against a reference, and times out of bounds."""

from __future__ import annotations

import pytest
from support.factories import make_board

from codecbench.errors import UsageError
from codecbench.harness.device_profile import general_factor, measure_profile


def test_plain_code_is_compared_by_the_mean_of_its_ratios() -> None:
    reference = make_board(zlib=1.0, jpeg=2.0, other=9.0)
    assert general_factor({"zlib": 4.0, "jpeg": 2.0}, reference) == pytest.approx(2.0 * 2.0)
    assert general_factor({"zlib": 4.0}, None) == 1.0
    assert general_factor({"new": 4.0}, reference) == 2.0


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), 1e9])
def test_a_time_out_of_bounds_is_an_error(minutes: float) -> None:
    with pytest.raises(UsageError, match="--minutes"):
        measure_profile("a", minutes=minutes)
