"""When two decodes of one payload count as the same tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DECODE_TOLERANCE = 1e-5
"""The tolerated difference between two decodes of one payload, as a share of the largest absolute value: convolutions
sum in another order in a batch or on another machine. Integers, and all output of a lossless codec, must be equal."""


def difference(left: NDArray[Any], right: NDArray[Any], *, lossless: bool) -> str | None:
    """Return how two decodes of one payload differ, or None if they agree within DECODE_TOLERANCE."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return f"{left.dtype} {left.shape} against {right.dtype} {right.shape}"
    if np.array_equal(left, right, equal_nan=left.dtype.kind == "f"):
        return None
    gap = float(np.abs(left.astype(np.float64) - right.astype(np.float64)).max())
    scale = max(1.0, float(np.abs(right.astype(np.float64)).max()))
    if not lossless and left.dtype.kind == "f" and gap <= DECODE_TOLERANCE * scale:
        return None
    return f"values differ by up to {gap:.3g}"
