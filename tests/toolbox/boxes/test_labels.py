"""Labels are read strictly: a mistake is named with its file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codecbench.errors import DataError
from codecbench.toolbox.boxes.labels import read_json_labels, read_text_labels


def texts(content: str, folder: Path) -> Any:
    path = folder / "a.txt"
    path.write_text(content)
    return read_text_labels(path, "labels/a.txt")


def test_a_line_is_an_object(tmp_path: Path) -> None:
    first, second = texts("3 0.5 0.5 0.5 0.25\n\n0 0.1 0.1 0.2 0.2\n", tmp_path)
    assert (first.number, first.box, first.crowd) == (3, (0.25, 0.375, 0.75, 0.625), False)
    assert second.place == "labels/a.txt, line 3"


def test_a_picture_without_a_file_has_no_objects(tmp_path: Path) -> None:
    assert read_text_labels(tmp_path / "none.txt", "none.txt") == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("3 0.5 0.5 0.5", "this one has 4 words"),
        ("cat 0.5 0.5 0.5 0.5", "no class number and four numbers"),
        ("1.5 0.5 0.5 0.5 0.5", "no class number and four numbers"),
        ("-1 0.5 0.5 0.5 0.5", "the class -1 is no number of a class"),
        ("0 0.9 0.5 0.5 0.5", "lies outside its picture"),
        ("0 nan 0.5 0.5 0.5", "lies outside its picture"),
        ("0 320 240 100 100", "lies outside its picture"),
        ("0 0.5 0.5 -0.1 0.5", "negative side"),
    ],
)
def test_a_mistake_is_named_with_its_line(line: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"labels/a\.txt, line 2: .*{reason}"):
        texts(f"0 0.5 0.5 0.1 0.1\n{line}\n", tmp_path)


def layout(**changes: Any) -> dict[str, Any]:
    annotation = {"id": 7, "image_id": 1, "category_id": 44, "bbox": [10, 20, 30, 40], "iscrowd": 1}
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 200}],
        "categories": [{"id": 44, "name": "bottle"}, {"id": 3, "name": "car"}],
        "annotations": [annotation | changes],
    }


def jsons(content: Any, folder: Path) -> Any:
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return read_json_labels(path, "instances.json")


def test_a_json_file_has_all_objects(tmp_path: Path) -> None:
    found = jsons(layout(), tmp_path)
    (label,) = found.by_picture["a.jpg"]
    assert (label.number, label.box, label.crowd) == (1, (0.1, 0.1, 0.4, 0.3), True)
    assert found.classes == ("car", "bottle")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"category_id": 5}, "its class 5 is none of the 2 categories"),
        ({"bbox": [80, 20, 30, 40]}, "lies outside its picture"),
        ({"bbox": [80, 20, 30]}, "ValueError"),
        ({"image_id": 9}, "KeyError"),
    ],
)
def test_a_mistake_is_named_with_its_annotation(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"instances\.json, annotation 7: .*{reason}"):
        jsons(layout(**changes), tmp_path)


@pytest.mark.parametrize("content", [[], {}, {"images": 3}])
def test_other_json_is_refused(content: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"instances\.json: no labels in COCO's layout"):
        jsons(content, tmp_path)
