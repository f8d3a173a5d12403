"""Names of classes in the data are matched to the model's outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.descriptions import PlainNetwork

from codecbench.adapters.classes import class_numbers
from codecbench.errors import DataError

CLASSES = [("tench, Tinca tinca", "tench", " Tinca tinca"), ("great_grey owl",), ("dog",)]


def numbers(names: list[str], classes: Any = CLASSES, **others: Any) -> dict[str, int]:
    return class_numbers(names, PlainNetwork(classes=classes, **others), "imagefolder:mine")


def test_names_that_the_model_has_decide() -> None:
    assert numbers(["Great grey-owl", "Tench"]) == {"Great grey-owl": 1, "Tench": 0}
    assert numbers(["dog", "tinca tinca", "great-grey-owl"]) == {"dog": 2, "tinca tinca": 0, "great-grey-owl": 1}


def test_the_order_counts_where_there_are_as_many_classes_or_the_model_does_not_say() -> None:
    assert numbers(["a", "b", "c"]) == {"a": 0, "b": 1, "c": 2}
    assert numbers(["a", "b"], None) == {"a": 0, "b": 1}
    assert numbers(["a", "b"], [(), ()]) == {"a": 0, "b": 1}


def test_a_file_of_labels_decides(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("n01\tfish\nn02\nn03,dog\n")
    assert numbers(["dog", "n02"], labels=str(tmp_path / "labels.txt")) == {"dog": 2, "n02": 1}


def test_a_class_that_the_model_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        numbers(["cat", "dog"])
    assert str(caught.value) == (
        "imagefolder:mine: the model m:f knows no class 'cat' among its 3 classes, which begin with "
        "'tench, Tinca tinca', 'great_grey owl', 'dog'; name the model's classes in their order, one a line, with "
        "--labels FILE"
    )
    (tmp_path / "labels.txt").write_text("fish\nowl\ncow\n")
    with pytest.raises(
        DataError, match=r"^imagefolder:mine: --labels labels.txt knows no class 'cat' among its 3 classes"
    ):
        numbers(["cat", "fish"], labels=str(tmp_path / "labels.txt"))


def test_a_file_with_too_few_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("fish\n")
    with pytest.raises(DataError, match=r"^--labels labels.txt has 1 lines, and the model has 3 classes$"):
        numbers(["fish"], labels=str(tmp_path / "labels.txt"))
