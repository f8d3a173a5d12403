"""Objects as files say them: one text file a picture, or one JSON file for all. Boxes are shares of the picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codecbench.errors import DataError
from codecbench.system.textfiles import read_text

SLACK = 1e-3
"""The share of a picture's side by which a box may lie outside: files round."""


@dataclass(frozen=True)
class Label:
    """One object of a picture: its class by number, and its box (left, top, right, bottom) from 0 to 1."""

    number: int
    box: tuple[float, float, float, float]
    crowd: bool
    place: str
    """The file and line that say it."""


@dataclass(frozen=True)
class Labels:
    """The objects of each picture by its name, and the names of classes in the order of their numbers, if known."""

    by_picture: Mapping[str, Sequence[Label]]
    classes: tuple[str, ...] | None
    paths: Mapping[str, Path]


def read_text_labels(path: Path, label: str) -> list[Label]:
    """Return the objects of one picture: a line for each, with class, centre x, centre y, width and height.

    No file means no objects. Raises DataError with file and line.
    """
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(read_text(path, label).splitlines(), 1):
        if line.strip():
            found.append(_line_label(line.split(), f"{label}, line {number}"))
    return found


def _line_label(words: Sequence[str], place: str) -> Label:
    if len(words) != 5:
        raise DataError(
            f"{place}: a line has class, centre x, centre y, width and height; this one has {len(words)} words"
        )
    try:
        number, (x, y, width, height) = int(words[0]), map(float, words[1:])
    except ValueError:
        raise DataError(f"{place}: {' '.join(words)!r} is no class number and four numbers") from None
    return _checked(number, (x - width / 2, y - height / 2, x + width / 2, y + height / 2), False, place)


def read_json_labels(path: Path, label: str) -> Labels:
    """Return the objects of a JSON file in COCO's layout. Classes are numbered in the order of their ids.

    Raises DataError with the file and the annotation.
    """
    try:
        found = json.loads(read_text(path, label))
        pictures = {each["id"]: each for each in found["images"]}
        categories = sorted(found["categories"], key=lambda each: each["id"])
        annotations = found["annotations"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{label}: no labels in COCO's layout ({type(error).__name__}: {error})") from error
    numbers = {each["id"]: number for number, each in enumerate(categories)}
    objects: dict[str, list[Label]] = {str(each["file_name"]): [] for each in pictures.values()}
    for position, each in enumerate(annotations):
        place = f"{label}, annotation {each.get('id', position) if isinstance(each, dict) else position}"
        try:
            picture = pictures[each["image_id"]]
            sides = float(picture["width"]), float(picture["height"])
            left, top, width, height = map(float, each["bbox"])
            category, crowd = each["category_id"], bool(each.get("iscrowd", 0))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{place}: {type(error).__name__} {error} in what COCO's layout asks for") from error
        if category not in numbers:
            raise DataError(f"{place}: its class {category!r} is none of the {len(numbers)} categories of the file")
        box = (left / sides[0], top / sides[1], (left + width) / sides[0], (top + height) / sides[1])
        objects[str(picture["file_name"])].append(_checked(numbers[category], box, crowd, place))
    names = tuple(str(each.get("name", each["id"])) for each in categories)
    return Labels(objects, names, dict.fromkeys(objects, path.parent))


def _checked(number: int, box: tuple[float, float, float, float], crowd: bool, place: str) -> Label:
    if number < 0:
        raise DataError(f"{place}: the class {number} is no number of a class, which runs from 0")
    if not all(map(math.isfinite, box)) or min(box) < -SLACK or max(box) > 1 + SLACK:
        shown = ", ".join(f"{value:.4g}" for value in box)
        raise DataError(f"{place}: the box ({shown}) lies outside its picture, whose sides are 0 to 1")
    if box[2] < box[0] or box[3] < box[1]:
        raise DataError(f"{place}: the box has a negative side")
    return Label(number, box, crowd, place)
