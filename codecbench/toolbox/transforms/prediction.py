"""Prediction of pixels from their neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def neighbours_mean(levels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the mean of each level's left and upper neighbours in planes (planes, height, width), rounded down.

    On the border it is the only neighbour, and 0 at the top left corner. `levels - neighbours_mean(levels)` has lower
    entropy if planes are smooth.
    """
    import numpy as np

    left, above = np.zeros_like(levels), np.zeros_like(levels)
    left[..., 1:], above[:, 1:] = levels[..., :-1], levels[:, :-1]
    left[..., :1], above[:, :1] = above[..., :1], left[:, :1]
    return (left + above) >> 1


def restore_from_differences(differences: NDArray[np.int32], mask: int = -1) -> NDArray[np.int32]:
    """Return the levels from `(levels - neighbours_mean(levels)) & mask`; all levels must be within the mask (-1: any).

    It goes diagonal by diagonal. With a border of one row above and one column to the left, values along a diagonal are
    `width` apart in memory.
    """
    import numpy as np

    planes, height, width = differences.shape
    padded = np.zeros((planes, height + 1, width + 1), np.int32)
    padded[:, 1:, 1:] = differences
    stride = width + 1
    flat = padded.reshape(planes, (height + 1) * stride)
    for diagonal in range(height + width - 1 if differences.size else 0):
        top, bottom = max(1, diagonal - width + 2), min(height, diagonal + 1)
        if diagonal and top == 1:
            padded[:, 0, diagonal + 1] = padded[:, 1, diagonal]
        if diagonal and bottom == diagonal + 1:
            padded[:, bottom, 0] = padded[:, bottom - 1, 1]
        first = top * stride + diagonal - top + 2
        end = first + (bottom - top) * width + 1
        left, above = flat[:, first - 1 : end - 1 : width], flat[:, first - stride : end - stride : width]
        flat[:, first:end:width] = (flat[:, first:end:width] + ((left + above) >> 1)) & mask
    return padded[:, 1:, 1:]
