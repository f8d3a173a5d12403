"""Where the detector and the pictures of `coco-yolo` lie, and the order and the parts of the pictures."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from codecbench import DataError
from codecbench.toolbox.boxes import Labels, read_folder
from codecbench.toolbox.collecting import NameOrder, files_below, keep_place

ORDER = NameOrder("coco-yolo")

ENDINGS = frozenset({".jpg", ".jpeg", ".png"})

FOLDER = "coco"
"""The folder in a data folder that `codecbench data get coco` writes."""

WEIGHTS = "coco-yolo.safetensors"
"""The file of the detector, in the folder `weights` of a data folder."""

LABELLED, UNLABELLED = "labelled", "unlabelled"
OFFICIAL = "instances_val2017"
"""The official file of labels, which is taken where a folder has several."""

CURE = "give pictures with labels: codecbench data get coco --from PLACE"
CURE_WEIGHTS = "give the detector's ONNX file: codecbench data get coco --from yolox_nano.onnx"

SPLITS = ("input", "dark2.down", "dark2", "dark3.down", "dark3")
DOWN_SPLITS = tuple(name for name in SPLITS if "." in name)

MAX_CHOICE = 1_000
CHOICE_SHARE = 3
"""Of labelled pictures, one in three serves to choose operating points, and no more than `MAX_CHOICE`."""

VIEWS = 4
"""The views of each unlabelled picture that fits learn from."""


@lru_cache(maxsize=4)
def labels(folder: Path) -> Labels:
    """Return the labels of a folder of pictures. Raises DataError, with file and line, for a mistake in them."""
    official = any((place / f"{OFFICIAL}.json").is_file() for place in (folder, folder / "annotations"))
    found = read_folder(folder, folder.name, ENDINGS, OFFICIAL if official else None)
    if len(found.by_picture) < 2:
        raise DataError(f"{folder} has fewer than two pictures with labels; {CURE}")
    return found


@lru_cache(maxsize=4)
def labelled_names(folder: Path) -> list[str]:
    """Return the names of the pictures with labels, in the order of their hashes.

    The first ones, `choice_count`, serve to choose operating points, the others to test.
    """
    return ORDER.sorted(labels(folder).by_picture)


@lru_cache(maxsize=4)
def unlabelled_names(folder: Path) -> list[str]:
    """Return the paths of all pictures in a folder, in the order of their hashes. Raises DataError without one."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; {CURE}")
    return ORDER.sorted(files_below(folder, ENDINGS))


def choice_count(labelled: int) -> int:
    """Return how many of the labelled pictures serve to choose operating points."""
    return min(MAX_CHOICE, max(1, labelled // CHOICE_SHARE))


@lru_cache(maxsize=2)
def weights_sha256(path: Path) -> str:
    """Return the SHA-256 of the detector's file. Raises DataError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"no detector in {path} ({error.strerror}); {CURE_WEIGHTS}") from error


def note(folder: Path, kind: str, place: Path) -> None:
    """Keep where pictures of one kind lie."""
    keep_place(folder, kind, place)
    for cached in (labels, labelled_names, unlabelled_names):
        cached.cache_clear()
