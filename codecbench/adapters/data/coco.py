"""Pictures with boxes: `coco:DIR`, with a text file for each picture (YOLO) or a JSON file for all (COCO)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.adapters.boxes.labels import Label, Labels, read_json_labels, read_text_labels
from codecbench.adapters.boxes.matching import Objects
from codecbench.adapters.contracts import DataAdapter, ModelAdapter
from codecbench.adapters.description import WorkloadDescription
from codecbench.adapters.pictures import ENDINGS, check_header, form_of, open_picture, picture_spec
from codecbench.codec import TensorSpec
from codecbench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARGUMENT = "path"
EXAMPLE = "coco:DIR"
USES = ("boxes",)
"""The folders beside whose files count for the source of a workload, too."""

PICTURES, TEXTS = "images", "labels"
GREY = 114
CHECKED_HEADERS = 5_000


class BoxedPictures(DataAdapter):
    """The pictures of a folder with their objects.

    `labels/` has a text file for each picture of `images/`, in the same folders; one without it has no objects.
    Else one JSON file lies in the folder or in `annotations/`, and the pictures in the folder, below or beside it.
    """

    def names(self) -> Sequence[str]:
        """Return the paths of all pictures below the folder of pictures."""
        return list(self._labels.by_picture)

    def input_spec(self, network: ModelAdapter) -> TensorSpec:
        """Return the spec of the network's pictures."""
        return picture_spec(network, self.label)

    def input(self, name: str, network: ModelAdapter) -> NDArray[Any]:
        """Return a picture scaled to fit the network's input, in its upper left corner; the rest is grey."""
        import numpy as np

        pixels = _fitted(open_picture(self._labels.paths[name], f"{self.label}: {name}"), self._size(network))
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32) / np.float32(255)

    def target(self, name: str) -> Sequence[Label]:
        """Return the objects of a picture."""
        return self._labels.by_picture[name]

    def objects(self, name: str, network: ModelAdapter) -> Objects:
        """Return the objects of a picture in the pixels of the network's input."""
        import numpy as np
        from PIL import Image

        with Image.open(self._labels.paths[name]) as image:
            width, height = image.size if image.getexif().get(0x0112, 1) < 5 else image.size[::-1]
        inner = _inner_size(width, height, self._size(network))
        labels = self._labels.by_picture[name]
        boxes = np.array([label.box for label in labels], np.float64).reshape(-1, 4)
        return Objects(
            boxes * np.array([*inner, *inner], np.float64), np.array([label.number for label in labels], np.int64),
            np.array([label.crowd for label in labels], np.bool_),
        )  # fmt: skip

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
        root = Path(self.argument)
        if not root.is_dir():
            raise DataError(f"--data {self.label}: there is no such folder")
        files = [path for folder in (root, root / "annotations") for path in sorted(folder.glob("*.json"))]
        found = self._from_texts(root) if (root / TEXTS).is_dir() else self._from_json(root, files)
        for name in list(found.by_picture)[:CHECKED_HEADERS]:
            check_header(found.paths[name], f"{self.label}: {name}")
        return found

    def _from_texts(self, root: Path) -> Labels:
        pictures = root / PICTURES
        paths = {
            path.relative_to(pictures).as_posix(): path
            for path in sorted(pictures.rglob("*"))
            if path.suffix.lower() in ENDINGS
        }
        if not paths:
            raise DataError(f"--data {self.label} holds no pictures in {PICTURES}/, beside {TEXTS}/")
        labels = {
            name: read_text_labels(
                root / TEXTS / Path(name).with_suffix(".txt"),
                f"{self.label}: {TEXTS}/{Path(name).with_suffix('.txt').as_posix()}",
            )
            for name in paths
        }
        return Labels(labels, None, paths)

    def _from_json(self, root: Path, files: Sequence[Path]) -> Labels:
        chosen = [path for path in files if path.name.startswith("instances")] or files
        if len(chosen) != 1:
            reason = (
                "no labels" if not chosen else f"{len(chosen)} JSON files ({', '.join(path.name for path in chosen)})"
            )
            raise DataError(
                f"--data {self.label} has {reason}; give a folder with {PICTURES}/ and {TEXTS}/, or with one JSON file"
            )
        found = read_json_labels(chosen[0], f"{self.label}: {chosen[0].name}")
        folders = [root, root / PICTURES, root / chosen[0].stem.removeprefix("instances_")]
        paths = {}
        for name in found.by_picture:
            found_at = [folder / name for folder in folders if (folder / name).is_file()]
            if not found_at or ".." in Path(name).parts or Path(name).is_absolute():
                raise DataError(f"{self.label}: {chosen[0].name} names the picture {name}, which is not in the folder")
            paths[name] = found_at[0]
        return Labels(found.by_picture, found.classes, paths)


def _inner_size(width: int, height: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of a picture once it is scaled to fit an input of this height and width."""
    ratio = min(size[0] / height, size[1] / width)
    return max(1, int(width * ratio)), max(1, int(height * ratio))


def _fitted(image: Any, size: tuple[int, int]) -> NDArray[Any]:
    """Return the pixels of a picture scaled to fit (height, width), in the upper left corner of a grey one.

    Bilinear between the four nearest pixels, as detectors are trained; PIL's `resize` would smooth before.
    """
    import numpy as np
    from PIL import Image

    width, height = _inner_size(image.width, image.height, size)
    scale = image.width / width, image.height / height
    inner = image.transform(
        (width, height), Image.Transform.AFFINE, (scale[0], 0, 0, 0, scale[1], 0), Image.Resampling.BILINEAR
    )
    pixels = np.full((*size, 3), GREY, np.uint8)
    pixels[:height, :width] = np.asarray(inner, np.uint8)
    return pixels


def open_data(argument: str, description: WorkloadDescription) -> DataAdapter:
    """Return the pictures of `coco:DIR`."""
    return BoxedPictures(argument, description)
