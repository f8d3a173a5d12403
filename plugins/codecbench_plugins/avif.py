"""`avif`: AV1 still pictures by Pillow, of the image itself or of features tiled into one grey picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from codecbench import Codec, RateKnob, TensorSpec, hookimpl
from codecbench.toolbox.codecs import ColourPictureCodec, pillow_file, pillow_picture
from codecbench.toolbox.coding import read_varint, write_varint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FRAME_OBU = b"\x32"
"""Header of a frame with a size field (AV1 bitstream specification, section 5.3.2)."""

SUBSAMPLINGS = ("4:4:4", "4:2:0")
"""The modes of coloured pictures."""

SPEEDS = ((1 << 10, 6), (1 << 13, 7), (1 << 32, 8))
"""libaom's speed by the number of pixels of a grey picture, up to the first number: a few hundred a second."""

COLOUR_SPEEDS = ((1 << 10, 4), (1 << 16, 2), (1 << 32, 4))
"""Those of coloured pictures.

On CIFAR-10 images, 4 takes 6 % fewer bytes than 6 at the same error, in 3.5 times its time; 2 and 0 would take 3 and
5 % fewer still, in 9 and 20 times. On photographs of 224 x 224, 4 takes 8 % fewer than 6 in 5 times its time, 2 another
3 to 4 % in 13 times (half a second), and 0 no fewer than 2.
"""


class Avif(ColourPictureCodec):
    """AVIF by libaom, tuned for squared error, without its container.

    The payload is the body of the frame, an AV1 OBU. Everything before it, about 290 bytes of ISO boxes and the
    sequence header, is the same for all pictures of a size except for two lengths. Both sides keep it as their state,
    or make it themselves if pictures are coloured. Then training images tell for which qualities chroma is halved
    (`codecbench.toolbox.codecs.colour_modes`).
    """

    name = "avif"
    version = 2
    unfitted = frozenset({"quality"})
    checkpoints = "codecbench_plugins:checkpoints/avif"
    trial_qualities = (0, 15, 35, 60, 99)
    trial_pixels = 1 << 18
    points = tuple({"quality": quality} for quality in (20, 30, 40, 50, 55, 60, 65, 70, 75, 80, 90))
    feature_points = tuple({"quality": quality} for quality in (2, 5, 10, 15, 20, 25, 30, 35, 40, 50, 60, 80))
    quick = (({"quality": 75},), ({"quality": 60},), ({"quality": 40},))
    file_format = "AVIF"
    max_side = 65_536

    quality: int

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why this codec cannot run, or None: Pillow has AVIF from 11.3, and can be built without it."""
        from PIL import features

        has_avif = "avif" in features.modules and features.check("avif")
        return None if has_avif else "needs a Pillow with AVIF: pip install 'pillow>=11.3'"

    @classmethod
    def rate_knob(cls, spec: TensorSpec) -> RateKnob:
        """Return the quality."""
        return RateKnob("quality", 0, 99, integer=True)

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: quality is not 0 to 99, or `PictureCodec` has a reason."""
        quality = point.get("quality", 75)
        if not isinstance(quality, int) or not 0 <= quality <= 99:
            return f"quality is a number from 0 to 99, not {quality!r}"
        return super().skip_reason(spec, **point)

    def mode_count(self) -> int:
        """Return the number of `SUBSAMPLINGS`."""
        return len(SUBSAMPLINGS)

    def unfitted_modes(self) -> Sequence[tuple[int, int]]:
        """Return full chroma for all qualities."""
        return ((99, SUBSAMPLINGS.index("4:4:4")),)

    def compress(self, picture: NDArray[np.uint8]) -> bytes:
        """Return the frame's body. Raises RuntimeError if the file's other bytes differ from the state."""
        file = self._file(picture)
        frame = file[_frame_start(file)[1] :]
        if file != _join(self.header((picture.shape[0], picture.shape[1])), frame):
            raise RuntimeError("this AV1 library writes another header than the state holds; export it again")
        return frame

    def decompress(self, stream: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the picture; its size comes from the state and not from the stream."""
        return pillow_picture(_join(self.header(size), stream), self.file_format, self.picture_shape(size))

    def make_header(self, size: tuple[int, int]) -> bytes:
        """Return all bytes before the frame in the file of a black picture, with both lengths set to 0."""
        import numpy as np

        file = self._file(np.zeros(self.picture_shape(size), np.uint8))
        data = file.index(b"mdat") + 4
        header = bytearray(file[: _frame_start(file)[0]])
        header[data - 8 : data - 4] = bytes(4)
        item = header.index(data.to_bytes(4, "big") + (len(file) - data).to_bytes(4, "big"))
        header[item + 4 : item + 8] = bytes(4)
        return bytes(header)

    def _file(self, picture: NDArray[np.uint8]) -> bytes:
        """Return the file, encoded by one thread.

        That is enough for small pictures, and the bytes are the same on every machine.
        """
        subsampling = SUBSAMPLINGS[self.mode] if self.coloured else "4:0:0"
        speeds = COLOUR_SPEEDS if self.coloured else SPEEDS
        speed = next(speed for pixels, speed in speeds if picture.shape[0] * picture.shape[1] <= pixels)
        return pillow_file(
            picture, self.file_format, quality=self.quality, subsampling=subsampling, speed=speed, codec="aom",
            max_threads=1, autotiling=False, advanced={"tune": "psnr"},
        )  # fmt: skip


def _frame_start(file: bytes) -> tuple[int, int]:
    """Return the offsets of the frame and of its body in an AVIF file."""
    at = file.index(b"mdat") + 4
    while at < len(file):
        length, body = read_varint(file, at + 1)
        if file[at : at + 1] == FRAME_OBU:
            return at, body
        at = body + length
    raise RuntimeError("this AV1 library writes no frame as one unit")


def _join(header: bytes, frame: bytes) -> bytes:
    """Return the file of a frame; the lengths of media data and item (`iloc`) are written into the header."""
    unit = FRAME_OBU + write_varint(len(frame)) + frame
    data = header.index(b"mdat") + 4
    item = header.index(data.to_bytes(4, "big") + bytes(4))
    length = len(header) - data + len(unit)
    return (
        header[: item + 4] + length.to_bytes(4, "big")
        + header[item + 8 : data - 8] + (8 + length).to_bytes(4, "big")
        + header[data - 4 :] + unit
    )  # fmt: skip


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [Avif]
