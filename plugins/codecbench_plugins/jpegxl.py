"""`jpegxl`: lossy JPEG XL by imagecodecs (libjxl), of the image itself or of features tiled into one grey picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from codecbench import Codec, PayloadError, RateKnob, TensorSpec, hookimpl
from codecbench.toolbox.codecs import PictureCodec, imagecodecs_missing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIGNATURE = b"\xff\x0a"
USUAL_BYTES = 64
"""The number of bytes at the beginning of a section that both sides keep."""
FULL_FILE = 255
"""The first byte of a payload that holds a complete file."""


class JpegXL(PictureCodec):
    """Lossy JPEG XL (VarDCT): a bare codestream without the part that its pictures have in common.

    About 40 bytes at the beginning are the same for nearly all pictures of a size and point: headers, and descriptions
    of contexts that the encoder writes even if they are its defaults. Both sides keep those of a usual picture as their
    state. The first byte of the payload is the number of bytes of the usual section that are left out; the section's
    length follows from the payload's. A picture with other headers, or of more than one section, is sent as a complete
    file.
    """

    name = "jpegxl"
    unfitted = frozenset({"distance"})
    points = tuple({"distance": d} for d in (6.0, 4.0, 2.5, 1.8, 1.4, 1.2, 1.0, 0.8, 0.7, 0.6, 0.5, 0.3))
    feature_points = tuple({"distance": d} for d in (25.0, 18.0, 12.0, 10.0, 8.0, 6.0, 5.0, 4.0, 3.0, 2.5, 2.0, 0.5))
    quick = (({"distance": 0.7},), ({"distance": 2.0},), ({"distance": 6.0},))
    file_format = "JPEG XL"
    max_side = 1 << 18

    distance: float

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why this codec cannot run: it needs imagecodecs."""
        return imagecodecs_missing()

    @classmethod
    def finer(cls, spec: TensorSpec, point: Mapping[str, Any], factor: float) -> Mapping[str, Any]:
        """Return a point of a smaller distance, in proportion."""
        return {"distance": max(float(f"{point['distance'] / factor:.2g}"), 0.05)}

    @classmethod
    def rate_knob(cls, spec: TensorSpec) -> RateKnob:
        """Return the distance."""
        return RateKnob("distance", 25.0, 0.05)

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: distance is not 0.01 to 25, or `PictureCodec` has a reason."""
        distance = point.get("distance", 1.0)
        if not isinstance(distance, int | float) or not 0.01 <= distance <= 25:
            return f"distance is a number from 0.01 to 25, not {distance!r}"
        return super().skip_reason(spec, **point)

    def compress(self, picture: NDArray[np.uint8]) -> bytes:
        """Return the section without the bytes it shares with the state, after their number; or a complete file."""
        file = self._file(picture)
        start, usual = _parts(self.header((picture.shape[0], picture.shape[1])))
        section = file[len(start) + len(_length(len(file))) :]
        if file != start + _length(len(section)) + section:
            return bytes([FULL_FILE]) + file
        differs = (at for at, (own, other) in enumerate(zip(section, usual, strict=False)) if own != other)
        shared = next(differs, min(len(section), len(usual)))
        return bytes([shared]) + section[shared:]

    def decompress(self, stream: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the picture. Raises PayloadError for an empty payload, ValueError for a picture of another size."""
        import imagecodecs
        import numpy as np

        if not stream:
            raise PayloadError("an empty payload")
        shared, file = stream[0], stream[1:]
        if shared != FULL_FILE:
            start, usual = _parts(self.header(size))
            section = usual[:shared] + file
            file = start + _length(len(section)) + section
        picture = np.empty(self.picture_shape(size), np.uint8)
        imagecodecs.jpegxl_decode(file, numthreads=1, out=picture)
        return picture

    def make_header(self, size: tuple[int, int]) -> bytes:
        """Return the bytes before the section's length, after one byte with their number; then the usual section.

        They come from the file of a smooth picture. If that has more than one section, every picture is sent as a
        complete file.
        """
        import numpy as np

        rows, columns = np.indices(size)
        wave = np.abs((4 * rows + 9 * columns) % 240 - 120).astype(np.uint8)
        file = self._file(np.stack([wave, wave[::-1], wave], axis=-1) if self.coloured else wave)
        start = _length_offset(file)
        if start is None:
            return b"\0"
        section = file[start + len(_length(len(file))) :]
        return bytes([start]) + file[:start] + section[:USUAL_BYTES]

    def _file(self, picture: NDArray[np.uint8]) -> bytes:
        import imagecodecs

        # Adaptive quantisation, which starts at effort 5, helps images but gives features more error at equal bytes.
        effort = 5 if self.spec.image else 4
        return bytes(
            imagecodecs.jpegxl_encode(
                picture, distance=self.distance, effort=effort, usecontainer=False, numthreads=1
            )
        )  # fmt: skip


def _length(section_bytes: int) -> bytes:
    """Return a section's length as in the table of contents (ISO/IEC 18181-1, F.3.3): 2-bit selector, then value."""
    first = 0
    for selector, bits in enumerate((10, 14, 22)):
        if section_bytes < first + (1 << bits):
            return (section_bytes - first << 2 | selector).to_bytes((bits + 9) // 8, "little")
        first += 1 << bits
    return (section_bytes - first << 2 | 3).to_bytes(4, "little")


def _length_offset(file: bytes) -> int | None:
    """Return the offset of the length of the only section: the rest of the file has that length.

    None for more sections.
    """
    for start in range(len(SIGNATURE), min(64, len(file) - 4)):
        for width in (2, 3, 4):
            if file[start : start + width] == _length(len(file) - start - width):
                return start
    return None


def _parts(header: bytes) -> tuple[bytes, bytes]:
    """Return the beginning of the file, and that of a usual section."""
    start = 1 + header[0]
    return header[1:start], header[start:]


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [JpegXL]
