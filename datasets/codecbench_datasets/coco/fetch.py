"""Collect a detector and pictures: `codecbench data get coco --from PLACE ...`.

The photographs are under the licences that their owners chose, so the user names a folder or archives of them. Folders
are used where they are; archives are unpacked. A detector's ONNX file is converted once.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from codecbench import DataError
from codecbench.toolbox.collecting import kept_places, unpack_tar
from codecbench_datasets.coco import catalogue, weights
from codecbench_datasets.coco.catalogue import CURE, CURE_WEIGHTS, LABELLED, OFFICIAL, UNLABELLED, WEIGHTS
from codecbench_datasets.coco.form import FORMS

Log: TypeAlias = Callable[[str], None]

OFFICIAL_PICTURES = OFFICIAL.removeprefix("instances_")
OFFICIAL_FOLDER = "official"
"""The folder of the unpacked official archives, of pictures and of labels."""


def fetch(data_dir: Path, log: Log, named: Sequence[str]) -> None:
    """Put the detector into `data_dir`/weights, and where pictures lie into `data_dir`/coco.

    What is there already stays unless it is named. Raises DataError if a place is of no use, or if the detector or
    labelled pictures are missing in the end.
    """
    folder = data_dir / catalogue.FOLDER
    try:
        for each in (folder, data_dir / "weights"):
            each.mkdir(parents=True, exist_ok=True)
        for place in named:
            _take(place, folder, log)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error}; name another folder with --data-dir") from error
    _report(data_dir, log)


def _take(place: str, folder: Path, log: Log) -> None:
    """Take one `--from`: a detector's file, a folder or an archive."""
    path = Path(place).expanduser()
    name, _, form = place.rpartition(":")
    if not path.exists() and form in FORMS and Path(name).is_file():
        _take_detector(Path(name), form, folder, log)
    elif path.suffix == ".onnx" and path.is_file():
        _take_detector(path, FORMS[0], folder, log)
    elif path.is_dir():
        _take_folder(path.resolve(), folder, log)
    elif path.is_file():
        _take_archive(path, folder, log)
    else:
        raise DataError(
            f"--from {place}: there is no such file or folder; a detector is an .onnx file, and behind a colon may "
            f"stand what it takes: {', '.join(FORMS)}"
        )


def _take_detector(path: Path, form: str, folder: Path, log: Log) -> None:
    detector, tensors = weights.of_onnx(path, form)
    kept = folder.parent / "weights" / WEIGHTS
    weights.save(kept, detector, tensors)
    height, width = detector.size
    log(f"detector {path.name}, {width} x {height} pixels, {detector.classes} classes: {kept}")


def _take_folder(path: Path, folder: Path, log: Log) -> None:
    """Take a folder: pictures with labels, or, if it has no labels, pictures to fit on."""
    labelled = (path / "labels").is_dir() or any(path.glob("*.json")) or any(path.glob("annotations/*.json"))
    kind = LABELLED if labelled else UNLABELLED
    count = len(catalogue.labelled_names(path) if labelled else catalogue.unlabelled_names(path))
    if not count:
        raise DataError(f"--from {path}: there are no pictures in this folder")
    catalogue.note(folder, kind, path)
    log(f"{count:,} {kind} pictures in {path}")


def _take_archive(path: Path, folder: Path, log: Log) -> None:
    """Unpack an archive into the folder, and take what it holds; the two official ones are taken together."""
    with tempfile.TemporaryDirectory(prefix=".get-", dir=folder) as scratch:
        inside = _unpacked(path, Path(scratch))
        official = folder / OFFICIAL_FOLDER
        parts = [each for each in (inside / OFFICIAL_PICTURES, inside / "annotations") if each.is_dir()]
        if inside.name == OFFICIAL_PICTURES and not (inside / "labels").is_dir():
            parts = [inside]
        if inside.name == "annotations":
            parts = [inside]
        for part in parts:
            _replace(part, official / part.name)
        unpacked = official
        if not parts:
            unpacked = folder / path.name.partition(".")[0]
            _replace(inside, unpacked)
    missing = [name for name in (OFFICIAL_PICTURES, "annotations") if not (official / name).is_dir()]
    if unpacked == official and missing:
        log(f"{path.name} is unpacked; {missing[0]} is needed, too")
        return
    _take_folder(unpacked.resolve(), folder, log)


def _unpacked(path: Path, scratch: Path) -> Path:
    """Unpack an archive; of its labels, the official file alone if it is there. Return the outermost folder of it."""
    place = scratch / "content"
    place.mkdir()
    if not zipfile.is_zipfile(path):
        unpack_tar(path, place, kinds="tar or zip")
    else:
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                labels = [name for name in names if name.endswith(f"{OFFICIAL}.json")]
                for name in labels or names:
                    archive.extract(name, place)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise DataError(f"--from {path} does not unpack as a tar or zip archive: {error}") from error
    inside = [each for each in place.iterdir() if not each.name.startswith(".")]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() and inside[0].name not in ("images",) else place


def _replace(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)


def _report(data_dir: Path, log: Log) -> None:
    """Log what is there. Raises DataError if the detector or labelled pictures are missing."""
    folder = data_dir / catalogue.FOLDER
    known, kept = kept_places(folder), data_dir / "weights" / WEIGHTS
    if not kept.is_file():
        raise DataError(f"no detector yet; {CURE_WEIGHTS}")
    if LABELLED not in known:
        raise DataError(f"no labelled pictures yet; {CURE}")
    detector = weights.load_detector(kept)
    log(f"detector: {detector.source}, sha256 {catalogue.weights_sha256(kept)[:8]}; pictures in {known[LABELLED]}")
    if UNLABELLED not in known:
        log("no unlabelled pictures, on which codecs that learn are fitted; give a folder of any photographs")
