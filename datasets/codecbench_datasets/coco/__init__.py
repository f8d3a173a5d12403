"""The workload `coco-yolo`: photographs of COCO, scaled to 416 x 416 pixels, in which a YOLOX finds objects.

`codecbench data get coco` takes detector and pictures, none of which ship. The README beside this file names their
sources. Importing this module imports neither torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench import DataError, Subset, TensorSpec, Workload, data_folders, hookimpl
from codecbench.toolbox.boxes import AveragePrecision
from codecbench_datasets.coco.catalogue import SPLITS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from codecbench_datasets.coco.form import Detector

OUTCOME = "boxes"


class CocoYolo(Workload):
    """AP and AP50 of a YOLOX-Nano on COCO, split at the input or within the first stages of its backbone.

    Behind `dark3` two tensors and more cross, so there are no later split points. Labelled pictures are parted by the
    hashes of their names: a third, and no more than 1,000, serves to choose operating points, the others to test. Fits
    learn from views of unlabelled pictures, if there are any.
    """

    name = "coco-yolo"
    metrics = (
        AveragePrecision("AP", "%", higher_is_better=True, outcome=OUTCOME),
        AveragePrecision("AP50", "%", higher_is_better=True, outcome=OUTCOME, bits=(0,)),
    )
    default_splits = SPLITS
    budget = 1.0
    dataset = "coco"

    @property
    def input_spec(self) -> TensorSpec:
        """RGB pixels k/255: a picture in the upper left corner, the rest grey."""
        return TensorSpec((3, *self._detector().size), image=True)

    def build_model(self) -> nn.Module:
        """Return the detector: (N, 3, height, width) pixels to (N, cells, 4 + classes). Raises DataError without it."""
        from codecbench_datasets.coco.weights import load

        return load(self._weights_file())

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the detector's file, which states its form as well."""
        from codecbench_datasets.coco.catalogue import weights_sha256

        return weights_sha256(self._weights_file())

    def sample_ids(self, subset: Subset) -> Sequence[str]:
        """Return paths of labelled pictures in their folder; for `fit` names of unlabelled ones, `#` and a view."""
        from codecbench.toolbox.collecting import view_names
        from codecbench_datasets.coco.catalogue import VIEWS, choice_count, labelled_names, unlabelled_names

        if subset == "fit":
            place = self._unlabelled()
            return view_names(unlabelled_names(place), VIEWS) if place is not None else []
        found = labelled_names(self._labelled())
        chosen = choice_count(len(found))
        return found[:chosen] if subset == "choice" else found[chosen:]

    def fit_groups(self) -> Sequence[str]:
        """Return the picture of each view."""
        return [name.rpartition("#")[0] for name in self.sample_ids("fit")]

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        """Return pictures as float32 (3, height, width), values k/255."""
        from codecbench_datasets.coco.catalogue import labels
        from codecbench_datasets.coco.pictures import picture

        ids, size = self.sample_ids(subset), self._detector().size
        if subset != "fit":
            paths = labels(self._labelled()).paths
            return [picture(paths[ids[at]], size) for at in positions]
        folder = self._unlabelled() or Path()
        parted = (ids[at].rpartition("#") for at in positions)
        return [picture(folder / name, size, int(view)) for name, _, view in parted]

    def targets(self, subset: Subset, positions: Sequence[int]) -> list[Any]:
        """Return boxes in pixels of the input, classes and which are crowds; None for `fit`, which has no labels.

        Raises DataError, with file and line, for an object whose class the detector does not know.
        """
        from codecbench.toolbox.boxes import placed_objects, upright_size
        from codecbench_datasets.coco.catalogue import labels

        if subset == "fit":
            return [None for _ in positions]
        ids, known, detector = self.sample_ids(subset), labels(self._labelled()), self._detector()
        found = []
        for name in (ids[at] for at in positions):
            for label in known.by_picture[name]:
                if label.number >= detector.classes:
                    raise DataError(
                        f"{label.place}: the class {label.number} is unknown; {detector.source} knows "
                        f"{detector.classes} classes, numbered from 0"
                    )
            placed = placed_objects(known.by_picture[name], upright_size(known.paths[name]), detector.size)
            found.append((placed.boxes, placed.classes, placed.crowd))
        return found

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> dict[str, tuple[NDArray[Any], ...]]:
        """Return the matched boxes of one picture, which both metrics share."""
        from codecbench.toolbox.boxes import Objects, matched
        from codecbench_datasets.coco.pictures import detections

        return {OUTCOME: matched(detections(output[0], self._detector().size), Objects(*target))}

    @classmethod
    def fetch(cls, data_dir: Path, log: Callable[[str], None]) -> None:
        """Say what is in `data_dir`. Raises DataError if the detector or labelled pictures are missing."""
        cls.fetch_from((), data_dir, log)

    @classmethod
    def fetch_from(cls, sources: Sequence[str], data_dir: Path, log: Callable[[str], None]) -> None:
        """Take the detector and pictures; `sources` are ONNX files, folders and archives."""
        from codecbench_datasets.coco.fetch import fetch

        fetch(data_dir, log, sources)

    def _detector(self) -> Detector:
        from codecbench_datasets.coco.weights import load_detector

        return load_detector(self._weights_file())

    def _weights_file(self) -> Path:
        from codecbench_datasets.coco.catalogue import WEIGHTS

        return self.weights_file(WEIGHTS)

    def _labelled(self) -> Path:
        from codecbench_datasets.coco.catalogue import CURE, LABELLED

        place = self._places().get(LABELLED)
        if place is None:
            raise DataError(f"coco-yolo has no labelled pictures yet; {CURE}")
        return place

    def _unlabelled(self) -> Path | None:
        from codecbench_datasets.coco.catalogue import UNLABELLED

        return self._places().get(UNLABELLED)

    def _places(self) -> dict[str, Path]:
        from codecbench.toolbox.collecting import PLACES, kept_places
        from codecbench_datasets.coco.catalogue import FOLDER

        folders = (place / FOLDER for place in data_folders(self.data_dir))
        return next((kept_places(folder) for folder in folders if (folder / PLACES).is_file()), {})


@hookimpl
def codecbench_register_workloads() -> Iterable[type[Workload]]:
    """Register the workload."""
    return [CocoYolo]
