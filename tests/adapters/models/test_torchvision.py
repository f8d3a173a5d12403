"""Models of torchvision, which the tests do not have: a stand-in has what is used of it, by its documentation."""

from __future__ import annotations

import enum
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from support.descriptions import open_network
from torch import nn

from codecbench.adapters.contracts import Pictures
from codecbench.errors import CodecbenchError

ASKED: list[dict[str, Any]] = []


def network(*, weights: object, num_classes: int = 1000) -> nn.Module:
    assert weights is None
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, num_classes))


class Entry(enum.Enum):
    """The weights of the one model."""

    V1 = 1.0
    V2 = 2.0
    DEFAULT = 2.0  # noqa: PIE796 - as in the library

    @property
    def meta(self) -> dict[str, Any]:
        return {"categories": ["tench", "dog", "owl"]}

    def transforms(self) -> Any:
        return SimpleNamespace(
            resize_size=[round(16 * self.value)], crop_size=[14], mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.25],
            interpolation=SimpleNamespace(value="bicubic"),
        )  # fmt: skip

    def get_state_dict(self, **options: Any) -> dict[str, Any]:
        ASKED.append(options)
        model = network(weights=None, num_classes=3)
        return {key: torch.full_like(value, self.value) for key, value in model.state_dict().items()}


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in is imported in torchvision's place."""
    package, models = ModuleType("torchvision"), ModuleType("torchvision.models")
    models.list_models = lambda: ["tiny_net"]  # type: ignore[attr-defined]
    models.get_model = lambda name, **options: network(**options)  # type: ignore[attr-defined]
    models.get_model_weights = lambda name: Entry  # type: ignore[attr-defined]
    package.models = models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)


@pytest.mark.usefixtures("torchvision")
def test_weights_bring_their_preprocessing_and_their_classes() -> None:
    made = open_network("torchvision:tiny_net@V1", task="classification")
    assert made.pictures == Pictures((14, 14), 16, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    assert made.classes == [("tench",), ("dog",), ("owl",)]
    assert open_network("torchvision:tiny_net").pictures == Pictures(
        (14, 14), 32, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    )


@pytest.mark.usefixtures("torchvision")
def test_weights_are_read_without_running_code_of_theirs() -> None:
    ASKED.clear()
    model = open_network("torchvision:tiny_net@V1", task="classification").build()
    assert ASKED == [{"progress": False, "check_hash": True, "weights_only": True}]
    assert torch.equal(model[0].weight, torch.ones_like(model[0].weight))
    assert model(torch.rand(2, 3, 14, 14)).shape == (2, 3)


@pytest.mark.usefixtures("torchvision")
def test_random_weights_load_none() -> None:
    ASKED.clear()
    open_network("torchvision:tiny_net", weights="random").build()
    assert ASKED == []


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tiny_nett", "--model torchvision:tiny_nett: torchvision has no model 'tiny_nett'; did you mean 'tiny_net'?"),
        ("tiny_net@V3", "--model torchvision:tiny_net@V3: tiny_net has no weights 'V3'; did you mean 'V1'?"),
    ],
)
def test_a_name_that_does_not_exist(text: str, reason: str) -> None:
    with pytest.raises(CodecbenchError) as caught:
        open_network(f"torchvision:{text}").build()
    assert str(caught.value).startswith(reason.partition("; did")[0])


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(CodecbenchError) as caught:
        open_network("torchvision:tiny_net").build()
    assert str(caught.value) == (
        "--model torchvision:tiny_net needs the package torchvision, which is not installed; run: pip "
        "install torchvision"
    )


def test_a_package_of_another_torch_says_what_to_install(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CodecbenchError) as caught:
        open_network("torchvision:tiny_net").build()
    assert str(caught.value) == (
        "--model torchvision:tiny_net: torchvision does not work with what is installed (operator torchvision::nms "
        "does not exist); install the torchvision that belongs to the installed torch"
    )
