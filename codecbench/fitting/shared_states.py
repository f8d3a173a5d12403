"""Takes fitted states that no package ships into a user's cache: from a checkout, a folder, an archive or a file."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import codecbench
from codecbench.errors import DataError
from codecbench.fitting import states
from codecbench.fitting.states import FittedState
from codecbench.names import counted

NAME = "states"
"""The name by which `codecbench data get` knows them, and their folder in a checkout."""

README = "README.md"

_FILE = re.compile(r"[0-9a-f]{32}\.zip")
_MAX_BYTES = 256 << 20


def take(sources: Sequence[str], cache: Path | None, log: Callable[[str], None]) -> None:
    """Copy the states of these places to the cache, and log how many of each codec; what is there already stays.

    Without places, they are those of the checkout that codecbench runs from. Raises DataError for a place without
    states, for one that is damaged, and where the cache cannot be written to; intact states before it are kept.
    """
    folder = states.cache_folder() if cache is None else cache / states.STATES
    for place in [Path(source).expanduser() for source in sources] or [_checkout()]:
        taken: Counter[str] = Counter()
        found = present = 0
        for name, content in _files(place):
            state = states.unpacked(content)
            if state is None:
                raise DataError(f"{place}: {name} is no fitted state, or damaged; the states before it are kept")
            found += 1
            if states.read(folder, name.removesuffix(".zip")) is not None:
                present += 1
            else:
                states.keep_file(folder / name, content)
                taken[_label(state)] += 1
        if not found:
            raise DataError(f"{place}: there are no fitted states in it, which are files named by 32 digits and .zip")
        for label, count in sorted(taken.items()):
            log(f"{counted(count, 'fitted state')} of {label}")
        log(f"{counted(present, 'fitted state')} of {place} already there in {folder}" if present else f"in {folder}")
        _log_terms(place, log)


def _checkout() -> Path:
    """Return the folder of states of the checkout that codecbench runs from. Raises DataError where there is none."""
    folder = Path(codecbench.__file__).resolve().parents[1] / NAME
    if not folder.is_dir():
        raise DataError(
            "fitted states are not part of an installed package: `codecbench data get states --from PLACE` takes them "
            "from a checkout's folder `states`, or from an archive of it"
        )
    return folder


def _label(state: FittedState) -> str:
    about = state.about
    return f"{about.get('codec', '?')} for {about.get('workload', '?')}, {about.get('split', '?')}"


def _files(place: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each state file in a folder or an archive, or of the file itself."""
    try:
        if place.is_dir():
            for path in sorted(place.rglob("*.zip")):
                if _FILE.fullmatch(path.name):
                    yield path.name, path.read_bytes()
        elif _FILE.fullmatch(place.name):
            yield place.name, place.read_bytes()
        elif tarfile.is_tarfile(place):
            yield from _tar_files(place)
        elif zipfile.is_zipfile(place):
            yield from _zip_files(place)
        else:
            raise DataError(f"{place}: it is no folder, no archive (tar or zip) and no file of a fitted state")
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, RuntimeError) as error:
        raise DataError(f"{place}: {getattr(error, 'strerror', None) or error}") from error


def _tar_files(place: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(place) as archive:
        for member in archive:
            name = Path(member.name).name
            if member.isfile() and member.size <= _MAX_BYTES and _FILE.fullmatch(name):
                content = archive.extractfile(member)
                assert content is not None
                yield name, content.read()


def _zip_files(place: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(place) as archive:
        for member in archive.infolist():
            name = Path(member.filename).name
            if member.file_size <= _MAX_BYTES and _FILE.fullmatch(name):
                yield name, archive.read(member)


def _log_terms(place: Path, log: Callable[[str], None]) -> None:
    """Log where the terms of these states stand, if that is known."""
    readme = place / README
    if readme.is_file():
        log(f"their source and terms: {readme}")
