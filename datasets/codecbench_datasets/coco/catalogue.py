"""Where the detector and the pictures of `coco-yolo` lie, and the order and the parts of the pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from codecbench import DataError
from codecbench.toolbox.boxes import Labels, read_folder

ENDINGS = frozenset({".jpg", ".jpeg", ".png"})

FOLDER = "coco"
"""The folder in a data folder that `codecbench data get coco` writes."""

PLACES = "places.json"
"""The file in it that says where labelled and unlabelled pictures lie."""

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
    return in_order(labels(folder).by_picture)


@lru_cache(maxsize=4)
def unlabelled_names(folder: Path) -> list[str]:
    """Return the paths of all pictures in a folder, in the order of their hashes. Raises DataError without one."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; {CURE}")
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    return in_order(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))


def in_order(found: Iterable[str]) -> list[str]:
    """Return paths in the order of hashes of their last parts: random but fixed."""
    return sorted(found, key=lambda name: (digest("order", name.rpartition("/")[2]), name))


def choice_count(labelled: int) -> int:
    """Return how many of the labelled pictures serve to choose operating points."""
    return min(MAX_CHOICE, max(1, labelled // CHOICE_SHARE))


def view_names(found: Sequence[str]) -> list[str]:
    """Return the identifiers of views: the first of every picture, then the second of every picture, and so on."""
    return [f"{name}#{view}" for view in range(VIEWS) for name in found]


def digest(purpose: str, name: str) -> bytes:
    """Return 32 bytes that follow from a name, for one purpose."""
    return hashlib.sha256(f"coco-yolo\0{purpose}\0{name}".encode(errors="surrogateescape")).digest()


@lru_cache(maxsize=2)
def weights_sha256(path: Path) -> str:
    """Return the SHA-256 of the detector's file. Raises DataError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"no detector in {path} ({error.strerror}); {CURE_WEIGHTS}") from error


def read(folder: Path) -> dict[str, Path]:
    """Return where pictures lie, by kind, as `note` wrote it; empty if it has not."""
    try:
        return {str(kind): folder / place for kind, place in json.loads((folder / PLACES).read_bytes()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def note(folder: Path, kind: str, place: Path) -> None:
    """Keep where pictures of one kind lie; relative to the folder if they are in it."""
    known: Mapping[str, Path] = {**read(folder), kind: place}
    shown = {
        each: path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
        for each, path in known.items()
    }
    aside = folder / f"{PLACES}.new"
    aside.write_text(json.dumps(shown, indent=1) + "\n", encoding="utf-8")
    aside.replace(folder / PLACES)
    for cached in (labels, labelled_names, unlabelled_names):
        cached.cache_clear()
