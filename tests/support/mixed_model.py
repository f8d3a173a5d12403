"""A small model of many kinds of layers, traced and cut."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codecbench.codec import TensorSpec
from codecbench.workers.process.graph_split import SplitModel


def split_model(model: nn.Module, shape: tuple[int, ...]) -> SplitModel:
    probes = [torch.rand(n, *shape, generator=torch.Generator().manual_seed(n)) for n in (2, 3)]
    return SplitModel(model, probes, TensorSpec(shape))


class Mixed(nn.Module):
    """One of many kinds, with in-place operations, functions and methods."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True))
        self.depthwise = nn.Conv2d(8, 8, 5, 1, 2, groups=8)
        self.pool, self.gru, self.classifier = nn.MaxPool2d(2), nn.GRU(8, 6, batch_first=True), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.pool(torch.relu_(self.depthwise(x) + x))
        outputs, _ = self.gru(x.flatten(2).transpose(1, 2))
        return torch.softmax(self.classifier(outputs.mean(1)), 1)
