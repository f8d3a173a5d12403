"""Pictures with boxes: `coco:DIR`, with a text file for each picture (YOLO) or a JSON file for all (COCO)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.adapters.contracts import DataAdapter, ModelAdapter
from codecbench.adapters.description import WorkloadDescription
from codecbench.adapters.pictures import ENDINGS, check_header, form_of, picture_spec
from codecbench.codec import TensorSpec
from codecbench.errors import DataError
from codecbench.toolbox.boxes import Label, Labels, Objects, letterbox, placed_objects, read_folder, upright_size
from codecbench.toolbox.collecting import open_picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARGUMENT = "path"
EXAMPLE = "coco:DIR"
USES = ("toolbox/boxes",)
"""The folders of codecbench whose files count for the source of a workload, too."""

CHECKED_HEADERS = 5_000


class BoxedPictures(DataAdapter):
    """The pictures of a folder with their objects, as `read_folder` finds them."""

    def names(self) -> Sequence[str]:
        """Return the paths of all pictures below the folder of pictures."""
        return list(self._labels.by_picture)

    def input_spec(self, network: ModelAdapter) -> TensorSpec:
        """Return the spec of the network's pictures."""
        return picture_spec(network, self.label)

    def input(self, name: str, network: ModelAdapter) -> NDArray[Any]:
        """Return a picture scaled to fit the network's input, in its upper left corner; the rest is grey."""
        import numpy as np

        pixels = letterbox(open_picture(self._labels.paths[name], f"{self.label}: {name}"), self._size(network))
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32) / np.float32(255)

    def target(self, name: str) -> Sequence[Label]:
        """Return the objects of a picture."""
        return self._labels.by_picture[name]

    def objects(self, name: str, network: ModelAdapter) -> Objects:
        """Return the objects of a picture in the pixels of the network's input."""
        size = upright_size(self._labels.paths[name])
        return placed_objects(self._labels.by_picture[name], size, self._size(network))

    def class_names(self) -> Sequence[str] | None:
        """Return the names of the classes in the order of their numbers, or None where only numbers are known."""
        return self._labels.classes

    def check_classes(self, count: int, source: str) -> None:
        """Raise DataError, with file and line, for an object whose class the model does not know."""
        for labels in self._labels.by_picture.values():
            for label in labels:
                if label.number >= count:
                    raise DataError(
                        f"{label.place}: the class {label.number} is unknown; {source}, numbered from 0 to {count - 1}"
                    )

    def _size(self, network: ModelAdapter) -> tuple[int, int]:
        return form_of(network, self.label).size

    @cached_property
    def _labels(self) -> Labels:
        found = read_folder(Path(self.argument), f"--data {self.label}", ENDINGS)
        for name in list(found.by_picture)[:CHECKED_HEADERS]:
            check_header(found.paths[name], f"{self.label}: {name}")
        return found


def open_data(argument: str, description: WorkloadDescription) -> DataAdapter:
    """Return the pictures of `coco:DIR`."""
    return BoxedPictures(argument, description)
