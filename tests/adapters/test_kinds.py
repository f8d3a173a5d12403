"""Kinds are found by the text before the colon."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from codecbench.adapters.kinds import FOLDERS, Part, adapter, kinds, placed, portable
from codecbench.errors import UsageError


@pytest.mark.parametrize("part", FOLDERS)
def test_every_kind_opens(part: Part) -> None:
    opens = {"model": "open_model", "data": "open_data", "task": "open_task"}[part]
    assert len(kinds(part)) >= 3
    for kind in kinds(part):
        module, argument = adapter(part, kind if part == "task" else f"{kind}:a:b")
        assert callable(getattr(module, opens))
        assert argument == ("" if part == "task" else "a:b")


def test_no_kind_imports_its_library() -> None:
    for part in FOLDERS:
        for kind in kinds(part):
            adapter(part, kind if part == "task" else f"{kind}:a")
    assert not {"torchvision", "timm", "datasets"} & sys.modules.keys()


def test_a_module_in_the_folder_is_found_as_its_file(tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_text("")
    assert placed("model", "mynet:build", tmp_path) == f"{tmp_path / 'mynet.py'}:build"
    assert portable("model", f"{tmp_path / 'mynet.py'}:build") == "mynet.py:build"
    assert placed("model", "json:loads", tmp_path) == "json:loads"


def test_a_name_that_may_be_a_folder_is_one_if_it_is_there(tmp_path: Path) -> None:
    assert placed("model", "hf:mine", tmp_path) == "hf:mine"
    (tmp_path / "mine").mkdir()
    assert placed("model", "hf:mine", tmp_path) == f"hf:{tmp_path / 'mine'}"
    assert placed("data", "hf:mine:train", tmp_path) == f"hf:{tmp_path / 'mine'}:train"


def test_a_task_that_does_not_exist() -> None:
    with pytest.raises(
        UsageError, match=r"^--task clasification: no kind of task 'clasification'; did you mean 'class"
    ):
        adapter("task", "clasification")


@pytest.mark.parametrize("text", ["a b:c", "nowhere_at_all:build", "x:y:z", "resnet18", "json:"])
def test_a_text_of_no_kind(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--model .*: no kind of model"):
        placed("model", text, tmp_path)
