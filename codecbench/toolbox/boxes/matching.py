"""Detections matched to the objects of a picture, by the rules of COCO. Boxes are (left, top, right, bottom)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

THRESHOLDS = tuple(0.5 + 0.05 * i for i in range(10))
"""The overlaps (intersection over union) from which on a detection finds an object."""
MAX_DETECTIONS = 100
"""The detections of a class in a picture that count, at most: those with the highest scores."""


@dataclass(frozen=True)
class Objects:
    """The objects of a picture: boxes (n, 4), classes (n), and True for each that is a crowd, not to be found."""

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]


@dataclass(frozen=True)
class Detections:
    """The detections in a picture: boxes (n, 4), scores (n) and classes (n)."""

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]


def matched(found: Detections, objects: Objects) -> tuple[NDArray[Any], ...]:
    """Return a picture's outcome: scores, classes, matches and ignored ones of detections, and classes of its objects.

    Matches and ignored ones are uint16, with a bit for each of `THRESHOLDS`. A detection that is matched to a crowd is
    ignored. Detections stand in the order of their classes, then of falling scores; crowds are left out of the objects.
    """
    import numpy as np

    scores, classes, hits, ignored = [], [], [], []
    for number in np.unique(found.classes):
        mine = np.flatnonzero(found.classes == number)
        mine = mine[np.argsort(-found.scores[mine], kind="stable")][:MAX_DETECTIONS]
        there = np.flatnonzero(objects.classes == number)
        there = there[np.argsort(objects.crowd[there], kind="stable")]
        overlaps = overlap(found.boxes[mine], objects.boxes[there], objects.crowd[there])
        pair = _match(overlaps, objects.crowd[there])
        scores.append(found.scores[mine].astype(np.float32))
        classes.append(np.full(len(mine), number, np.int16))
        hits.append(pair[0])
        ignored.append(pair[1])
    real = objects.classes[~objects.crowd].astype(np.int16)
    return (
        _joined(scores, np.float32), _joined(classes, np.int16), _joined(hits, np.uint16),
        _joined(ignored, np.uint16), real,
    )  # fmt: skip


def overlap(boxes: NDArray[Any], others: NDArray[Any], crowd: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Return intersection over union for each pair, (boxes, others); with a crowd, intersection over the box itself."""
    import numpy as np

    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0.0, None).prod(axis=2)
    area, other_area = _areas(boxes)[:, None], _areas(others)[None, :]
    union = area + other_area - shared
    if crowd is not None:
        union = np.where(crowd[None, :], area, union)
    share: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return share


def _areas(boxes: NDArray[Any]) -> Any:
    import numpy as np

    return np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None).prod(axis=1)


def _match(overlaps: NDArray[np.float64], crowd: NDArray[np.bool_]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return the bits of matches and of ignored ones for detections in the order of their scores; crowds come last.

    In that order, a detection takes the object that it overlaps best among those that are free, and only where there is
    none a crowd, which is never used up.
    """
    import numpy as np

    hits, ignored = np.zeros(len(overlaps), np.uint16), np.zeros(len(overlaps), np.uint16)
    near: list[int] = np.flatnonzero((overlaps >= THRESHOLDS[0] - 1e-9).any(axis=1)).tolist()
    columns = [[(int(j), float(overlaps[i, j])) for j in np.flatnonzero(overlaps[i])] for i in near]
    is_crowd = crowd.tolist()
    for bit, threshold in enumerate(THRESHOLDS):
        taken: set[int] = set()
        for i, pairs in zip(near, columns, strict=True):
            best = _best(pairs, threshold, taken, is_crowd)
            if best is None:
                continue
            hits[i] |= 1 << bit
            if is_crowd[best]:
                ignored[i] |= 1 << bit
            else:
                taken.add(best)
    return hits, ignored


def _best(pairs: list[tuple[int, float]], threshold: float, taken: set[int], crowd: list[bool]) -> int | None:
    """Return the object that a detection is matched to. Of equal overlaps the last counts, as in COCO's own code."""
    for crowds in (False, True):
        best, highest = None, min(threshold, 1 - 1e-10)
        for j, value in pairs:
            if crowd[j] == crowds and j not in taken and value >= highest:
                best, highest = j, value
        if best is not None:
            return best
    return None


def suppressed(boxes: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any], limit: float) -> NDArray[np.int64]:
    """Return the positions of boxes that stay in order of falling scores, after suppression class by class.

    A box goes if it overlaps one of its class with a higher score by more than the limit.
    """
    import numpy as np

    kept = [position for number in np.unique(classes) for position in _kept(boxes, scores, classes == number, limit)]
    found = np.array(kept, np.int64)
    return found[np.argsort(-scores[found], kind="stable")]


def _kept(boxes: NDArray[Any], scores: NDArray[Any], mine: NDArray[np.bool_], limit: float) -> Iterator[int]:
    import numpy as np

    rest = np.flatnonzero(mine)
    rest = rest[np.argsort(-scores[rest], kind="stable")]
    while len(rest):
        first, rest = rest[0], rest[1:]
        yield int(first)
        rest = rest[overlap(boxes[first : first + 1], boxes[rest])[0] <= limit]


def _joined(parts: list[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    import numpy as np

    return np.concatenate(parts) if parts else np.zeros(0, kind)
