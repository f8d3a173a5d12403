"""Pictures in a folder: `imagefolder:DIR`, with a folder for each class, or without classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.adapters.contracts import DataAdapter, ModelAdapter
from codecbench.adapters.description import WorkloadDescription
from codecbench.adapters.pictures import ENDINGS, check_header, fitted, form_of, picture_spec, prepared
from codecbench.codec import TensorSpec
from codecbench.errors import DataError
from codecbench.toolbox.collecting import open_picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARGUMENT = "path"
EXAMPLE = "imagefolder:DIR"
IMAGES, MASKS = "images", "masks"
"""The folders of pictures and of their masks, for segmentation."""
CHECKED_HEADERS = 5_000
"""The pictures whose headers are read before anything runs, at most."""


class ImageFolder(DataAdapter):
    """The pictures below a folder, named by their path in it. The first folder of the path is the class."""

    def names(self) -> Sequence[str]:
        """Return the paths of all pictures in the folder, sorted; names that begin with a dot are passed over."""
        return self._names

    def input_spec(self, network: ModelAdapter) -> TensorSpec:
        """Return the spec of the network's pictures."""
        return picture_spec(network, self.label)

    def input(self, name: str, network: ModelAdapter) -> NDArray[Any]:
        """Return a picture, resized and cropped as the network takes it."""
        return prepared(open_picture(Path(self.argument) / name, f"{self.label}: {name}"), form_of(network, self.label))

    def target(self, name: str) -> str:
        """Return the name of the class folder. Raises DataError for a picture that lies in none."""
        folder, slash, _ = name.partition("/")
        if not slash:
            raise DataError(
                f"{self.label}: {name} lies in no class folder; sort the pictures into folders by class, or give "
                "--task agreement, which needs no classes"
            )
        return folder

    def mask(self, name: str, network: ModelAdapter) -> NDArray[Any]:
        """Return the mask of `images/NAME`, which is `masks/NAME.png`, resized and cropped as the picture is."""
        import numpy as np
        from PIL import Image

        path = Path(MASKS, *Path(name).parts[1:]).with_suffix(".png")
        if not (Path(self.argument) / path).is_file():
            raise DataError(f"{self.label}: {name} has no mask; write it to {path.as_posix()}, a PNG of class numbers")
        try:
            with Image.open(Path(self.argument) / path) as image:
                labels = image.copy()
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{self.label}: {path.as_posix()} does not open as a picture ({error})") from error
        return np.asarray(fitted(labels, form_of(network, self.label), resampling="nearest"))

    def class_names(self) -> Sequence[str]:
        """Return the names of the class folders, sorted."""
        return sorted({self.target(name) for name in self.names()})

    @cached_property
    def _names(self) -> list[str]:
        root = Path(self.argument)
        if not root.is_dir():
            raise DataError(f"--data {self.label}: there is no such folder")
        below = root / IMAGES if (root / IMAGES).is_dir() and (root / MASKS).is_dir() else root
        paths = (path.relative_to(root) for path in below.rglob("*") if path.suffix.lower() in ENDINGS)
        found = sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
        if not found:
            raise DataError(f"--data {self.label} holds no pictures; their names end with {', '.join(sorted(ENDINGS))}")
        for name in found[:CHECKED_HEADERS]:
            check_header(root / name, f"{self.label}: {name}")
        return found


def open_data(argument: str, description: WorkloadDescription) -> DataAdapter:
    """Return the pictures of `imagefolder:DIR`."""
    return ImageFolder(argument, description)
