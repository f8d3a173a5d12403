"""Pictures scaled to fit a detector's input, with their boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codecbench.toolbox.boxes.matching import Objects

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from codecbench.toolbox.boxes.labels import Label

GREY = 114
ORIENTATION, TURNED = 0x0112, 5
"""The EXIF tag of a picture's orientation, and the first of its values that swap width and height."""


def letterbox(image: Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an RGB image scaled to fit (height, width), in the upper left corner of a grey one: (height, width, 3).

    Bilinear between the four nearest pixels, as detectors are trained; PIL's `resize` would smooth before.
    """
    import numpy as np
    from PIL.Image import Resampling, Transform

    width, height = inner_size(image.width, image.height, size)
    scale = image.width / width, image.height / height
    inner = image.transform((width, height), Transform.AFFINE, (scale[0], 0, 0, 0, scale[1], 0), Resampling.BILINEAR)
    pixels = np.full((*size, 3), GREY, np.uint8)
    pixels[:height, :width] = np.asarray(inner, np.uint8)
    return pixels


def inner_size(width: int, height: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of a picture once it is scaled to fit an input of this height and width."""
    ratio = min(size[0] / height, size[1] / width)
    return max(1, int(width * ratio)), max(1, int(height * ratio))


def upright_size(path: Path) -> tuple[int, int]:
    """Return width and height of a picture file, upright as its EXIF data says. Reads its header only."""
    from PIL import Image

    with Image.open(path) as image:
        return image.size if image.getexif().get(ORIENTATION, 1) < TURNED else image.size[::-1]


def placed_objects(labels: Sequence[Label], picture: tuple[int, int], size: tuple[int, int]) -> Objects:
    """Return a picture's objects in pixels of its letterbox; `picture` is its width and height, upright."""
    import numpy as np

    inner = inner_size(*picture, size)
    boxes = np.array([label.box for label in labels], np.float64).reshape(-1, 4)
    return Objects(
        boxes * np.array([*inner, *inner], np.float64), np.array([label.number for label in labels], np.int64),
        np.array([label.crowd for label in labels], np.bool_),
    )  # fmt: skip
