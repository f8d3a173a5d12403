"""Fitted states: found in the user's cache, then among shipped ones, whole or not at all."""

from __future__ import annotations

import errno
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import make_info

from codecbench.errors import DataError, PluginError
from codecbench.fitting import states
from codecbench.fitting.states import FittedState, PartialFit, fit_key

STATE = FittedState(b"for the device", b"for the edge", 1.5)
KEY = "0123abcd"


LEARNED = make_info("learned")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return states.cache_folder()


def test_the_cache_lies_where_the_user_wants_it(cache: Path, tmp_path: Path) -> None:
    assert tmp_path in cache.parents


def test_what_is_kept_is_found(cache: Path) -> None:
    assert states.find(LEARNED, KEY) is None
    states.keep(KEY, STATE)
    assert states.find(LEARNED, KEY) == STATE
    assert states.find(LEARNED, "other") is None
    assert [p.name for p in cache.iterdir()] == [f"{KEY}.zip"]


def test_keeping_again_replaces(cache: Path) -> None:
    states.keep(KEY, STATE)
    states.keep(KEY, FittedState(b"new", b"", None))
    assert states.find(LEARNED, KEY) == FittedState(b"new", b"", None)
    assert [p.name for p in cache.iterdir()] == [f"{KEY}.zip"]


def test_equal_states_are_equal_files(cache: Path, tmp_path: Path) -> None:
    there = states.keep(KEY, STATE)
    assert states.keep(KEY, STATE, tmp_path / "elsewhere").read_bytes() == there.read_bytes()


def test_a_state_says_what_it_is(cache: Path) -> None:
    states.keep(KEY, FittedState(b"a", b"b", 1.0, {"codec": "learned", "split": "stem"}))
    found = states.find(LEARNED, KEY)
    assert found is not None
    assert found.about == {"codec": "learned", "split": "stem"}


@pytest.mark.parametrize(
    ("member", "content"),
    [
        ("device.state", b"altered"), ("edge.state", b""), ("info.json", b"{"), ("info.json", b"[]"),
        ("info.json", b"{}"), ("info.json", b"\xff"), ("device.state", None), ("edge.state", None),
        ("info.json", None),
    ],
)  # fmt: skip
def test_a_damaged_state_is_not_used(cache: Path, member: str, content: bytes | None) -> None:
    path = states.keep(KEY, STATE)
    with zipfile.ZipFile(path) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    with zipfile.ZipFile(path, "w") as packed:
        for name, kept in members.items():
            written = content if name == member else kept
            if written is not None:
                packed.writestr(name, written)
    assert states.find(LEARNED, KEY) is None


@given(place=st.integers(0), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_file_is_not_used_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int, cut: bool
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    path = states.keep(KEY, STATE, folder)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content[: place % len(content)] if cut else content)
    assert states.read(folder, KEY) in (None, STATE)


def test_shipped_states_come_after_the_cache(cache: Path, tmp_path: Path) -> None:
    shipping = make_info("learned", checkpoints="package:folder", checkpoints_folder=str(tmp_path / "shipped"))
    states.keep(KEY, STATE, tmp_path / "shipped")
    assert states.find(shipping, KEY) == STATE
    states.keep(KEY, FittedState(b"mine", b"", 2.0))
    found = states.find(shipping, KEY)
    assert found is not None
    assert found.device == b"mine"


def test_checkpoints_in_a_package_that_is_not_there(cache: Path) -> None:
    lost = make_info("learned", checkpoints="no_such_package:checkpoints")
    with pytest.raises(PluginError, match="codec 'learned': checkpoints 'no_such_package:checkpoints' name no package"):
        states.find(lost, KEY)
    states.keep(KEY, STATE)
    assert states.find(lost, KEY) == STATE


def test_a_full_disk_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"cannot write to .*states \(No space left on device\); make room"):
        states.keep(KEY, STATE)
    assert not list(cache.iterdir())


def test_a_folder_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write to .*file/learned \(Not a directory\)"):
        states.keep(KEY, STATE, tmp_path / "file" / "learned")


def test_what_a_fit_saved_last_is_found_until_it_is_dropped(cache: Path) -> None:
    assert states.read_partial(KEY) is None
    states.drop_partial(KEY)
    for partial in (PartialFit(b"", 0.5), PartialFit(bytes(range(256)), 2.25)):
        states.keep_partial(KEY, partial)
        assert states.read_partial(KEY) == partial
    assert [path.name for path in cache.iterdir()] == [f"{KEY}.part"]
    assert states.find(LEARNED, KEY) is None
    states.drop_partial(KEY)
    assert not list(cache.iterdir())


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 20, bytes(7) + b"\xf0saved"])
def test_a_damaged_save_is_none(cache: Path, content: bytes) -> None:
    cache.mkdir(parents=True)
    (cache / f"{KEY}.part").write_bytes(content)
    assert states.read_partial(KEY) is None


def key(**changes: Any) -> str:
    codec = make_info(changes.get("codec", "learned"), version=changes.get("version", 1))
    parts = [changes.get(name, name) for name in ("weights", "fit_set", "split")]
    return fit_key(*parts, codec, changes.get("point", {"bits": 4}), changes.get("seed", 0))


def test_a_state_is_named_by_all_that_it_depends_on() -> None:
    assert key() == key()
    changes: list[dict[str, Any]] = [
        {"weights": "x"}, {"fit_set": "x"}, {"split": "x"}, {"codec": "x"}, {"version": 2}, {"point": {"bits": 5}},
        {"seed": 1},
    ]  # fmt: skip
    assert len({key(**change) for change in changes} | {key()}) == len(changes) + 1


def test_arguments_that_a_fit_does_not_depend_on_are_not_in_the_key() -> None:
    codec = make_info("alpha", unfitted=("edge",))
    keys = {fit_key("w", "f", "s", codec, {"bits": 4, **edge}, 0) for edge in ({}, {"edge": "a"}, {"edge": "b"})}
    assert keys == {fit_key("w", "f", "s", make_info("alpha"), {"bits": 4}, 0)}
