"""`jpeg-huffman`: baseline JPEG by Pillow, of the image itself or of features tiled into one grey picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from codecbench import Codec, RateKnob, Side, TensorSpec, hookimpl
from codecbench.toolbox.codecs import PictureCodec, picture_size, pillow_file, pillow_picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_420_QUALITY = 25
"""Chroma is halved up to this quality, and full above.

By the PSNR of 200 CIFAR-10 training images at equal bytes, 4:2:0 wins up to quality 20, 4:2:2 and 4:4:4 are within 0.1
dB from 30 to 50, and 4:4:4 wins above.
"""

END_OF_IMAGE = b"\xff\xd9"
START_OF_FRAME = b"\xff\xc0"
START_OF_SCAN = b"\xff\xda"


class JpegHuffman(PictureCodec):
    """JPEG with Huffman tables optimised for the picture (`tables="own"`), or standard ones not sent (`"shared"`).

    With `tables="own"` the payload is the file as Pillow writes it. With shared tables it is the entropy-coded scan
    alone: both sides keep everything before it, about 600 bytes, as their state (an abbreviated stream, ITU-T T.81
    section B.5, without the frame and scan headers). The tables are those of T.81 Annex K. On CIFAR-10 images, tables
    fitted to training images would save 1 to 2 % more at qualities 30 to 80, 4 to 6 % at 90 to 95, and 8 to 10 % above.
    """

    name = "jpeg-huffman"
    points = tuple(
        {"quality": quality, "tables": tables}
        for quality in (*range(5, 100, 5), 98, 100)
        for tables in ("shared", "own")
    )
    quick = tuple(
        tuple({"quality": quality, "tables": tables} for tables in ("shared", "own")) for quality in (95, 75, 75)
    )
    rows_by = ("tables", "edge")
    unfitted = frozenset({"quality", "tables"})
    file_format = "JPEG"
    max_side = 65_500

    quality: int
    tables: str

    @classmethod
    def rate_knob(cls, spec: TensorSpec) -> RateKnob:
        """Return the quality."""
        return RateKnob("quality", 1, 100, integer=True)

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: a bad quality or `tables`, or a reason of `PictureCodec`."""
        quality, tables = point.get("quality", 75), point.get("tables", "own")
        if not isinstance(quality, int) or not 1 <= quality <= 100:
            return f"quality is a number from 1 to 100, not {quality!r}"
        if tables not in ("own", "shared"):
            return f"tables is 'own' or 'shared', not {tables!r}"
        return super().skip_reason(spec, **point)

    @classmethod
    def is_steered_too(cls, point: Mapping[str, Any]) -> bool:
        """Return True with shared tables, which take fewer bytes of an image that is small enough to matter."""
        return bool(point["tables"] == "shared")

    def restore(self, side: Side, state: bytes) -> None:
        """Load a state made by `export`: with shared tables, all bytes before the scan of the largest picture.

        Raises ValueError for a state of a plain point with `tables="own"`.
        """
        if self.tables == "own" and state and self.edge == "plain":
            raise ValueError(f"{self.name} keeps no state with tables='own', but was given {len(state)} bytes")
        super().restore(side, state)

    def compress(self, picture: NDArray[np.uint8]) -> bytes:
        """Return the JPEG file, or its scan. Raises RuntimeError if the bytes before the scan differ from the state."""
        file = self._file(picture)
        if self.tables == "own":
            return file
        header, scan = _split(file)
        if header != self.header((picture.shape[0], picture.shape[1])):
            raise RuntimeError("this JPEG library writes other tables than the state holds; export it again")
        return scan

    def decompress(self, stream: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the picture. Raises PayloadError for a picture of another size."""
        file = stream if self.tables == "own" else self.header(size) + stream + END_OF_IMAGE
        return pillow_picture(file, self.file_format, self.picture_shape(size))

    def make_header(self, size: tuple[int, int]) -> bytes:
        """Return, with shared tables, all bytes before the scan: those of the largest picture, with this size."""
        import numpy as np

        if self.tables == "own":
            return b""
        max_size = picture_size(self.spec, self.spec.max_shape)
        if size == max_size:
            return _split(self._file(np.zeros(self.picture_shape(size), np.uint8)))[0]
        header = self.header(max_size)
        # Height and width follow the marker, the segment's length and the precision (T.81, B.2.2).
        at = header.index(START_OF_FRAME) + 5
        return header[:at] + b"".join(n.to_bytes(2, "big") for n in size) + header[at + 4 :]

    def _file(self, picture: NDArray[np.uint8]) -> bytes:
        options: dict[str, Any] = {"quality": self.quality, "optimize": self.tables == "own"}
        if self.coloured:
            options["subsampling"] = "4:2:0" if self.quality <= MAX_420_QUALITY else "4:4:4"
        return pillow_file(picture, self.file_format, **options)


def _split(file: bytes) -> tuple[bytes, bytes]:
    """Return the bytes before the entropy-coded scan of a libjpeg file, and the scan without the end marker."""
    at = file.index(START_OF_SCAN)
    at += 2 + int.from_bytes(file[at + 2 : at + 4], "big")
    return file[:at], file[at : -len(END_OF_IMAGE)]


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [JpegHuffman]
