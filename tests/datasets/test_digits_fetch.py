"""`codecbench data get fsdd`: recordings of archives and folders."""

from __future__ import annotations

import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from support.digits import write_recordings

from codecbench import DataError
from codecbench_datasets.digits import DigitsDeepSpeech
from codecbench_datasets.digits import fetch as module
from codecbench_datasets.digits.recordings import recordings_folder

NAMES = [f"{digit}_{speaker}_{index}" for digit in (0, 1) for speaker in ("theo", "lucas") for index in (0, 7)]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the few recordings that there are, in these tests."""
    monkeypatch.setattr(module, "names", lambda: NAMES)
    write_recordings(tmp_path / "pack" / "fsdd" / "recordings", [*NAMES, "0_another_99"], values=400)
    (tmp_path / "pack" / "fsdd" / "readme.txt").write_text("terms")
    return tmp_path / "pack"


def archive(tree: Path, form: str) -> Path:
    if form == "folder":
        return tree
    path = tree.parent / f"pack.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as target:
            for file in sorted(tree.rglob("*")):
                target.write(file, file.relative_to(tree))
    else:
        with tarfile.open(path, "w:gz" if form == "tar.gz" else "w") as tar:
            tar.add(tree / "fsdd", "fsdd")
    return path


@pytest.mark.parametrize("form", ["folder", "zip", "tar", "tar.gz"])
def test_recordings_are_taken_from_archives_and_folders(tree: Path, form: str) -> None:
    lines: list[str] = []
    data = tree.parent / "data"
    DigitsDeepSpeech.fetch_from([str(archive(tree, form))], data, lines.append)
    found = sorted(path.name for path in recordings_folder(data).iterdir())
    assert found == sorted(f"{name}.wav" for name in NAMES)
    source = tree / "fsdd" / "recordings" / found[0]
    assert (recordings_folder(data) / found[0]).read_bytes() == source.read_bytes()
    assert "8 recordings in" in lines[-1]
    assert "of another version" in lines[-1]
    assert "CC BY-SA 4.0, https://github.com/Jakobovski/free-spoken-digit-dataset" in lines[-1]
    assert [path.name for path in (data / "fsdd").iterdir()] == ["recordings"]


def test_a_second_time_without_a_place_says_what_is_there(tree: Path) -> None:
    lines: list[str] = []
    data = tree.parent / "data"
    DigitsDeepSpeech.fetch_from([str(tree)], data, lines.append)
    DigitsDeepSpeech.fetch(data, lines.append)
    assert lines[0] == lines[1]


def test_the_recordings_of_the_reference_records_are_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = tree / "fsdd" / "recordings"
    monkeypatch.setattr(module, "REFERENCE_SHA256", module.content_sha256(recordings))
    lines: list[str] = []
    DigitsDeepSpeech.fetch_from([str(tree)], tree.parent / "data", lines.append)
    assert "those of the reference records" in lines[-1]


def test_missing_recordings_leave_what_was_there(tree: Path) -> None:
    data = tree.parent / "data"
    DigitsDeepSpeech.fetch_from([str(tree)], data, print)
    (tree / "fsdd" / "recordings" / f"{NAMES[3]}.wav").unlink()
    with pytest.raises(DataError, match=rf"lacks 1 of 8 recordings, {NAMES[3]}.wav first; download an archive from"):
        DigitsDeepSpeech.fetch_from([str(tree)], data, print)
    assert len(list(recordings_folder(data).iterdir())) == 8


def test_without_recordings_the_place_to_get_them_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=re.escape(
            "download an archive from https://github.com/Jakobovski/free-spoken-digit-dataset, then: codec"
        ),
    ):
        DigitsDeepSpeech.fetch(tmp_path, print)


def test_what_is_no_archive_and_what_is_not_there_are_named(tree: Path) -> None:
    data = tree.parent / "data"
    (tree.parent / "text").write_text("no archive")
    with pytest.raises(DataError, match=r"--from .*text does not unpack as a tar or zip archive"):
        DigitsDeepSpeech.fetch_from([str(tree.parent / "text")], data, print)
    with pytest.raises(DataError, match=r"--from .*nowhere: there is no such file or folder"):
        DigitsDeepSpeech.fetch_from([str(tree.parent / "nowhere")], data, print)
    broken = archive(tree, "tar.gz")
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(DataError, match="does not unpack as a tar or zip archive"):
        DigitsDeepSpeech.fetch_from([str(broken)], data, print)


def test_a_folder_that_cannot_be_written_to(tree: Path) -> None:
    blocked = tree.parent / "blocked"
    blocked.write_text("a file")
    with pytest.raises(DataError, match="name another folder with --data-dir"):
        DigitsDeepSpeech.fetch_from([str(tree)], blocked, print)


def test_all_names_are_those_of_the_official_set() -> None:
    names = module.names()
    assert len(set(names)) == 3_000
    assert {"0_jackson_0", "9_yweweler_49", "5_george_17"} <= set(names)


def test_scratch_goes_away_when_a_place_is_wrong(tree: Path) -> None:
    data = tree.parent / "data"
    shutil.rmtree(tree / "fsdd" / "recordings")
    with pytest.raises(DataError, match="lacks 8 of 8"):
        DigitsDeepSpeech.fetch_from([str(tree)], data, print)
    assert list((data / "fsdd").iterdir()) == []
