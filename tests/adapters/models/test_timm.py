"""Models of timm, which the tests do not have: a stand-in has what is used of it, by its documentation."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from support.descriptions import open_network
from torch import nn

from codecbench.adapters.contracts import Pictures
from codecbench.errors import CodecbenchError

STATED = {
    "input_size": (3, 14, 14), "crop_pct": 0.875, "interpolation": "bicubic", "mean": (0.4, 0.5, 0.6),
    "std": (0.2, 0.3, 0.25), "num_classes": 3,
}  # fmt: skip
MADE: list[bool] = []


def create_model(name: str, *, pretrained: bool, scriptable: bool) -> nn.Module:
    MADE.append(pretrained)
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))


class Names:
    """The names of the classes of a known set."""

    def __init__(self, subset: str) -> None:
        assert subset == "tiny"

    def num_classes(self) -> int:
        return 3

    def index_to_label_name(self, index: int) -> str:
        return f"n0{index}"

    def index_to_description(self, index: int) -> str:
        return ["tench, fish", "dog", "owl"][index]


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in is imported in timm's place."""
    package, data = ModuleType("timm"), ModuleType("timm.data")
    members: dict[str, Any] = {
        "is_model": lambda name: name == "tiny_net", "list_models": lambda: ["tiny_net"], "create_model": create_model,
        "get_pretrained_cfg": lambda name: dict(STATED), "data": data,
    }  # fmt: skip
    vars(package).update(members)
    vars(data).update(
        resolve_data_config=lambda args, pretrained_cfg: pretrained_cfg, infer_imagenet_subset=lambda cfg: "tiny",
        ImageNetInfo=Names,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "timm", package)
    monkeypatch.setitem(sys.modules, "timm.data", data)


@pytest.mark.usefixtures("timm")
def test_the_configuration_states_preprocessing_and_classes() -> None:
    made = open_network("timm:tiny_net", task="classification")
    assert made.pictures == Pictures((14, 14), 16, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    assert made.classes == [("n00", "tench", " fish"), ("n01", "dog"), ("n02", "owl")]


@pytest.mark.usefixtures("timm")
def test_pretrained_weights_are_loaded_unless_others_are_named() -> None:
    MADE.clear()
    model = open_network("timm:tiny_net").build()
    assert model(torch.rand(2, 3, 14, 14)).shape == (2, 3)
    open_network("timm:tiny_net", weights="random").build()
    assert MADE == [True, False]


@pytest.mark.usefixtures("timm")
def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(CodecbenchError, match=r"^--model timm:tiny_nett: timm has no model 'tiny_nett'; did you mean"):
        open_network("timm:tiny_nett").build()


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        CodecbenchError, match=r"needs the package timm, which is not installed; run: pip install timm$"
    ):
        open_network("timm:tiny_net").build()
