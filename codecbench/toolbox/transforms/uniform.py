"""Uniform quantisation over the range of a tensor."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from codecbench.errors import PayloadError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


RANGE_BYTES = 8
"""Bytes of the header that `quantise_uniform` writes: the lowest and the highest value as float32."""


def to_pixels(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the integers k of an image of values k/255; other values are rounded to the nearest.

    Raises ValueError for a NaN.
    """
    import numpy as np

    with np.errstate(over="ignore"):
        scaled: NDArray[np.float32] = np.rint(image * np.float32(255))
    if not 0 <= scaled.min(initial=0) <= scaled.max(initial=0) <= 255:  # false for a NaN, too
        if np.isnan(scaled).any():
            raise ValueError("the image holds values that are not numbers")
        scaled = scaled.clip(0, 255)
    return scaled.astype(np.uint8)


def from_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the values k/255 of integers k, equal to those of an image input bit for bit."""
    import numpy as np

    return np.divide(pixels, np.float32(255), dtype=np.float32, order="C")


def quantise_uniform(values: NDArray[Any], levels: int) -> tuple[bytes, NDArray[np.uint8]]:
    """Return a header of RANGE_BYTES, and the index of the nearest of `levels` evenly spaced values.

    The lowest and the highest value are levels, so the zeros of a rectified tensor stay zeros. Raises ValueError for
    more than 256 levels and for values that are not finite as float32.
    """
    import numpy as np

    if not 2 <= levels <= 256:
        raise ValueError(f"levels is 2 to 256, not {levels}")
    with np.errstate(over="ignore"):
        low, high = np.float32(values.min(initial=np.inf)), np.float32(values.max(initial=-np.inf))
    if values.size == 0:
        low = high = np.float32(0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("the tensor holds values that are not finite in float32; they cannot be quantised")
    # In float64, because the difference of two float32 values can exceed the largest float32.
    span = float(high) - float(low)
    steps = (values.astype(np.float64) - float(low)) * ((levels - 1) / span if span else 0.0)
    return struct.pack("<ff", low, high), np.rint(steps).astype(np.uint8)


def dequantise_uniform(header: bytes | memoryview, indices: NDArray[Any], levels: int) -> NDArray[np.float32]:
    """Return the values of the levels at `indices`.

    Raises PayloadError for an invalid header or a level out of range.
    """
    import numpy as np

    low, high = read_range(header)
    if indices.size and int(indices.max()) >= levels:
        raise PayloadError(f"level {int(indices.max())} is not below {levels}")
    # Convex weights: no value leaves the range, even if its width exceeds the largest float32.
    weights = np.arange(levels, dtype=np.float64) / (levels - 1)
    return (low * (1 - weights) + high * weights).astype(np.float32).take(indices)


def read_range(header: bytes | memoryview) -> tuple[float, float]:
    """Return the lowest and the highest value of a header of `quantise_uniform`.

    Raises PayloadError for an invalid one.
    """
    if len(header) != RANGE_BYTES:
        raise PayloadError("payload ends within its range")
    low, high = struct.unpack("<ff", header)
    if not -float("inf") < low <= high < float("inf"):
        raise PayloadError(f"an invalid range, from {low} to {high}")
    return low, high
