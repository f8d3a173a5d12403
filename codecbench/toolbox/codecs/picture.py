"""Base of codecs that compress 8-bit pictures: an image as it is, any other tensor tiled into one grey picture.

Importing this module does not import numpy.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from codecbench.codec import Codec, Side, TensorSpec
from codecbench.errors import PayloadError
from codecbench.toolbox.codecs.steerable import Steerable
from codecbench.toolbox.codecs.suited import range_factor
from codecbench.toolbox.coding.headers import read_shape, write_shape
from codecbench.toolbox.transforms.uniform import (
    RANGE_BYTES,
    dequantise_uniform,
    from_pixels,
    quantise_uniform,
    to_pixels,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

LEVELS = 256


class PlainPictureCodec(Codec):
    """Base of `PictureCodec`, and of codecs without steered points: implement `compress` and `decompress`.

    An image input is the picture: (height, width, 3) if coloured, (height, width) if grey. Any other tensor is
    quantised to 8 bits between its lowest and its highest value and laid out as one grey picture. The payload then has
    a header of 8 bytes for this range, after the length of a varying axis. The layout depends on the number of axes:

    - three or more: the planes (all axes but the last two) side by side, in the grid of rows and columns that is
      nearest to square and has no empty place;
    - two: the matrix is the picture;
    - one: the vector fills rows of a nearly square picture.

    The part that all files of one picture size share is not sent. `make_header` returns it, both sides keep that of the
    largest picture as their state, and `compress` and `decompress` get it from `header`.
    """

    file_format: ClassVar[str]
    """The common name of the format: "JPEG"."""
    max_side: ClassVar[int]
    """Largest height and width of a picture, in pixels."""
    feature_points: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    """Operating points for tensors that are not images; if empty, `points` serve for all tensors."""
    quick: ClassVar[tuple[tuple[Mapping[str, Any], ...], ...]]
    """Quick points for images, for large pictures of features (`is_large`), and for small ones, in this order."""

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._headers: dict[tuple[int, int], bytes] = {}

    @abstractmethod
    def compress(self, picture: NDArray[np.uint8]) -> bytes:
        """Return the part of the picture's file that is sent."""

    @abstractmethod
    def decompress(self, stream: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the picture of this height and width; the inverse of `compress`.

        Raises PayloadError if the stream holds a picture of another size, before memory is allocated for it.
        """

    def make_header(self, size: tuple[int, int]) -> bytes:
        """Return the part that all files of this picture size share, which is not sent. Default: empty."""
        return b""

    def header(self, size: tuple[int, int]) -> bytes:
        """Return the header for this height and width: the restored one for the largest picture, else a new one.

        A header is made once for each size that a varying axis brings.
        """
        if size not in self._headers:
            self._headers[size] = self.make_header(size)
        return self._headers[size]

    def shared_state(self) -> bytes:
        """Return the part of the state that is the same for all points. Default: empty."""
        return b""

    @property
    def coloured(self) -> bool:
        """True if pictures have three channels."""
        return is_coloured(self.spec)

    def picture_shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape of the array of a picture of this height and width."""
        return (*size, 3) if self.coloured else size

    def picture(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the picture of an image: (height, width, 3) if coloured, else (height, width)."""
        import numpy as np

        pixels = to_pixels(values)
        return np.ascontiguousarray(pixels.transpose(1, 2, 0)) if self.coloured else pixels[0]

    @classmethod
    def points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return `points` for images and `feature_points` for other tensors: images need finer points.

        A quick point that the statistics have made finer is among them.
        """
        points = cls.points if spec.image or not cls.feature_points else cls.feature_points
        more = [point for point in cls.quick_points_for(spec) if point not in points]
        knob = cls.rate_knob(spec) if more else None
        if knob is None:
            return points
        argument, falls = knob.argument, knob.coarsest > knob.finest
        return tuple(sorted((*points, *more), key=lambda point: float(point[argument]), reverse=falls))

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return points that lose about 1 % of top-1 on small images, and on features of small networks.

        They are finer by `range_factor` where the tensor is unlike those features, or has heavy tails.
        """
        points, factor = cls.quick[0 if spec.image else 1 if is_large(spec) else 2], range_factor(spec)
        return points if factor == 1.0 else tuple(cls.finer(spec, point, factor) for point in points)

    @classmethod
    def finer(cls, spec: TensorSpec, point: Mapping[str, Any], factor: float) -> Mapping[str, Any]:
        """Return a point with about 1/`factor` of the error of this one.

        Default: the rate knob is a quality up to 100, and the error in proportion to what is missing from that. Without
        a knob it is the same point.
        """
        knob = cls.rate_knob(spec)
        if knob is None:
            return point
        quality = round(100 - (100 - point[knob.argument]) / factor)
        return {**point, knob.argument: min(quality, int(knob.finest))}

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this tensor cannot be coded: no floats, no axis, or a side over `max_side` pixels."""
        if not spec.dtype.startswith("float"):
            return f"needs floating-point values, got {spec.dtype}"
        if not spec.ndim:
            return "needs an axis, got a single value"
        if spec.image and spec.shape[0] not in (1, 3):
            return f"needs an image of 1 or 3 channels, got {spec.shape[0]}"
        height, width = picture_size(spec, spec.max_shape)
        if max(height, width) > cls.max_side:
            return f"a picture of {width} x {height} is over {cls.file_format}'s {cls.max_side}"
        return None

    def export(self, side: Side) -> bytes:
        """Return the header for the largest picture."""
        size = picture_size(self.spec, self.spec.max_shape)
        return self.header(size) if all(size) else b""

    def restore(self, side: Side, state: bytes) -> None:
        """Load a state made by `export`."""
        if state:
            self._headers[picture_size(self.spec, self.spec.max_shape)] = state

    def encode(self, x: Tensor) -> bytes:
        """Return shape, range and the result of `compress`. Raises ValueError for values that are not finite."""
        shape_header = write_shape(self.spec, x.shape)
        values = x.numpy()
        if not values.size:
            return shape_header
        if self.spec.image:
            return self.compress(self.picture(values))
        value_range, indices = quantise_uniform(values, LEVELS)
        return shape_header + value_range + self.compress(tile(indices))

    def decode(self, payload: bytes) -> Tensor:
        """Return the sample whose picture the payload holds."""
        import torch

        shape, body = read_shape(self.spec, payload)
        dtype = getattr(torch, self.spec.dtype)
        if not math.prod(shape):
            if body:
                raise PayloadError("payload goes on behind an empty tensor")
            return torch.zeros(shape, dtype=dtype)
        size = picture_size(self.spec, shape)
        if self.spec.image:
            pixels = self.decompress(bytes(body), size)
            return torch.from_numpy(from_pixels(pixels.transpose(2, 0, 1) if self.coloured else pixels[None]))
        indices = untile(self.decompress(bytes(body[RANGE_BYTES:]), size), shape)
        return torch.from_numpy(dequantise_uniform(body[:RANGE_BYTES], indices, LEVELS)).to(dtype)


class PictureCodec(Steerable, PlainPictureCodec):
    """Base of codecs that compress a picture with 8 bits a channel: implement `compress` and `decompress`.

    `PlainPictureCodec` says how a tensor becomes a picture, `Steerable` what `edge="steered"` adds to images. The state
    of a steered point has no header: all points share one copy of the tail, and each side makes the header itself. So
    a subclass names all its own arguments in `unfitted`.
    """

    fit_samples = 10

    def export(self, side: Side) -> bytes:
        """Return the header for the largest picture; at a steered point, the shared state and the copy of the tail."""
        return super().export(side) if self.edge == "plain" else self._with_copy(self.shared_state(), side)


def is_coloured(spec: TensorSpec) -> bool:
    """True if the tensor is an image of three channels."""
    return spec.image and spec.shape[0] == 3


def picture_size(spec: TensorSpec, shape: Sequence[int]) -> tuple[int, int]:
    """Return the height and width of the picture of a tensor of this shape."""
    if spec.image or len(shape) == 2:
        return shape[-2], shape[-1]
    if len(shape) == 1:
        width = _vector_width(shape[0])
        return -(-shape[0] // max(width, 1)), width
    rows, columns = _grid(math.prod(shape[:-2]))
    return rows * shape[-2], columns * shape[-1]


def is_large(spec: TensorSpec) -> bool:
    """True if the picture is over 64 x 128 pixels.

    Such an early feature map of a small network tolerates less distortion than a later one.
    """
    return math.prod(picture_size(spec, spec.max_shape)) > 64 * 128


def imagecodecs_missing() -> str | None:
    """Return why a codec that needs the optional package imagecodecs cannot run, or None if it can."""
    from importlib.util import find_spec

    return None if find_spec("imagecodecs") else "needs imagecodecs: pip install 'codecbench[codecs]'"


def tile(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return one picture of a tensor: its planes in a grid, or a vector in rows, padded with its last value.

    Planes touch. Padding each to whole blocks of 8 takes 5 to 20 % more bytes of JPEG for the same error on planes of
    6, 7 and 14 pixels a side.
    """
    import numpy as np

    if values.ndim == 1:
        width = _vector_width(len(values))
        return np.pad(values, (0, -len(values) % width), mode="edge").reshape(-1, width)
    height, width = values.shape[-2:]
    rows, columns = _grid(math.prod(values.shape[:-2]))
    grid = values.reshape(rows, columns, height, width)
    return np.ascontiguousarray(grid.transpose(0, 2, 1, 3).reshape(rows * height, columns * width))


def untile(picture: NDArray[np.uint8], shape: Sequence[int]) -> NDArray[np.uint8]:
    """Return the tensor of this shape; the inverse of `tile`."""
    if len(shape) == 1:
        return picture.reshape(-1)[: shape[0]]
    height, width = shape[-2:]
    rows, columns = _grid(math.prod(shape[:-2]))
    return picture.reshape(rows, height, columns, width).transpose(0, 2, 1, 3).reshape(tuple(shape))


def pillow_file(picture: NDArray[np.uint8], file_format: str, **options: Any) -> bytes:
    """Return the file that Pillow makes of a grey or coloured picture."""
    import io

    from PIL import Image, ImageFile

    # Pillow gives libjpeg room for an optimised file by the number of pixels, too little for noise in colours.
    ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, 2 * picture.size + (1 << 16))
    file = io.BytesIO()
    Image.fromarray(picture).save(file, file_format, **options)
    return file.getvalue()


def pillow_picture(file: bytes, file_format: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the picture of this shape, (height, width) or (height, width, 3), from a file.

    `file_format` is Pillow's name of the format.

    Raises PayloadError if the file holds a picture of another size or with other channels, before its pixels are
    decoded, and OSError if it holds no picture. A coloured file is converted to grey if the shape is grey, because some
    formats have no grey.
    """
    import io

    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(file), formats=(file_format,)) as picture:
        mode = "RGB" if len(shape) == 3 else "L"
        if (picture.height, picture.width) != shape[:2] or picture.mode not in (mode, "RGB"):
            raise PayloadError(f"a {picture.mode} picture of {picture.width} x {picture.height}")
        return np.asarray(picture.convert(mode) if picture.mode != mode else picture)


def _grid(planes: int) -> tuple[int, int]:
    """Return rows and columns: the two factors of the number of planes nearest to each other, rows <= columns."""
    rows = next(n for n in range(max(1, math.isqrt(planes)), 0, -1) if planes % n == 0)
    return rows, planes // rows


def _vector_width(length: int) -> int:
    """Return the pixels a row for a vector: a multiple of 8, near a square; a short vector is one row."""
    return min(length, 8 * math.ceil(math.sqrt(length) / 8))
