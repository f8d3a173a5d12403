"""`webp`: lossy WebP by Pillow, of an image's planes or of features tiled into one grey picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from codecbench import Codec, PayloadError, RateKnob, TensorSpec, hookimpl
from codecbench.toolbox.codecs import ColourPictureCodec, pillow_file, pillow_picture
from codecbench.toolbox.coding import read_varint, write_varint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PLANES, PICTURE = 0, 1
"""The modes: a coloured picture as one grey one of its planes, or as it is, with halved chroma."""

START_CODE = b"\x9d\x01\x2a"


class WebP(ColourPictureCodec):
    """Lossy WebP (VP8 key frames), slowest method, without its container.

    WebP itself halves the chroma of a coloured picture in both directions, a loss that no quality makes up for. At high
    qualities a coloured image may therefore be stored as one grey picture of its Y, Cb and Cr planes, one above the
    other; training images tell from which quality on (`codecbench.toolbox.codecs.colour_modes`).

    Of the 30 bytes of RIFF container and frame header, two fields are sent as one varint: the version and the length of
    the first partition. The rest is constant or follows from size and length (RFC 6386, section 9.1; RFC 9649, section
    2.5).
    """

    name = "webp"
    version = 2
    unfitted = frozenset({"quality"})
    checkpoints = "codecbench_plugins:checkpoints/webp"
    trial_qualities = (0, 10, 25, 40, 50, 60, 70, 80, 90, 100)
    points = tuple({"quality": quality} for quality in (20, 40, 60, 70, 75, 80, 85, 88, 90, 95, 98))
    feature_points = tuple({"quality": quality} for quality in (0, 1, 3, 5, 10, 15, 20, 25, 30, 40, 60, 80))
    quick = (({"quality": 90},), ({"quality": 30},), ({"quality": 5},))
    file_format = "WebP"
    max_side = 16_383 // 3

    quality: int

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why this codec cannot run, or None: Pillow can be built without WebP."""
        from PIL import features

        return None if features.check("webp") else "needs a Pillow with WebP: pip install --force-reinstall pillow"

    @classmethod
    def rate_knob(cls, spec: TensorSpec) -> RateKnob:
        """Return the quality."""
        return RateKnob("quality", 0, 100, integer=True)

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: quality is not 0 to 100, or `PictureCodec` has a reason."""
        quality = point.get("quality", 75)
        if not isinstance(quality, int) or not 0 <= quality <= 100:
            return f"quality is a number from 0 to 100, not {quality!r}"
        return super().skip_reason(spec, **point)

    def mode_count(self) -> int:
        """Return 2: `PLANES` and `PICTURE`."""
        return 2

    def unfitted_modes(self) -> Sequence[tuple[int, int]]:
        """Return `PLANES` for all qualities, as suits pictures of 32 x 32."""
        return ((100, PLANES),)

    @property
    def stacked(self) -> bool:
        """True if the planes are coded as one grey picture."""
        return self.coloured and self.mode == PLANES

    def compress(self, picture: NDArray[np.uint8]) -> bytes:
        """Return the varying part of the frame header, and the frame.

        Raises RuntimeError for a file of another kind.
        """
        coded = _stack(picture) if self.stacked else picture
        file = pillow_file(coded, "WEBP", quality=self.quality, method=6)
        frame_bytes = int.from_bytes(file[16:20], "little")
        tag = int.from_bytes(file[20:23], "little")
        height, width = coded.shape[:2]
        # Bit 0 of the tag is 0 in a key frame, bit 4 is 1 in one that is shown; 3 bits are the version, 19 the length.
        if tag & 17 != 16 or file != _container(tag, (height, width), file[30 : 20 + frame_bytes]):
            raise RuntimeError("this WebP library writes other files than one shown key frame of VP8")
        return write_varint(tag >> 5 << 3 | tag >> 1 & 7) + file[30 : 20 + frame_bytes]

    def decompress(self, stream: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the picture; its size comes from the spec and not from the stream."""
        folded, offset = read_varint(stream)
        if folded >> 22:
            raise PayloadError("a partition of over 19 bits")
        stacked = self.stacked
        coded = (3 * size[0], size[1]) if stacked else size
        tag = folded >> 3 << 5 | 16 | (folded & 7) << 1
        file = _container(tag, coded, stream[offset:])
        picture = pillow_picture(file, "WEBP", coded if stacked else self.picture_shape(size))
        return _unstack(picture) if stacked else picture


def _container(tag: int, size: tuple[int, int], partitions: bytes) -> bytes:
    """Return the WebP file of one VP8 key frame with this tag, height, width and content."""
    frame = tag.to_bytes(3, "little") + START_CODE + b"".join(n.to_bytes(2, "little") for n in reversed(size))
    frame += partitions
    chunk = b"VP8 " + len(frame).to_bytes(4, "little") + frame + bytes(len(frame) & 1)
    return b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk


def _stack(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return Y, Cb and Cr of a coloured picture, one above the other."""
    import numpy as np
    from PIL import Image

    return np.concatenate([np.asarray(band) for band in Image.fromarray(picture).convert("YCbCr").split()])


def _unstack(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the coloured picture; the inverse of `_stack`, except for rounding."""
    import numpy as np
    from PIL import Image

    bands = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.split(planes, 3)]
    return np.asarray(Image.merge("YCbCr", bands).convert("RGB"))


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [WebP]
