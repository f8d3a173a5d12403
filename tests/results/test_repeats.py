"""When two decodes of one payload count as the same tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from codecbench.results.repeats import difference, is_finite, not_finite_fault

ONES = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("left", "right", "lossless", "reason"),
    [
        (ONES, ONES, False, None),
        (ONES * (1 + 5e-6), ONES, False, None),
        (ONES * (1 + 5e-6), ONES, True, "values differ by up to 5.01e-06"),
        (ONES * 1000.005, ONES * 1000, False, None),
        (ONES * 1.001, ONES, False, "values differ by up to 0.001"),
        # Values below 1 are compared with 1: a sum of such values cannot be expected to be closer.
        (ONES * 1e-6, ONES * 2e-6, False, None),
        (np.array([1, 2]), np.array([1, 3]), False, "values differ by up to 1"),
        (ONES, np.ones((3, 1), np.float32), False, "float32 (3,) against float32 (3, 1)"),
        (ONES, ONES.astype(np.float64), False, "float32 (3,) against float64 (3,)"),
        (np.array([np.nan, 1.0]), np.array([np.nan, 1.0]), False, None),
        (np.array([np.inf, 1.0]), np.array([np.inf, 1.0 + 1e-7]), False, None),
        (np.array([np.inf, 1.0]), np.array([-np.inf, 1.0]), False, "values that are not finite differ"),
        (np.array([np.nan, 1.0]), np.array([0.0, 1.0]), False, "values that are not finite differ"),
    ],
)
def test_decodes_agree_within_the_tolerance(left: Any, right: Any, lossless: bool, reason: str | None) -> None:
    assert difference(left, right, lossless=lossless) == reason


@pytest.mark.parametrize(
    ("decoded", "original", "fine"),
    [
        ([1.0, 2.0], [np.inf, np.nan], True),
        ([np.inf, np.nan], [np.inf, np.nan], True),
        ([np.inf, 2.0], [np.inf, np.nan], True),
        ([np.inf, 2.0], [-np.inf, 2.0], False),
        ([np.nan, 2.0], [np.inf, 2.0], False),
        ([1.0, np.nan], [1.0, 2.0], False),
    ],
)
def test_what_is_not_finite_has_to_be_in_the_original(decoded: Any, original: Any, fine: bool) -> None:
    fault = not_finite_fault(np.array(decoded), np.array(original))
    assert fault == (None if fine else "decode gave values that are not finite")
    assert is_finite(np.array(decoded)) == bool(np.isfinite(decoded).all())
