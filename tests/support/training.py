"""Training data of given samples and a given tail, for tests of what is learned from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codecbench import FitData, TensorSpec


class Tail(nn.Module):
    """A function of a batch, as a model."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def training(xs: Tensor, tail: Callable[[Tensor], Any] = torch.Tensor.sum, targets: list[Any] | None = None) -> FitData:
    """Training data of these samples, (n, *shape), always in this order."""

    def batches(size: int) -> Iterator[tuple[Tensor, list[Any]]]:
        for start in range(0, len(xs), size):
            batch = xs[start : start + size].clone()
            yield batch, [None] * len(batch) if targets is None else targets[start : start + size]

    return FitData(
        spec=TensorSpec(tuple(xs.shape[1:])), count=len(xs), held_out_count=0, batches=batches, held_out=batches,
        tail=Tail(tail), torch_device="cpu", seed=0, max_s=60.0, progress=lambda _fraction, _text: None,
        remaining_s=lambda: 60.0,
    )  # fmt: skip


def on_virtual_clock(data: FitData, max_s: float) -> FitData:
    """The data with a time limit, on a clock of its own: each look at it takes a twentieth of a second."""
    left_s = [max_s]

    def remaining_s() -> float:
        left_s[0] = max(0.0, left_s[0] - 0.05)
        return left_s[0]

    return dataclasses.replace(data, max_s=max_s, remaining_s=remaining_s)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Independent normal values."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))
