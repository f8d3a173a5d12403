"""The pixels of the `imagenet-resnet50` workload: pictures opened, and cropped as the network or a fit takes them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from codecbench.toolbox.collecting import open_picture
from codecbench_datasets.imagenet.catalogue import ORDER
from codecbench_datasets.imagenet.form import SIZE, Form

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_AREA, MAX_ASPECT = 0.25, 4 / 3
"""Random crops: the least share of the picture's area, and the greatest aspect ratio."""


def picture(path: Path, form: Form, view: int = 0) -> NDArray[np.float32]:
    """Return a view of a picture as float32 (3, 224, 224), values k/255. View 0 is what the network takes.

    The crops of the others follow from the file's name. Raises DataError for a file that is no picture.
    """
    image = open_picture(path)
    image = _centre(image, form) if view == 0 else _random_crop(image, form, path.name, view)
    pixels = np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)
    return np.ascontiguousarray(pixels).astype(np.float32) / np.float32(255)


def _centre(image: Image, form: Form) -> Image:
    short = min(image.size)
    if short != form.resize:
        size = tuple(max(SIZE, int(side * form.resize / short)) for side in image.size)
        image = image.resize((size[0], size[1]), _filter(form))
    left, top = (round((side - SIZE) / 2) for side in image.size)
    return image.crop((left, top, left + SIZE, top + SIZE))


def _random_crop(image: Image, form: Form, name: str, view: int) -> Image:
    """Return a crop of random place, area and aspect ratio, scaled to the network's size; half of them are mirrored."""
    from PIL import ImageOps

    generator = np.random.default_rng(list(ORDER.digest(f"view {view}", name)))
    area = math.prod(image.size) * generator.uniform(MIN_AREA, 1.0)
    aspect = math.exp(generator.uniform(-1.0, 1.0) * math.log(MAX_ASPECT))
    width, height = (
        min(limit, round(side))
        for limit, side in zip(image.size, (math.sqrt(area * aspect), math.sqrt(area / aspect)), strict=True)
    )
    left, top = (
        int(generator.integers(0, limit - side + 1)) for limit, side in zip(image.size, (width, height), strict=True)
    )
    cropped = image.resize((SIZE, SIZE), _filter(form), box=(left, top, left + width, top + height))
    return ImageOps.mirror(cropped) if generator.random() < 0.5 else cropped


def _filter(form: Form) -> int:
    from PIL.Image import Resampling

    return Resampling[form.resampling.upper()]
