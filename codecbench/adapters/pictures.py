"""Pictures: opened, resized and cropped as a network takes them, as float32 values k/255."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench.adapters.contracts import ModelAdapter, Pictures
from codecbench.codec import TensorSpec
from codecbench.errors import DataError
from codecbench.toolbox.collecting import picture_file

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif"})


def form_of(network: ModelAdapter, label: str) -> Pictures:
    """Return the form of a network's pictures at the size that was asked for. Raises DataError where there is none."""
    description = network.description
    form = network.pictures
    if form is None and network.sounds is None and description.size is not None:
        return Pictures((description.size, description.size), description.size)
    if form is None:
        reason = "takes sound" if network.sounds is not None else "does not say the size of its pictures"
        cure = "; give --size, the side of a square in pixels" if network.sounds is None else ""
        raise DataError(f"{label} has pictures, and the model {description.portable().model} {reason}{cure}")
    return form.at_size(description.size)


def picture_spec(network: ModelAdapter, label: str) -> TensorSpec:
    """Return the spec of a network's pictures."""
    return TensorSpec((3, *form_of(network, label).size), image=True)


def check_header(path: Path, label: str) -> None:
    """Raise DataError unless a file begins as a picture does. Reads its header only."""
    with picture_file(path, label):
        pass


def prepared(image: Image, form: Pictures) -> NDArray[Any]:
    """Return a picture as float32 (3, height, width), values k/255, resized and cropped in the centre."""
    import numpy as np

    pixels = np.asarray(fitted(image, form, resampling=form.resampling), dtype=np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32) / np.float32(255)


def fitted(image: Image, form: Pictures, *, resampling: str) -> Image:
    """Return an image resized and cropped in the centre; a side that is too short is padded with zeros."""
    from PIL.Image import Resampling

    if form.resize is not None:
        width, height = image.size
        if isinstance(form.resize, int):
            short = min(width, height)
            size = (max(1, int(width * form.resize / short)), max(1, int(height * form.resize / short)))
        else:
            size = (form.resize[1], form.resize[0])
        if size != image.size:
            image = image.resize(size, Resampling[resampling.upper()])
    height, width = form.size
    if image.size == (width, height):
        return image
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
