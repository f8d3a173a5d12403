"""`jpeg2000`: JPEG 2000 by imagecodecs (OpenJPEG), of the image itself or of features tiled into one grey picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from codecbench import Codec, RateKnob, TensorSpec, hookimpl
from codecbench.toolbox.codecs import PictureCodec, imagecodecs_missing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

START_OF_TILE_PART = b"\xff\x90\x00\x0a\x00\x00"
START_OF_DATA = b"\xff\x93"
END_OF_CODESTREAM = b"\xff\xd9"
RESOLUTIONS = 3
TILE_HEADER_BYTES = 14
"""Marker, segment length, tile, length of the part, part, number of parts, and the start-of-data marker."""


class Jpeg2000(PictureCodec):
    """JPEG 2000 with the irreversible wavelet and colour transform, truncated at a PSNR, without headers.

    The payload holds the packets of the only tile. The main header, about 130 bytes, is the same for all pictures of a
    size, and both sides keep it as their state. The header of the tile part follows from the length (ITU-T T.800, Annex
    A).
    """

    name = "jpeg2000"
    unfitted = frozenset({"psnr_db"})
    points = tuple({"psnr_db": psnr_db} for psnr_db in (24, 28, 30, 32, 33, 34, 35, 36, 37, 38, 40, 43))
    feature_points = tuple({"psnr_db": psnr_db} for psnr_db in (20, 22, 23, 24, 25, 26, 28, 30, 31, 32, 34, 40))
    quick = (({"psnr_db": 38},), ({"psnr_db": 34},), ({"psnr_db": 28},))
    file_format = "JPEG 2000"
    max_side = 65_535

    psnr_db: int

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why this codec cannot run: it needs imagecodecs."""
        return imagecodecs_missing()

    @classmethod
    def finer(cls, spec: TensorSpec, point: Mapping[str, Any], factor: float) -> Mapping[str, Any]:
        """Return a point of a higher PSNR, by the decibels of the factor."""
        return {"psnr_db": min(point["psnr_db"] + round(20 * math.log10(factor)), 70)}

    @classmethod
    def rate_knob(cls, spec: TensorSpec) -> RateKnob:
        """Return the PSNR at which packets are cut off."""
        return RateKnob("psnr_db", 10, 70, integer=True)

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: psnr_db is not 1 to 100, or `PictureCodec` has a reason."""
        psnr_db = point.get("psnr_db", 36)
        if not isinstance(psnr_db, int) or not 1 <= psnr_db <= 100:
            return f"psnr_db is a number from 1 to 100, not {psnr_db!r}"
        return super().skip_reason(spec, **point)

    def compress(self, picture: NDArray[np.uint8]) -> bytes:
        """Return the packets. Raises RuntimeError if the file's other bytes differ from the state."""
        header = self.header((picture.shape[0], picture.shape[1]))
        file = self._file(picture)
        packets = file[len(header) + TILE_HEADER_BYTES : -len(END_OF_CODESTREAM)]
        if file != _join(header, packets):
            raise RuntimeError("this JPEG 2000 library writes another header than the state holds; export it again")
        return packets

    def decompress(self, stream: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the picture; its size comes from the state and not from the stream."""
        import imagecodecs
        import numpy as np

        picture = np.empty(self.picture_shape(size), np.uint8)
        imagecodecs.jpeg2k_decode(_join(self.header(size), stream), verbose=0, numthreads=1, out=picture)
        return picture

    def make_header(self, size: tuple[int, int]) -> bytes:
        """Return all bytes before the tile part."""
        import numpy as np

        file = self._file(np.zeros(self.picture_shape(size), np.uint8))
        return file[: file.index(START_OF_TILE_PART)]

    def _file(self, picture: NDArray[np.uint8]) -> bytes:
        import imagecodecs

        return bytes(
            imagecodecs.jpeg2k_encode(
                picture, level=self.psnr_db, codecformat="j2k", reversible=False, mct=self.coloured,
                resolutions=RESOLUTIONS, verbose=0, numthreads=1,
            )
        )  # fmt: skip


def _join(header: bytes, packets: bytes) -> bytes:
    """Return the codestream of one tile in one part."""
    length = TILE_HEADER_BYTES + len(packets)
    part = START_OF_TILE_PART + length.to_bytes(4, "big") + b"\0\1" + START_OF_DATA
    return header + part + packets + END_OF_CODESTREAM


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [Jpeg2000]
