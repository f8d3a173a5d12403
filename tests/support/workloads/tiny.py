"""A workload that runs in milliseconds: made-up 8 x 8 images, a small residual network with weights from a seed.

A plugin file like any other. It trips where the harness breaks a promise: of its processes, only the device's may ask
for inputs and targets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench import RatioMetric, Subset, TensorSpec, Workload, hookimpl

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

# First identifier and number of samples of each subset.
SUBSETS: dict[str, tuple[int, int]] = {"fit": (0, 40), "choice": (1_000, 24), "test": (2_000, 64)}
CLASSES = 4


class Tiny(Workload):
    """Top-1 of an untrained network on noise."""

    name = "tiny"
    metrics = (RatioMetric("top-1", "%", higher_is_better=True, scale=100.0, binary=True),)
    default_splits = ("input", "stem", "block")
    budget = 1.0

    @property
    def input_spec(self) -> TensorSpec:
        """RGB images."""
        return TensorSpec((3, 8, 8), image=True)

    def build_model(self) -> nn.Module:
        """(N, 3, 8, 8) to (N, 4) logits."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return network().eval()

    def weights_sha256(self) -> str:
        """Names the seed."""
        return hashlib.sha256(b"tiny, seed 1").hexdigest()

    def sample_ids(self, subset: Subset) -> Sequence[int]:
        """Consecutive identifiers."""
        first, count = SUBSETS[subset]
        return range(first, first + count)

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        """Noise drawn from the identifier."""
        import numpy as np

        _only_on_the_device("inputs")
        ids = self.sample_ids(subset)
        return [
            (np.random.default_rng(ids[p]).integers(0, 256, (3, 8, 8)) / np.float32(255)).astype(np.float32)
            for p in positions
        ]

    def targets(self, subset: Subset, positions: Sequence[int]) -> list[Any]:
        """Labels that follow from the identifier."""
        _only_on_the_device("targets")
        ids = self.sample_ids(subset)
        return [ids[p] * 7 % CLASSES for p in positions]

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> tuple[float, float]:
        """1 over 1 where right."""
        return float(int(output[0].argmax()) == target), 1.0


def _only_on_the_device(what: str) -> None:
    folder = Path.home().parent.name
    if folder.startswith("codecbench-") and not folder.startswith("codecbench-device-"):
        raise RuntimeError(f"the process of {folder} asked for {what}")


def network() -> nn.Module:
    """The untrained model. Its classes live in here so that importing this file does not import torch."""
    import torch
    from torch import Tensor, nn

    class Block(nn.Module):
        """A residual block with an in-place ReLU."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(6, 6, 3, 1, 1)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(self.conv(x) + x)

    class Network(nn.Module):
        """Stem, block, pool, classifier."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(inplace=True))
            self.block = Block()
            self.classifier = nn.Linear(6, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(torch.flatten(nn.functional.adaptive_avg_pool2d(self.block(self.stem(x)), 1), 1))

    return Network()


@hookimpl
def codecbench_register_workloads() -> Iterable[type[Workload]]:
    """Register the workload."""
    return [Tiny]
