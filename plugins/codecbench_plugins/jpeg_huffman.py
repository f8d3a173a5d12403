"""`jpeg-huffman`: baseline JPEG by Pillow, of the image itself or of features tiled into one grey picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from codecbench import Codec, RateKnob, Side, TensorSpec, hookimpl
from codecbench.toolbox.codecs import ColourPictureCodec, picture_size, pillow_file, pillow_picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class JpegMode(NamedTuple):
    """A way to code a coloured picture. `even` is True for one quantiser step for all coefficients of all planes."""

    subsampling: str
    even: bool
    progressive: bool


MODES = tuple(
    JpegMode(subsampling, even, progressive)
    for progressive in (False, True)
    for even in (False, True)
    for subsampling in ("4:2:0", "4:2:2", "4:4:4")
)
"""The modes of `tables="own"`. Shared tables have the first half: a progressive file has its own for each scan."""

UNFITTED_MODES = (
    (25, MODES.index(JpegMode("4:2:0", False, False))),
    (100, MODES.index(JpegMode("4:4:4", False, False))),
)
"""By the PSNR of 200 CIFAR-10 training images at equal bytes, with the tables of Annex K."""

EVEN_STEP = 30
"""The step of an even quantiser at quality 50, which takes about as many bytes as Annex K's tables."""

END_OF_IMAGE = b"\xff\xd9"
START_OF_FRAME = b"\xff\xc0"
START_OF_SCAN = b"\xff\xda"


class JpegHuffman(ColourPictureCodec):
    """JPEG with Huffman tables optimised for the picture (`tables="own"`), or standard ones not sent (`"shared"`).

    With `tables="own"` the payload is the file as Pillow writes it. With shared tables it is the entropy-coded scan
    alone: both sides keep everything before it, about 600 bytes, as their state (an abbreviated stream, ITU-T T.81
    section B.5, without the frame and scan headers). The Huffman tables are those of T.81 Annex K. On CIFAR-10 images,
    tables fitted to training images would save 1 to 2 % more at qualities 30 to 80, 4 to 6 % at 90 to 95, and 8 to 10 %
    above.

    Of coloured pictures, training images tell by quality (`codecbench.toolbox.codecs.colour_modes`) how far chroma is
    subsampled, and whether Annex K's quantisation tables are used, which are made for eyes, or even ones, for squared
    error; with `tables="own"` also whether the file is progressive.
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
    version = 2
    unfitted = frozenset({"quality"})
    checkpoints = "codecbench_plugins:checkpoints/jpeg-huffman"
    trial_qualities = (1, 6, 12, 25, 40, 60, 80, 92, 100)
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

        Raises ValueError for a state of a plain point with `tables="own"`, if pictures are not coloured.
        """
        if self.tables == "own" and state and self.edge == "plain" and not self.coloured:
            raise ValueError(f"{self.name} keeps no state with tables='own', but was given {len(state)} bytes")
        super().restore(side, state)

    def mode_count(self) -> int:
        """Return the number of `MODES` that this point may use."""
        return len(MODES) if self.tables == "own" else len(MODES) // 2

    def unfitted_modes(self) -> Sequence[tuple[int, int]]:
        """Return `UNFITTED_MODES`."""
        return UNFITTED_MODES

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
        options: dict[str, Any] = {"optimize": self.tables == "own"}
        mode = MODES[self.mode] if self.coloured else None
        if mode is not None:
            options |= {"subsampling": mode.subsampling, "progressive": mode.progressive}
        if mode is not None and mode.even:
            options["qtables"] = [[_even_step(self.quality)] * 64] * 2
        else:
            options["quality"] = self.quality
        return pillow_file(picture, self.file_format, **options)


def _even_step(quality: int) -> int:
    """Return the quantiser step of an even table, scaled by quality as libjpeg scales Annex K's tables."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return min(max((EVEN_STEP * percent + 50) // 100, 1), 255)


def _split(file: bytes) -> tuple[bytes, bytes]:
    """Return the bytes before the entropy-coded scan of a libjpeg file, and the scan without the end marker."""
    at = file.index(START_OF_SCAN)
    at += 2 + int.from_bytes(file[at + 2 : at + 4], "big")
    return file[:at], file[at : -len(END_OF_IMAGE)]


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [JpegHuffman]
