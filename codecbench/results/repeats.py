"""When two decodes of one payload count as the same tensor, and when a decoded tensor may hold values not finite."""

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
    finite = np.isfinite(left) & np.isfinite(right)
    if not np.array_equal(left[~finite], right[~finite], equal_nan=left.dtype.kind == "f"):
        return "values that are not finite differ"
    before, after = right[finite].astype(np.float64), left[finite].astype(np.float64)
    gap = float(np.abs(after - before).max(initial=0.0))
    scale = max(1.0, float(np.abs(before).max(initial=0.0)))
    if not lossless and left.dtype.kind == "f" and gap <= DECODE_TOLERANCE * scale:
        return None
    return f"values differ by up to {gap:.3g}"


def is_finite(tensor: NDArray[Any]) -> bool:
    """Return True if all values of a tensor are finite."""
    return tensor.dtype.kind != "f" or bool(np.isfinite(tensor).all())


def not_finite_fault(decoded: NDArray[Any], original: NDArray[Any]) -> str | None:
    """Return a fault if a decoded tensor holds an infinity or NaN where the original does not hold the same."""
    if is_finite(decoded):
        return None
    wrong = ~np.isfinite(decoded)
    if decoded.shape == original.shape and np.array_equal(decoded[wrong], original[wrong], equal_nan=True):
        return None
    return "decode gave values that are not finite"


NOT_CARRIED = "the tensor has values that are not finite, which the codec does not carry"
"""The reason of a codec's failure on tensors with infinities or NaN."""
