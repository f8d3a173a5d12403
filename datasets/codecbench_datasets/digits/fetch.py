"""Unpack the recordings of the Free Spoken Digit Dataset: `codecbench data get fsdd --from PLACE`."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, TypeAlias

from codecbench import DataError
from codecbench_datasets.digits.recordings import FOLDER, read_wav, recordings_folder
from codecbench_datasets.digits.strings import INDICES, SPEAKERS, WORDS

Log: TypeAlias = Callable[[str], None]

HOME = "https://github.com/Jakobovski/free-spoken-digit-dataset"
TERMS = "Free Spoken Digit Dataset, by Zohar Jackson and others, CC BY-SA 4.0"
ADVICE = f"download an archive from {HOME}, then: codecbench data get fsdd --from ARCHIVE"
REFERENCE_SHA256 = "cad386c0ed9109a0d57ad7c81d00e086a0ef87a37d8d1cae0fecbd31fac16797"
"""The SHA-256 of the recordings of the reference records, as `content_sha256` computes it."""
MEMBER_LIMIT_BYTES = 1 << 20


def names() -> list[str]:
    """Return the names of all recordings that strings are made of."""
    indices = sorted(index for part in INDICES.values() for index in part)
    return [f"{digit}_{speaker}_{index}" for digit in range(len(WORDS)) for speaker in SPEAKERS for index in indices]


def fetch(data_dir: Path, log: Log, sources: Sequence[str]) -> None:
    """Copy the recordings of archives or folders into `data_dir`/fsdd. Raises DataError where some are missing."""
    folder = recordings_folder(data_dir)
    try:
        (data_dir / FOLDER).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".get-", dir=data_dir / FOLDER) as scratch:
            new = Path(scratch) / "recordings"
            new.mkdir()
            for source in sources:
                _take(source, new)
            _check_all(new, f"--from {sources[0]}")
            shutil.rmtree(folder, ignore_errors=True)
            new.rename(folder)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error}; name another folder with --data-dir") from error
    check(data_dir, log)


def check(data_dir: Path, log: Log) -> None:
    """Log what is there, with its terms. Raises DataError, with the place to get them from, for missing recordings."""
    folder = recordings_folder(data_dir)
    if not folder.is_dir():
        raise DataError(f"there are no recordings in {folder}; {ADVICE}")
    _check_all(folder, str(folder))
    same = "those of the reference records" if content_sha256(folder) == REFERENCE_SHA256 else "of another version"
    log(f"{len(names()):,} recordings in {folder}, {same} ({TERMS}, {HOME})")


def content_sha256(folder: Path) -> str:
    """Return the SHA-256 of the names and the values of all recordings."""
    digest = hashlib.sha256()
    for name in names():
        digest.update(f"{name}\0".encode())
        digest.update(read_wav(folder / f"{name}.wav").tobytes())
    return digest.hexdigest()


def _check_all(folder: Path, place: str) -> None:
    missing = [name for name in names() if not (folder / f"{name}.wav").is_file()]
    if missing:
        raise DataError(
            f"{place} lacks {len(missing):,} of {len(names()):,} recordings, {missing[0]}.wav first; {ADVICE}"
        )
    for name in names():
        read_wav(folder / f"{name}.wav")


def _take(source: str, folder: Path) -> None:
    """Copy the recordings of one place into a folder."""
    place, expected = Path(source).expanduser(), set(names())
    if not place.exists():
        raise DataError(f"--from {source}: there is no such file or folder; {ADVICE}")
    try:
        with closing(_files(place)) as files:
            for name, stream in files:
                if Path(name).suffix == ".wav" and Path(name).stem in expected:
                    content = stream.read(MEMBER_LIMIT_BYTES + 1)
                    if len(content) > MEMBER_LIMIT_BYTES:
                        raise DataError(f"--from {source}: {name} is over {MEMBER_LIMIT_BYTES >> 20} MiB; {ADVICE}")
                    (folder / Path(name).name).write_bytes(content)
    except (EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"--from {source} does not unpack as a tar or zip archive: {error}; {ADVICE}") from error


def _files(place: Path) -> Generator[tuple[str, IO[bytes]], None, None]:
    """Yield the name and the content of each file in a folder, a zip archive or a tar archive."""
    if place.is_dir():
        for path in sorted(place.rglob("*.wav")):
            with path.open("rb") as stream:
                yield path.name, stream
    elif zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    with archive.open(entry) as stream:
                        yield entry.filename, stream
    else:
        with tarfile.open(place) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield member.name, content
