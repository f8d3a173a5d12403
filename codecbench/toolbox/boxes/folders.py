"""Folders of pictures with labels: a text file for each picture, or a JSON file for all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from codecbench.errors import DataError
from codecbench.toolbox.boxes.labels import Labels, read_json_labels, read_text_labels

PICTURES, TEXTS, ANNOTATIONS, PREFIX = "images", "labels", "annotations", "instances"


def read_folder(root: Path, label: str, endings: Collection[str], stem: str | None = None) -> Labels:
    """Return the labels of a folder. Errors begin with `label`; `endings` are those of pictures, such as `.jpg`.

    `labels/` has a text file for each picture of `images/`, in the same folders; one without it has no objects.
    Else one JSON file lies in the folder or in `annotations/`, and the pictures in the folder, in `images/`, or in a
    folder of the JSON file's name without `instances_`. Of several JSON files, those of that prefix count; `stem`
    names one of them. Raises DataError for a mistake in them and for missing pictures.
    """
    if not root.is_dir():
        raise DataError(f"{label}: there is no such folder")
    if (root / TEXTS).is_dir():
        return _from_texts(root, label, endings)
    files = [path for folder in (root, root / ANNOTATIONS) for path in sorted(folder.glob("*.json"))]
    return _from_json(root, label, [path for path in files if path.stem == stem] if stem else files)


def _from_texts(root: Path, label: str, endings: Collection[str]) -> Labels:
    pictures = root / PICTURES
    paths = {
        path.relative_to(pictures).as_posix(): path
        for path in sorted(pictures.rglob("*"))
        if path.suffix.lower() in endings
    }
    if not paths:
        raise DataError(f"{label} holds no pictures in {PICTURES}/, beside {TEXTS}/")
    labels = {
        name: read_text_labels(
            root / TEXTS / Path(name).with_suffix(".txt"),
            f"{label}: {TEXTS}/{Path(name).with_suffix('.txt').as_posix()}",
        )
        for name in paths
    }
    return Labels(labels, None, paths)


def _from_json(root: Path, label: str, files: Sequence[Path]) -> Labels:
    chosen = [path for path in files if path.name.startswith(PREFIX)] or files
    if len(chosen) != 1:
        reason = "no labels" if not chosen else f"{len(chosen)} JSON files ({', '.join(path.name for path in chosen)})"
        raise DataError(f"{label} has {reason}; give a folder with {PICTURES}/ and {TEXTS}/, or with one JSON file")
    found = read_json_labels(chosen[0], f"{label}: {chosen[0].name}")
    folders = [root, root / PICTURES, root / chosen[0].stem.removeprefix(f"{PREFIX}_")]
    paths = {}
    for name in found.by_picture:
        found_at = [folder / name for folder in folders if (folder / name).is_file()]
        if not found_at or ".." in Path(name).parts or Path(name).is_absolute():
            raise DataError(f"{label}: {chosen[0].name} names the picture {name}, which is not in the folder")
        paths[name] = found_at[0]
    return Labels(found.by_picture, found.classes, paths)
