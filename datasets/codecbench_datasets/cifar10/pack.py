"""Make the pictures and indices that ship with the package from the full set.

    python -m codecbench_datasets.cifar10.pack --data-dir DIR [--out DIR]

5,000 training and 2,000 test images, drawn once with a seed. The pixels and the JSON's indices and labels are the same
on every machine; the PNG's bytes, and so its hash, may differ with another release of the compression library.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codecbench_datasets.cifar10.data import FULL_COUNT, HERE, INDEX_SHA256, Images, Labels, load_full

SEED = 20261123
SHIPPED_COUNT = {"train": 5_000, "test": 2_000}


def drawn_indices() -> dict[str, NDArray[np.int64]]:
    """Return the official indices to ship, in order: the start of a permutation of each set, by one generator.

    The training set is drawn first.
    """
    rng = np.random.default_rng(SEED)
    return {part: rng.permutation(FULL_COUNT[part])[:count] for part, count in SHIPPED_COUNT.items()}


def packed(images: Images, labels: Labels, indices: NDArray[np.int64]) -> tuple[bytes, bytes]:
    """Return the PNG, a column 32 pixels wide with one image below the other, and its JSON file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(images[indices].reshape(-1, 32, 3)).save(stream, format="PNG", optimize=True)
    png = stream.getvalue()
    entry = {
        "sha256": hashlib.sha256(png).hexdigest(), "indices": indices.tolist(), "labels": labels[indices].tolist(),
    }  # fmt: skip
    return png, (json.dumps(entry, separators=(",", ":")) + "\n").encode()


def main() -> None:
    """Write both pictures and both JSON files, and report whether they match the hashes in `data.py`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="where 'codecbench data get cifar10' put the set")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write (default: the package's own)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for part, indices in drawn_indices().items():
        png, entry = packed(*load_full(part, args.data_dir), indices)
        (args.out / f"{part}.png").write_bytes(png)
        (args.out / f"{part}.json").write_bytes(entry)
        found = hashlib.sha256(entry).hexdigest()
        same = (
            "as expected" if found == INDEX_SHA256[part] else f"INDEX_SHA256[{part!r}] in data.py must become {found}"
        )
        print(f"{part}: {len(indices)} images, {len(png)} bytes; {same}")


if __name__ == "__main__":
    main()
