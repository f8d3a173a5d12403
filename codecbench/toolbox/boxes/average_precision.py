"""Average precision of matched detections, by the rules of COCO: 101 recalls, 100 detections a class, all areas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codecbench.toolbox.boxes.matching import THRESHOLDS
from codecbench.workload import SetMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RECALLS = 101


@dataclass(frozen=True)
class AveragePrecision(SetMetric):
    """The mean over classes and thresholds, in percent. Outcomes are those of `matching.matched`.

    `bits` are the positions in `THRESHOLDS` of those that count. Boxes are matched once, within a picture, so other
    sets of pictures only weigh their detections anew. A set without objects has no value.
    """

    bits: tuple[int, ...] = tuple(range(len(THRESHOLDS)))

    def values(self, outcomes: Sequence[tuple[NDArray[Any], ...]], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the value of each set of pictures."""
        import numpy as np

        scores, classes, hits, ignored = (np.concatenate([outcome[i] for outcome in outcomes]) for i in range(4))
        picture = np.repeat(np.arange(len(outcomes)), [len(outcome[0]) for outcome in outcomes])
        objects = np.concatenate([outcome[4] for outcome in outcomes])
        owner = np.repeat(np.arange(len(outcomes)), [len(outcome[4]) for outcome in outcomes])
        weights = np.asarray(counts, np.float64)
        total, known = np.zeros(len(weights)), np.zeros(len(weights))
        for number in np.unique(objects):
            there = _sums(weights, owner[objects == number])
            mine = np.flatnonzero(classes == number)
            mine = mine[np.argsort(-scores[mine], kind="stable")]
            precision = self._of_class(weights[:, picture[mine]], hits[mine], ignored[mine], there)
            total += np.where(there > 0, precision, 0.0)
            known += there > 0
        found: NDArray[np.float64] = np.divide(100.0 * total, known, out=np.full(len(weights), np.nan), where=known > 0)
        return found

    def _of_class(
        self,
        weights: NDArray[np.float64],
        hits: NDArray[np.uint16],
        ignored: NDArray[np.uint16],
        there: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the mean over thresholds for one class: weights (sets, detections) in order of falling scores."""
        import numpy as np

        everything = np.cumsum(weights, axis=1) if not ignored.any() else None
        found = np.zeros(len(weights))
        for bit in self.bits:
            counted = (ignored >> bit) & 1 == 0
            hit = np.flatnonzero((hits >> bit) & 1 & counted)
            if len(hit) == 0:
                continue
            before = everything if everything is not None else np.cumsum(weights * counted, axis=1)
            found += _area(np.cumsum(weights[:, hit], axis=1), before[:, hit], there)
        return found / len(self.bits)


def _area(right: NDArray[np.float64], all_before: NDArray[np.float64], there: NDArray[np.float64]) -> Any:
    """Return the mean precision at 101 recalls, from the counts at each right detection: (sets, right detections).

    The precision at a recall is the highest one at it or beyond; it is highest at right detections.
    """
    import numpy as np

    precision = np.divide(right, all_before, out=np.zeros_like(right), where=all_before > 0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = np.divide(right, there[:, None], out=np.zeros_like(right), where=there[:, None] > 0)
    reached = np.searchsorted(np.linspace(0.0, 1.0, RECALLS), recall, side="right")
    reached[right == 0] = 0
    steps = np.diff(reached, axis=1, prepend=0)
    return (steps * best).sum(axis=1) / RECALLS


def _sums(weights: NDArray[np.float64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many objects each set has, from the pictures that they are in."""
    import numpy as np

    return weights @ np.bincount(columns, minlength=weights.shape[1]).astype(np.float64)
