"""A detector's outputs decoded to boxes in the pixels of its input: (left, top, right, bottom)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codecbench.toolbox.boxes.matching import Detections, suppressed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

STRIDES = (8, 16, 32)
"""The pixels of the input from one cell to the next, of each grid."""
FEWEST_COLUMNS = 6
"""The columns of a row of a grid: a box, whether there is an object, and one class or more."""
SCORE_LIMIT = 0.01
"""The score from which on a detection counts."""
OVERLAP_LIMIT = 0.65
"""The overlap beyond which a box with a lower score goes."""


def grid_rows(size: tuple[int, int], strides: Sequence[int] = STRIDES) -> int:
    """Return the number of cells of all grids over an input of this height and width."""
    return sum((size[0] // stride) * (size[1] // stride) for stride in strides)


def decode_grids(output: NDArray[Any], size: tuple[int, int]) -> Detections:
    """Return the detections of a YOLOX-class output, (cells, 5 + classes), over an input of this height and width.

    A row has the box's centre relative to its cell and the logarithms of its width and height, both in strides, then
    probabilities: of an object, and of each class. (Ge et al., YOLOX, 2021, with the limits of its evaluation.)
    """
    import numpy as np

    values = output.astype(np.float64)
    chances = values[:, 4:5] * values[:, 5:]
    classes = chances.argmax(axis=1)
    scores = chances[np.arange(len(chances)), classes]
    with np.errstate(over="ignore", invalid="ignore"):
        corner, stride = _cells(size)
        centre = (values[:, :2] + corner) * stride
        half = np.exp(values[:, 2:4]) * stride / 2
        boxes = np.hstack([centre - half, centre + half])
    good = (scores >= SCORE_LIMIT) & np.isfinite(boxes).all(axis=1)
    return _suppressed(Detections(boxes[good], scores[good], classes[good]))


def decode_queries(logits: NDArray[Any], boxes: NDArray[Any], size: tuple[int, int]) -> Detections:
    """Return the detections of a DETR-class output: logits (queries, classes + 1), the last of no object, and boxes.

    Boxes are centre, width and height as shares of the input. (Carion et al., DETR, 2020.) None are suppressed.
    """
    import numpy as np

    values = logits.astype(np.float64)
    shares = np.exp(values - values.max(axis=1, keepdims=True))
    shares = shares[:, :-1] / shares.sum(axis=1, keepdims=True)
    classes = shares.argmax(axis=1)
    scores = shares[np.arange(len(shares)), classes]
    extent = np.array([size[1], size[0]], np.float64)
    centre, half = boxes[:, :2].astype(np.float64) * extent, boxes[:, 2:].astype(np.float64) * extent / 2
    found = np.hstack([centre - half, centre + half])
    good = np.isfinite(scores) & np.isfinite(found).all(axis=1)
    return Detections(found[good], scores[good], classes[good])


def _cells(size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the place of each cell in its grid, (cells, 2), and the stride of its grid, (cells, 1)."""
    import numpy as np

    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = size[0] // stride, size[1] // stride
        y, x = np.mgrid[:rows, :columns]
        corners.append(np.stack([x, y], axis=-1).reshape(-1, 2))
        strides.append(np.full((rows * columns, 1), stride))
    return np.concatenate(corners).astype(np.float64), np.concatenate(strides).astype(np.float64)


def _suppressed(found: Detections) -> Detections:
    kept = suppressed(found.boxes, found.scores, found.classes, OVERLAP_LIMIT)
    return Detections(found.boxes[kept], found.scores[kept], found.classes[kept])
