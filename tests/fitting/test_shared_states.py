"""`codecbench data get states`: fitted states from a checkout, a folder, an archive or a file, intact or not at all."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import codecbench
from codecbench.errors import DataError
from codecbench.fitting import shared_states, states
from codecbench.fitting.states import FittedState

KEYS = ("0" * 32, "a" * 32)
ABOUT = {"codec": "learned", "workload": "pictures", "split": "stem"}


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder of two states in folders of their codecs, with a README and a file that is none."""
    folder = tmp_path / "states"
    for key in KEYS:
        states.keep(key, FittedState(key.encode(), b"edge", 1.0, ABOUT), folder / "pictures" / "learned")
    (folder / "README.md").write_text("terms")
    (folder / "other.zip").write_bytes(b"none")
    return folder


def taken(*sources: Path, cache: Path) -> list[str]:
    lines: list[str] = []
    shared_states.take([str(source) for source in sources], cache, lines.append)
    return lines


def tar(folder: Path) -> Path:
    with tarfile.open(folder.with_suffix(".tar.gz"), "w:gz") as archive:
        archive.add(folder, "states")
    return folder.with_suffix(".tar.gz")


def zipped(folder: Path) -> Path:
    with zipfile.ZipFile(folder.with_suffix(".archive.zip"), "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
    return folder.with_suffix(".archive.zip")


def itself(folder: Path) -> Path:
    return folder


@pytest.mark.parametrize("packed", [itself, tar, zipped])
def test_states_are_found_afterwards(packed: Callable[[Path], Path], shared: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    lines = taken(packed(shared), cache=cache)
    assert lines[0] == "2 fitted states of learned for pictures, stem"
    for key in KEYS:
        assert states.read(cache / "states", key) == FittedState(key.encode(), b"edge", 1.0)
    assert sorted(path.name for path in (cache / "states").iterdir()) == [f"{key}.zip" for key in KEYS]


def test_terms_are_named_and_what_is_there_stays(shared: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    states.keep(KEYS[0], FittedState(b"mine", b"", None), cache / "states")
    lines = taken(shared, cache=cache)
    assert lines == [
        "1 fitted state of learned for pictures, stem",
        f"1 fitted state of {shared} already there in {cache / 'states'}",
        f"their source and terms: {shared / 'README.md'}",
    ]  # fmt: skip
    mine = states.read(cache / "states", KEYS[0])
    assert mine is not None
    assert mine.device == b"mine"


def test_one_file_is_taken(shared: Path, tmp_path: Path) -> None:
    assert taken(shared / "pictures" / "learned" / f"{KEYS[1]}.zip", cache=tmp_path / "cache")[0].startswith("1 fitted")


def test_a_damaged_state_is_named_and_those_before_it_stay(shared: Path, tmp_path: Path) -> None:
    path = shared / "pictures" / "learned" / f"{KEYS[1]}.zip"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=f"{KEYS[1]}.zip is no fitted state, or damaged"):
        taken(shared, cache=tmp_path / "cache")
    assert states.read(tmp_path / "cache" / "states", KEYS[0]) is not None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none", None, "No such file"),
        ("text", b"text", "it is no folder, no archive"),
        ("empty.tar", b"\0" * 10240, "there are no fitted states in it"),
        ("cut.tar.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\3", "no folder, no archive|Compressed file ended"),
    ],
)
def test_places_without_states_are_refused(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        taken(tmp_path / name, cache=tmp_path / "cache")


def test_without_a_place_it_is_the_checkout(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecbench, "__file__", str(tmp_path / "codecbench" / "__init__.py"))
    assert taken(cache=tmp_path / "cache")[0].startswith("2 fitted states")
    monkeypatch.setattr(codecbench, "__file__", str(tmp_path / "site" / "codecbench" / "__init__.py"))
    with pytest.raises(DataError, match="--from PLACE"):
        taken(cache=tmp_path / "cache")
