"""CIFAR-10 images: the 7,000 that ship with the package, and the full set after it has been fetched.

Arrays are uint8 (N, 32, 32, 3) in RGB and int64 (N,) labels. A *position* counts in shipped order; an *index* counts in
the official set (training batches 1 to 5 in turn, or the test batch).
"""

from __future__ import annotations

import hashlib
import io
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecbench import DataError

HERE = Path(__file__).parent / "data"
WEIGHTS = HERE / "resnet20.safetensors"
CURE_SHIPPED = "reinstall codecbench"
CURE_FETCHED = "run 'codecbench data get cifar10'"
FULL_COUNT = {"train": 50_000, "test": 10_000}
# sha256 of images then labels, both uint8, of the full set in official order.
FULL_SHA256 = {
    "train": "f912919bdea371136f1aa4feed6beeca728015a5f08b1899a29c932a7e30be2b",
    "test": "8193b3fbce55bec361cd1b8fd4880cb1649832dc4d6de6da1e7a21847a4843aa",
}
# sha256 of the shipped train.json and test.json; each of these files holds the sha256 of its pictures.
INDEX_SHA256 = {
    "train": "a82f81fe99bdbaf578d92aded3a2d79066c03de9e49defc2c9236f50d1283b13",
    "test": "d623fed25396cb42305687055a5ad33d5a09fe268b0d2c338f885db898fa5ef9",
}
# The first positions of the shipped training images: the network never saw these, codecs are not fitted on them,
# and operating points are chosen on them.
HELD_OUT_COUNT = 1_000

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def shipped_indices(part: str) -> NDArray[np.int64]:
    """Return the official indices of the shipped images of `part` ("train" or "test"), in shipped order."""
    return np.asarray(_index_file(part)["indices"], dtype=np.int64)


def held_out_indices() -> NDArray[np.int64]:
    """Return the official indices of the training images on which operating points are chosen."""
    return shipped_indices("train")[:HELD_OUT_COUNT]


def ordered_indices(part: str, *, full_set: bool) -> NDArray[np.int64]:
    """Return the official indices of `part` in the order of a run: the shipped ones, then, with `full_set`, the rest.

    The rest stay in their official order, which Krizhevsky (2009) made random.
    """
    shipped = shipped_indices(part)
    rest = np.setdiff1d(np.arange(FULL_COUNT[part]), shipped)
    return np.concatenate([shipped, rest]) if full_set else shipped


@lru_cache(maxsize=2)
def load_shipped(part: str) -> tuple[Images, Labels]:
    """Return the shipped images and labels of `part`. Raises DataError if a file is missing or damaged."""
    from PIL import Image

    entry = _index_file(part)
    content = checked_bytes(HERE / f"{part}.png", entry["sha256"], CURE_SHIPPED)
    images = np.asarray(Image.open(io.BytesIO(content)), dtype=np.uint8).reshape(-1, 32, 32, 3)
    return images, np.asarray(entry["labels"], dtype=np.int64)


def full_folder(data_dir: Path) -> Path:
    """Return the folder of the full set below a data folder, where `codecbench data get cifar10` writes it."""
    return data_dir / "cifar10"


def full_files(part: str, data_dir: Path) -> tuple[Path, Path]:
    """Return the files of the full training or test set: images, then labels."""
    folder = full_folder(data_dir)
    return folder / f"{part}-images.npy", folder / f"{part}-labels.npy"


def is_fetched(data_dir: Path) -> bool:
    """Return True if every file of the full set exists; `load_full` checks their content."""
    return all(path.is_file() for part in FULL_COUNT for path in full_files(part, data_dir))


@lru_cache(maxsize=2)
def load_full(part: str, data_dir: Path) -> tuple[Images, Labels]:
    """Return the full training or test set. Raises DataError if it is missing or damaged."""
    try:
        images, labels = (np.load(path, allow_pickle=False) for path in full_files(part, data_dir))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"no usable CIFAR-10 {part} set in {full_folder(data_dir)} ({error}); {CURE_FETCHED}"
        ) from error
    found = content_sha256(images, labels)
    if found != FULL_SHA256[part]:
        raise DataError(
            f"the CIFAR-10 {part} set in {full_folder(data_dir)} is damaged: expected sha256 {FULL_SHA256[part]}, "
            f"found {found}; {CURE_FETCHED}"
        )
    return images, labels.astype(np.int64)


def content_sha256(images: Images, labels: NDArray[Any]) -> str:
    """Return the hash that identifies the full set, whichever archive it came from."""
    digest = hashlib.sha256(np.ascontiguousarray(images, dtype=np.uint8).reshape(-1).data)
    digest.update(labels.astype(np.uint8).tobytes())
    return digest.hexdigest()


def checked_bytes(path: Path, sha256: str, cure: str) -> bytes:
    """Return the bytes of a file. Raises DataError with the expected hash, the hash found, and the remedy."""
    content = _read_bytes(path, cure)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(f"{path} is damaged: expected sha256 {sha256}, found {found}; {cure}")
    return content


def read_json(path: Path, cure: str) -> dict[str, Any]:
    """Return the object in a JSON file. Raises DataError, with the remedy, if there is none."""
    try:
        return dict(json.loads(_read_bytes(path, cure)))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} holds no JSON object ({error}); {cure}") from error


def training_epochs() -> list[dict[str, Any]]:
    """Return the log of the network's training: an object for each epoch, with `pixels` and `epoch_s` among others."""
    log = _read_bytes(HERE / "training.jsonl", CURE_SHIPPED).decode()
    return [json.loads(line) for line in log.splitlines()]


def _read_bytes(path: Path, cure: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; {cure}") from error


@lru_cache
def _index_file(part: str) -> dict[str, Any]:
    return dict(json.loads(checked_bytes(HERE / f"{part}.json", INDEX_SHA256[part], CURE_SHIPPED)))
