"""Pillow's own settings beside the records of `jpeg-huffman`, `webp` and `avif` at the input of `imagenet-resnet50`.

    PYTHONPATH=tests python -m support.pillow_settings PICTURES RECORD...

PICTURES is the folder with folders of classes, a RECORD the Parquet file of a cell. For each record and each setting of
Pillow it takes the smallest quality whose mean PSNR over the record's pictures is no worse than the record's, and
prints the bytes of both, Pillow's less the container that our payload leaves out. No code of codecbench is used.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from support.imagenet_reference import pixels

COUNT, TRIED = 100, 20
"""The pictures that are coded, and those on which a quality is searched."""


def settings(file_format: str) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield settings of Pillow, and the bytes of their files that are the same for every picture of a size."""
    if file_format == "JPEG":
        for subsampling, progressive, smooth in product(("4:2:0", "4:2:2", "4:4:4"), (False, True), (0, 10)):
            yield {"subsampling": subsampling, "progressive": progressive, "optimize": True, "smooth": smooth}, 0
    elif file_format == "WEBP":
        for method, sharp in product((4, 5, 6), (False, True)):
            yield {"method": method, "use_sharp_yuv": sharp}, 28
    else:
        for subsampling, speed in product(("4:2:0", "4:2:2", "4:4:4"), (8, 6, 4, 2, 0)):
            yield {"subsampling": subsampling, "speed": speed, "advanced": {"tune": "psnr"}}, 300
        for changed in ({"range": "limited"}, {"advanced": {"tune": "ssim"}}, {"advanced": {}}):
            yield {"subsampling": "4:2:0", "speed": 4, "advanced": {"tune": "psnr"}, **changed}, 300


def coded(pictures: Sequence[NDArray[Any]], file_format: str, options: Mapping[str, Any]) -> tuple[float, float]:
    """Return the mean bytes of the files and the mean PSNR in dB."""
    sizes, psnrs = [], []
    for picture in pictures:
        file = BytesIO()
        Image.fromarray(picture).save(file, file_format, **options)
        decoded = np.asarray(Image.open(file).convert("RGB"), np.float64)
        psnrs.append(10 * np.log10(255**2 / np.square(decoded - picture).mean()))
        sizes.append(len(file.getvalue()))
    return float(np.mean(sizes)), float(np.mean(psnrs))


def smallest(
    pictures: Sequence[NDArray[Any]], file_format: str, options: Mapping[str, Any], psnrs_db: Sequence[float]
) -> tuple[float, int]:
    """Return the mean bytes at the smallest quality whose mean PSNR is no worse, and that quality; infinite if none is.

    The quality is searched on the first TRIED pictures, then raised until all of them are no worse.
    """
    low, high = 1, 100
    while low < high:
        quality = (low + high) // 2
        found_db = coded(pictures[:TRIED], file_format, {**options, "quality": quality})[1]
        low, high = (low, quality) if found_db >= np.mean(psnrs_db[:TRIED]) else (quality + 1, high)
    for quality in range(max(1, low - 1), 101):
        size, found_db = coded(pictures, file_format, {**options, "quality": quality})
        if found_db >= np.mean(psnrs_db):
            return size, quality
    return float("inf"), 101


def main(folder: Path, records: Sequence[Path]) -> int:
    """Print a line for each record and setting; return 1 if a setting takes at least 3 % fewer bytes than a record."""
    formats = {"jpeg-huffman": "JPEG", "webp": "WEBP", "avif": "AVIF"}
    worst = 0.0
    for record in records:
        file_format = next(name for codec, name in formats.items() if record.name.startswith(codec))
        rows = [row for row in pq.read_table(record).to_pylist() if row["subset"] == "test"][:COUNT]
        pictures = [
            np.round(255 * pixels(folder / row["sample_id"]).permute(1, 2, 0).numpy()).astype(np.uint8) for row in rows
        ]
        ours, psnrs_db = float(np.mean([row["payload_bytes"] for row in rows])), [row["psnr_db"] for row in rows]
        print(f"{record.name}: {len(rows)} pictures, {ours:.0f} bytes, {np.mean(psnrs_db):.2f} dB", flush=True)
        for options, container in settings(file_format):
            size, quality = smallest(pictures, file_format, options, psnrs_db)
            saved = 1 - (size - container) / ours
            worst = max(worst, saved)
            print(f"  quality {quality:3} {options}: {size - container:.0f} bytes, {-saved:+.1%}", flush=True)
    print(f"The best setting takes {worst:.1%} fewer bytes than ours.")
    return int(worst >= 0.03)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]))
