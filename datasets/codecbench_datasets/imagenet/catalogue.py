"""Where weights and pictures of the `imagenet-resnet50` workload lie, and the order and the parts of the pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path

from codecbench import DataError
from codecbench.toolbox.collecting import NameOrder, files_below, keep_place

ORDER = NameOrder("imagenet-resnet50")

ENDINGS = frozenset({".jpg", ".jpeg", ".png"})

FOLDER = "imagenet"
"""The folder in a data folder that `codecbench data get imagenet` writes."""

WEIGHTS = "imagenet-resnet50.safetensors"
"""The file of the weights, in the folder `weights` of a data folder."""

LABELLED, UNLABELLED = "labelled", "unlabelled"

CURE = "give a folder or an archive of validation pictures: codecbench data get imagenet --from PLACE"

REFERENCE_SHA256 = "41e9532d8c6a814be289385c0188758ddba47acee8ae425b1f92ccd701e9fe44"
"""The SHA-256 of the weights of the reference records."""

MAX_CHOICE = 1_000
"""The most pictures on which operating points are chosen; never over half of the labelled ones."""

VIEWS = 8
"""The views of each unlabelled picture that fits learn from."""


@cache
def class_numbers() -> Mapping[str, int]:
    """Return the number of each class by its WordNet identifier, in the order of these."""
    text = files("codecbench_datasets.imagenet").joinpath("classes.txt").read_text(encoding="ascii")
    return {name: number for number, name in enumerate(text.split())}


def reference_photographs() -> list[str]:
    """Return the names of the photographs that shipped states were fitted on, in the order of `names`."""
    text = files("codecbench_datasets.imagenet").joinpath("photographs.txt").read_text(encoding="ascii")
    return ORDER.sorted(text.split())


def has_classes(folder: Path) -> bool:
    """Return True if a folder has folders named by WordNet identifiers of classes."""
    return any((folder / name).is_dir() for name in class_numbers())


@lru_cache(maxsize=8)
def labelled_names(folder: Path) -> list[str]:
    """Return the paths of pictures in folders of classes, in the order of `names`. Raises DataError for another folder.

    The first ones, `choice_count`, serve to choose operating points, the others to test.
    """
    found = [name for name in names(folder) if name.count("/") == 1]
    strange = sorted({name.partition("/")[0] for name in found} - class_numbers().keys())
    if strange:
        raise DataError(f"{folder / strange[0]} is no class of ImageNet, such as n01440764; {CURE}")
    if len(found) < 2:
        raise DataError(f"{folder} has fewer than two pictures in folders of classes; {CURE}")
    return found


@lru_cache(maxsize=8)
def names(folder: Path) -> list[str]:
    """Return the paths of all pictures in a folder, in the order of hashes of their names: random but fixed.

    Raises DataError if there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; {CURE}")
    return ORDER.sorted(files_below(folder, ENDINGS))


def choice_count(labelled: int) -> int:
    """Return how many of the labelled pictures serve to choose operating points."""
    return min(MAX_CHOICE, labelled // 2)


@lru_cache(maxsize=2)
def weights_sha256(path: Path) -> str:
    """Return the SHA-256 of the file of weights. Raises DataError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"no weights in {path} ({error.strerror}); {CURE}") from error


def note(folder: Path, kind: str, place: Path) -> None:
    """Keep where pictures of one kind lie."""
    keep_place(folder, kind, place)
    names.cache_clear()
    labelled_names.cache_clear()
