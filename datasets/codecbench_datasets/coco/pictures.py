"""Pictures of the `coco-yolo` workload, scaled or cropped to fit the detector's input, and detections in them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from codecbench.toolbox.boxes import Detections, decode_grids, letterbox
from codecbench.toolbox.collecting import open_picture
from codecbench_datasets.coco.catalogue import ORDER

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_AREA = 0.25
"""The least share of a picture's area that a random crop has; its sides keep their ratio."""


def picture(path: Path, size: tuple[int, int], view: int = 0) -> NDArray[np.float32]:
    """Return a view of a picture as float32 (3, height, width), values k/255. View 0 is what the detector takes.

    The others are of random crops, half of them mirrored, which follow from the file's name. Raises DataError for a
    file that is no picture.
    """
    image = open_picture(path)
    pixels = letterbox(image if view == 0 else _random_crop(image, path.name, view), size).transpose(2, 0, 1)
    return np.ascontiguousarray(pixels).astype(np.float32) / np.float32(255)


def _random_crop(image: Image, name: str, view: int) -> Image:
    from PIL import ImageOps

    generator = np.random.default_rng(list(ORDER.digest(f"view {view}", name)))
    share = math.sqrt(generator.uniform(MIN_AREA, 1.0))
    width, height = (max(1, round(side * share)) for side in image.size)
    left, top = (
        int(generator.integers(0, limit - side + 1)) for limit, side in zip(image.size, (width, height), strict=True)
    )
    cropped = image.crop((left, top, left + width, top + height))
    return ImageOps.mirror(cropped) if generator.random() < 0.5 else cropped


def detections(output: NDArray[np.float32], size: tuple[int, int]) -> Detections:
    """Return the detections of a picture's output, (cells, 4 + classes): boxes times scores, and scores by class."""
    scores = output[:, 4:]
    highest = scores.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        boxes = output[:, :4] / highest
    return decode_grids(np.hstack([boxes, np.ones_like(highest), scores]), size)
