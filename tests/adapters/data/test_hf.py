"""Data sets of the library datasets, which the tests do not have: a stand-in has what is used of it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.descriptions import PlainNetwork, open_samples

from codecbench.adapters.contracts import Pictures
from codecbench.errors import DataError


class Rows:
    """A split with a column of pictures and one of labels."""

    def __init__(self) -> None:
        self.features = {"img": None, "label": SimpleNamespace(names=["owl", "dog"])}

    def __len__(self) -> int:
        return 4

    def __getitem__(self, at: Any) -> Any:
        labels = [0, 1, 1, 0]
        pixels = np.full((6, 8, 3), 7, np.uint8)
        return labels if at == "label" else {"img": Image.fromarray(pixels), "label": labels[at]}


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in is imported in the library's place."""

    def load_dataset(name: str) -> dict[str, Rows]:
        if name != "mine":
            raise FileNotFoundError(f"Couldn't find {name}\nanywhere")
        return {"train": Rows(), "test": Rows()}

    package = ModuleType("datasets")
    package.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", package)


@pytest.mark.usefixtures("datasets")
def test_rows_are_samples_and_labels_have_names() -> None:
    samples = open_samples("hf:mine:train")
    assert samples.names() == ["0", "1", "2", "3"]
    assert samples.target("1") == "dog"
    assert samples.class_names() == ["owl", "dog"]
    found = samples.input("2", PlainNetwork(pictures=Pictures((4, 4))))
    assert np.array_equal(found * 255, np.full((3, 4, 4), 7))


@pytest.mark.usefixtures("datasets")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hf:mine:val", "--data hf:mine:val has no split 'val'; it has train, test"),
        (
            "hf:other",
            "--data hf:other cannot be loaded (Couldn't find other anywhere); fetch it once, or name its folder",
        ),
    ],
)
def test_data_that_is_not_there(text: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        open_samples(text).names()
    assert str(caught.value) == reason


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for stand_in in (None, ModuleType("datasets")):  # a folder of that name counts as no package
        monkeypatch.setitem(sys.modules, "datasets", stand_in)
        with pytest.raises(
            DataError, match=r"^--data hf:a needs the package datasets, which is not installed; run: pip"
        ):
            open_samples("hf:a").names()
