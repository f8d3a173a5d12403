"""Segmentation: the mean over classes of intersection over union (mIoU), and the share of pixels that are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codecbench.adapters.contracts import DataAdapter, ModelAdapter, TaskAdapter
from codecbench.adapters.description import WorkloadDescription
from codecbench.errors import DataError
from codecbench.workload import RatioMetric, SetMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IGNORED = 255
"""The value of mask pixels that do not count."""


@dataclass(frozen=True)
class MeanIoU(SetMetric):
    """The mean over the classes of a set of sum of intersections over sum of unions, in percent.

    Classes that are neither in the masks nor predicted in a set do not count.
    """

    def values(self, outcomes: Sequence[tuple[NDArray[Any], ...]], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the mean of each set."""
        import numpy as np

        intersections, unions = (np.stack([outcome[i] for outcome in outcomes]) for i in range(2))
        above, below = counts @ intersections, counts @ unions
        present = below > 0
        shares = np.divide(above, below, out=np.zeros(above.shape), where=present)
        found: NDArray[np.float64] = 100 * shares.sum(1) / present.sum(1)
        return found


class Segmentation(TaskAdapter):
    """mIoU, which decides, and pixel accuracy of logits (classes, height, width) against a mask of the same size."""

    metrics = (
        MeanIoU("mIoU", "%", higher_is_better=True),
        RatioMetric("pixel accuracy", "%", higher_is_better=True, scale=100.0),
    )
    budget = 1.0

    def target(self, name: str, network: ModelAdapter, samples: DataAdapter) -> Any:
        """Return the mask of a sample, uint8 or wider, of the input's size."""
        import numpy as np

        found = np.asarray(samples.mask(name, network))
        if found.ndim != 2 or found.dtype.kind not in "iu":
            raise DataError(
                f"{samples.label}: {name} has a mask of {found.dtype} {found.shape}; give integers (height, width)"
            )
        return found

    def score(self, output: tuple[NDArray[Any], ...], target: Any, network: ModelAdapter) -> dict[str, Any]:
        """Return intersections and unions of all classes, and the right pixels of all that count."""
        import numpy as np

        logits = output[0]
        if logits.ndim != 3 or logits.shape[1:] != target.shape:
            raise DataError(
                f"--task segmentation: the model gives the shape {logits.shape} for a mask of {target.shape}; it has "
                "to be (classes, height, width)"
            )
        counted = target != IGNORED
        labels, best, classes = target[counted].astype(np.int64), logits.argmax(0)[counted], len(logits)
        if labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
            wrong = int(labels.max()) if labels.max() >= classes else int(labels.min())
            raise DataError(f"a mask has the label {wrong}, and the model's run from 0 to {classes - 1}")
        right = np.bincount(labels[labels == best], minlength=classes)
        unions = np.bincount(labels, minlength=classes) + np.bincount(best, minlength=classes) - right
        return {"mIoU": (right, unions), "pixel accuracy": (float(right.sum()), float(len(labels)))}


def open_task(argument: str, description: WorkloadDescription) -> TaskAdapter:
    """Return the task."""
    return Segmentation(argument, description)
