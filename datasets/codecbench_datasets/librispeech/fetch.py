"""Take recordings and a model: `codecbench data get librispeech --from PLACE ...`.

Folders of recordings are used where they are; archives are unpacked. The model is copied, since the edge's processes
read the folder of weights alone.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from codecbench import DataError
from codecbench.toolbox.collecting import kept_places, unpack_tar
from codecbench_datasets.librispeech import corpus, files

Log: TypeAlias = Callable[[str], None]

HOME = "https://www.openslr.org/12"
ADVICE = (
    f"download test-clean.tar.gz and dev-clean.tar.gz from {HOME}, then: "
    "codecbench data get librispeech --from test-clean.tar.gz --from dev-clean.tar.gz"
)
MODEL_KIND = "hf:"


def fetch(data_dir: Path, log: Log, named: Sequence[str]) -> None:
    """Put the model into `data_dir`/weights, and where the recordings lie into `data_dir`/librispeech.

    What is there already stays unless it is named. Without a model, files.DEFAULT_MODEL is fetched from the hub. Raises
    DataError if a place is of no use, or if a part is missing in the end.
    """
    folder, model = data_dir / corpus.FOLDER, data_dir / "weights" / files.MODEL_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place in named:
            if place.startswith(MODEL_KIND):
                _take_model(place.removeprefix(MODEL_KIND), model, log)
            else:
                _take(place, folder, log)
        missing = [part for part in corpus.PARTS if part not in kept_places(folder)]
        if missing:
            raise DataError(f"{' and '.join(missing)} of LibriSpeech are not there yet; {ADVICE}")
        if not (model / files.CONFIG).is_file():
            _take_model(files.DEFAULT_MODEL, model, log)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error}; name another folder with --data-dir") from error
    for part, root in kept_places(folder).items():
        log(f"{len(corpus.utterances(root)):,} utterances of {part} in {root} (LibriSpeech, CC BY 4.0, {HOME})")
    log(f"model: sha256 {files.files_sha256(model)[:8]} in {model}")


def _take_model(name: str, folder: Path, log: Log) -> None:
    """Copy a model to the folder of weights, whole or not at all."""
    from codecbench_datasets.librispeech.model import keep

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".get-", dir=folder.parent) as scratch:
        path = Path(name).expanduser()
        keep(str(path) if path.is_dir() else name, Path(scratch) / "model")
        shutil.rmtree(folder, ignore_errors=True)
        (Path(scratch) / "model").rename(folder)
    for cached in (files.vocabulary, files.files_sha256):
        cached.cache_clear()
    log(f"model {name}: {folder}")


def _take(place: str, folder: Path, log: Log) -> None:
    """Take a folder or an archive of recordings."""
    path = Path(place).expanduser()
    if path.is_dir():
        _note_parts(path.resolve(), folder, place, log)
    elif path.is_file():
        _unpack(path, folder)
        _note_parts(folder / "LibriSpeech", folder, place, log)
    else:
        raise DataError(f"--from {place}: there is no such file or folder; a model is {MODEL_KIND}NAME-OR-FOLDER")


def _note_parts(path: Path, folder: Path, place: str, log: Log) -> None:
    """Keep where the parts lie: in a folder of theirs, in LibriSpeech of the folder, or the folder itself."""
    roots = [root / part for root in (path, path / "LibriSpeech") for part in corpus.PARTS]
    found = [root for root in [*roots, *([path] if path.name in corpus.PARTS else [])] if root.is_dir()]
    if not found:
        raise DataError(f"--from {place} has neither {' nor '.join(corpus.PARTS)} of LibriSpeech; {ADVICE}")
    for root in found:
        corpus.utterances(root)
        corpus.note(folder, root.name, root)
        log(f"{root.name}: {root}")


def _unpack(path: Path, folder: Path) -> None:
    """Write the parts in an archive to `folder`/LibriSpeech; each replaces what was there."""
    with tempfile.TemporaryDirectory(prefix=".get-", dir=folder) as scratch:
        unpack_tar(path, Path(scratch), advice=ADVICE)
        for part in corpus.PARTS:
            for root in (Path(scratch) / "LibriSpeech" / part, Path(scratch) / part):
                if root.is_dir():
                    target = folder / "LibriSpeech" / part
                    target.parent.mkdir(exist_ok=True)
                    shutil.rmtree(target, ignore_errors=True)
                    root.rename(target)
