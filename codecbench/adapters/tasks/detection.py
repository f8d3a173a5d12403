"""Detection: the average precision of boxes (AP), and that at an overlap of a half (AP50), by the rules of COCO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codecbench.adapters.boxes.average_precision import AveragePrecision
from codecbench.adapters.boxes.decoding import FEWEST_COLUMNS, decode_grids, decode_queries, grid_rows
from codecbench.adapters.boxes.matching import Detections, Objects, matched
from codecbench.adapters.contracts import DataAdapter, ModelAdapter, TaskAdapter
from codecbench.adapters.description import WorkloadDescription
from codecbench.adapters.pictures import form_of
from codecbench.errors import DataError, UsageError
from codecbench.names import suggestion

if TYPE_CHECKING:
    from numpy.typing import NDArray

DECODERS = ("yolox", "detr")
OUTCOME = "boxes"
USES = ("adapters/boxes",)


class Detection(TaskAdapter):
    """AP and AP50 of the boxes that are decoded from a detector's outputs.

    Behind the colon stands the kind of outputs: `yolox` for grids of strides 8, 16 and 32, `detr` for logits and boxes
    of queries. By default it follows from their shapes. Boxes are decoded and suppressed here, not in the model.
    """

    metrics = (
        AveragePrecision("AP", "%", higher_is_better=True, outcome=OUTCOME),
        AveragePrecision("AP50", "%", higher_is_better=True, outcome=OUTCOME, bits=(0,)),
    )
    budget = 1.0
    takes_argument = True

    def __init__(self, argument: str, description: WorkloadDescription) -> None:
        super().__init__(argument, description)
        if argument and argument not in DECODERS:
            near = suggestion(argument, DECODERS) or f"; there are: {', '.join(DECODERS)}"
            raise UsageError(f"--task detection:{argument}: no kind of outputs {argument!r}{near}")

    def check(self, network: ModelAdapter, samples: DataAdapter) -> None:
        """Raise DataError for an object whose class the model does not know, where the file says how many it knows."""
        shapes: Any = getattr(network, "output_shapes", ())
        check: Any = getattr(samples, "check_classes", None)
        if check is not None and self.argument != "detr" and len(shapes) == 1 and shapes[0][-1] >= FEWEST_COLUMNS:
            count = shapes[0][-1] - FEWEST_COLUMNS + 1
            check(count, f"the model knows {count} classes")

    def target(self, name: str, network: ModelAdapter, samples: DataAdapter) -> Any:
        """Return the objects of a sample as arrays: boxes in pixels of the input, classes, and which are crowds."""
        placed: Any = getattr(samples, "objects", None)
        found = placed(name, network) if placed is not None else _objects(samples.target(name), samples.label, name)
        return found.boxes, found.classes, found.crowd

    def score(self, output: tuple[NDArray[Any], ...], target: Any, network: ModelAdapter) -> dict[str, Any]:
        """Return the matched boxes of one sample, which both metrics share."""
        found = self._decoded(output, form_of(network, "--task detection").size)
        return {OUTCOME: matched(found, Objects(*target))}

    def _decoded(self, output: tuple[NDArray[Any], ...], size: tuple[int, int]) -> Detections:
        first = output[0]
        is_grid = first.ndim == 2 and first.shape[1] >= FEWEST_COLUMNS and len(first) == grid_rows(size)
        if is_grid and self.argument != "detr":
            return decode_grids(first, size)
        if self.argument != "yolox" and not is_grid and first.ndim == 2:
            boxes = next((each for each in output[1:] if each.shape == (len(first), 4)), None)
            if boxes is not None:
                return decode_queries(first, boxes, size)
        shapes = ", ".join(str(each.shape) for each in output)
        raise DataError(
            f"--task detection takes grids of {grid_rows(size)} cells, or logits and boxes of queries, and the model "
            f"gives {shapes}; leave decoding and suppression out of the model"
        )


def _objects(target: Any, label: str, name: str) -> Objects:
    """Return the objects of a user's target: boxes (n, 4) in pixels of the input, and classes (n)."""
    import numpy as np

    try:
        boxes, classes = np.asarray(target[0], np.float64).reshape(-1, 4), np.asarray(target[1], np.int64).reshape(-1)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise DataError(f"{label}: the target of {name} is no pair of boxes (n, 4) and classes (n): {error}") from error
    if len(boxes) != len(classes):
        raise DataError(f"{label}: {name} has {len(boxes)} boxes and {len(classes)} classes")
    return Objects(boxes, classes, np.zeros(len(boxes), np.bool_))


def open_task(argument: str, description: WorkloadDescription) -> TaskAdapter:
    """Return the task."""
    return Detection(argument, description)
