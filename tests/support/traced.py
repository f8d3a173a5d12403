"""A small residual network with batch normalisation, traced, for tests of what is made of a tail."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from codecbench import TensorSpec
from codecbench.workers.process.graph_split import SplitModel


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.second, self.second_norm = nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(x + self.second_norm(self.second(y)))


class Residual(nn.Module):
    """Normalisation, a stem, two blocks with a strided layer between, pooling, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((3, 1, 1), 0.4))
        self.register_buffer("deviation", torch.full((3, 1, 1), 0.2))
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.fine = Block(4)
        self.down = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.coarse = Block(6)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem((x - self.mean) / self.deviation)
        return self.classifier(torch.flatten(self.pool(self.coarse(self.down(self.fine(x)))), 1))


class Untraceable(nn.Module):
    """A model behind an `if` that torch.fx cannot follow and torch.export can."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> object:
        return self.body(x) if x.ndim > 1 and x.shape[1] < 1000 else None


def residual() -> nn.Module:
    """Its weights and statistics are those of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Residual().eval()
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.2)
                layer.running_var.uniform_(0.5, 2)
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias, 0, 0.2)
    return model


def tail_at(
    split: str, shape: Sequence[int] = (3, 8, 8), *, exported: bool = False
) -> tuple[fx.GraphModule, TensorSpec]:
    """The traced tail behind a split, and the spec of what crosses."""
    probes = [torch.rand(count, *shape) for count in (2, 3)]
    model = Untraceable(residual()) if exported else residual()
    cuts = SplitModel(model, probes, TensorSpec(tuple(shape), image=True))
    assert cuts.way == ("export" if exported else "fx")
    split = f"body.{split}" if exported and split != "input" else split
    tail = cuts.split(split)[1]
    assert isinstance(tail, fx.GraphModule)
    return tail, cuts.cut(split).spec
