"""Described workloads for tests: small networks, pictures and folders that are written for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from codecbench.adapters.contracts import DataAdapter, ModelAdapter, Pictures, Sounds
from codecbench.adapters.description import WorkloadDescription
from codecbench.adapters.kinds import adapter

NETWORK = """
import torch
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 4),
    )
"""


def describe(model: str = "m:f", data: str = "m:f", task: str = "agreement", **others: Any) -> WorkloadDescription:
    """A description whose parts are nowhere, unless they are named."""
    return WorkloadDescription(model=model, data=data, task=task, **others)


def open_network(text: str, **others: Any) -> ModelAdapter:
    """The adapter of a model's text."""
    module, argument = adapter("model", text)
    network: ModelAdapter = module.open_model(argument, describe(model=text, **others))
    return network


def open_samples(text: str, **others: Any) -> DataAdapter:
    """The adapter of a data set's text."""
    module, argument = adapter("data", text)
    samples: DataAdapter = module.open_data(argument, describe(data=text, **others))
    return samples


class PlainNetwork(ModelAdapter):
    """A network that says what a test wants it to say."""

    def __init__(
        self, *, pictures: Pictures | None = None, sounds: Sounds | None = None, classes: Any = None,
        vocabulary: Any = None, **others: Any,
    ) -> None:  # fmt: skip
        super().__init__("f", describe(**others))
        self._said = {"pictures": pictures, "sounds": sounds, "classes": classes, "vocabulary": vocabulary}

    def build(self) -> Any:
        raise NotImplementedError

    @property
    def pictures(self) -> Any:
        return self._said["pictures"]

    @property
    def sounds(self) -> Any:
        return self._said["sounds"]

    @property
    def classes(self) -> Any:
        return self._said["classes"]

    @property
    def vocabulary(self) -> Any:
        return self._said["vocabulary"]


def write_pictures(
    folder: Path, count: int = 12, *, classes: tuple[str, ...] = (), size: tuple[int, int] = (20, 24)
) -> Path:
    """Write PNG pictures of noise, in turn into a folder for each class. `size` is width and height."""
    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / classes[number % len(classes)] if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number:03}.png")
    return folder
