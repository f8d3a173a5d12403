"""Pictures from elsewhere, opened by Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from codecbench.errors import DataError, one_line

if TYPE_CHECKING:
    from PIL.Image import Image


def open_picture(path: Path, label: str | None = None) -> Image:
    """Return a picture upright, in RGB. Raises DataError, with the label or the path, for a file that is no picture."""
    from PIL import ImageOps

    with picture_file(path, label) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


@contextmanager
def picture_file(path: Path, label: str | None = None) -> Iterator[Image]:
    """Open a picture for a with block. Raises DataError as `open_picture` where that, or reading it, fails."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        shown = label or path
        raise DataError(f"{shown} does not open as a picture ({_reason(error)}); remove or replace the file") from error


def _reason(error: BaseException) -> str:
    return "its format is unknown" if type(error).__name__ == "UnidentifiedImageError" else one_line(error)
