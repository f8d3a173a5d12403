"""Archives, places and orders of data that users bring."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from codecbench.errors import DataError
from codecbench.toolbox.collecting import (
    PLACES,
    NameOrder,
    files_below,
    keep_place,
    kept_places,
    unpack_tar,
    view_names,
)


def archive(path: Path, *members: tuple[str, bytes | None]) -> Path:
    """A tar archive of files, and of links to /etc where a content is None."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc"
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
    return path


def test_files_of_an_archive_are_written_and_links_are_not(tmp_path: Path) -> None:
    target = tmp_path / "target"
    unpack_tar(archive(tmp_path / "a.tar.gz", ("in/a.txt", b"a"), ("in/link", None), ("b.txt", b"b")), target)
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*")) == ["b.txt", "in", "in/a.txt"]
    assert (target / "in" / "a.txt").read_bytes() == b"a"


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "in/../../out.txt"])
def test_nothing_is_written_outside_of_the_folder(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "a.tar.gz", (name, b"x"))
    with pytest.raises(
        DataError, match=r"^--from .*a\.tar\.gz does not unpack as a tar archive: .* outside of the folder"
    ):
        unpack_tar(path, tmp_path / "target")
    assert not (tmp_path / "out.txt").exists()


def test_a_damaged_archive_is_one_line(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", ("a.txt", bytes(100_000)))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"^--from .*a\.tar\.gz does not unpack as a tar archive: [^\n]+$"):
        unpack_tar(path, tmp_path / "target")


def test_places_are_kept_and_move_with_the_folder(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    folder.mkdir()
    keep_place(folder, "labelled", folder / "val")
    keep_place(folder, "unlabelled", elsewhere)
    moved = folder.rename(tmp_path / "moved")
    assert kept_places(moved) == {"labelled": moved / "val", "unlabelled": elsewhere}
    (moved / PLACES).write_text("[1]")
    assert kept_places(moved) == kept_places(tmp_path / "none") == {}


def test_the_order_follows_from_names_not_from_folders() -> None:
    order, names = NameOrder("a"), [f"{number}.png" for number in range(20)]
    assert order.sorted(names) == order.sorted(reversed(names)) != sorted(names)
    assert [path.rpartition("/")[2] for path in order.sorted(f"x/{name}" for name in names)] == order.sorted(names)
    assert NameOrder("b").sorted(names) != order.sorted(names)


def test_files_below_a_folder_are_those_of_its_endings_and_not_hidden(tmp_path: Path) -> None:
    for name in ("a.png", "in/b.PNG", "in/c.txt", ".hidden/d.png", "in/.e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(files_below(tmp_path, {".png"})) == ["a.png", "in/b.PNG"]
    assert view_names(["a", "b"], 2) == ["a#0", "b#0", "a#1", "b#1"]
