"""A copy of a large tail that is trained by low-rank changes of its weights.

A copy of a ResNet-50 has 25 million weights: too many to train with a few hundred photographs, and a state of 50 MB. So
its layers are trained by changes of low rank (Hu et al. 2022, section 4.1), with about a thirtieth of the weights. The
unchanged weights are not among the module's own, and a state need not hold them: the edge has them, in the tail.

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Self

import torch
from torch import Tensor, nn

from codecbench.toolbox.learning.tail_copy import TailCopy

LARGE_TAIL = 1_000_000
"""A copy with more weights than this is trained by low-rank changes."""

RANK = 16
"""The rank of the changes."""


class FrozenWeights(nn.Module):
    """The weights of a copy by name, which are neither trained nor part of the module's state."""

    def __init__(self, frozen: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.frozen = {name: tensor.detach() for name, tensor in frozen.items()}

    def __getitem__(self, name: str) -> Tensor:
        """Return a weight."""
        return self.frozen[name]

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights by name, as a `ParameterDict` does."""
        yield from self.frozen.items()


class LowRankWeights(FrozenWeights):
    """Frozen weights plus trained changes: a product of two factors, or a full change where that is smaller.

    All changes start at zero. Their unit is the deviation of the layer's weights, so that one learning rate suits all
    layers. Outside of training, the sums are computed once and kept.
    """

    def __init__(self, frozen: Mapping[str, Tensor], rank: int = RANK) -> None:
        super().__init__(frozen)
        self.left, self.right, self.full = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        generator = torch.Generator().manual_seed(0)
        self._units: dict[str, float] = {}
        self._kept: dict[str, Tensor] = {}
        for name, tensor in self.frozen.items():
            self._units[name] = (float(tensor.std()) if tensor.numel() > 1 else 0.0) or 1.0
            rows, columns = (len(tensor), tensor[0].numel()) if tensor.ndim > 1 else (1, tensor.numel())
            if rank * (rows + columns) >= rows * columns:
                self.full[name] = nn.Parameter(torch.zeros_like(tensor))
            else:
                self.left[name] = nn.Parameter(tensor.new_zeros(rows, rank))
                self.right[name] = nn.Parameter(torch.randn(rank, columns, generator=generator))

    def __getitem__(self, name: str) -> Tensor:
        """Return a weight with its change."""
        if self.training:
            return self._changed(name)
        if name not in self._kept:
            self._kept[name] = self._changed(name).detach()
        return self._kept[name]

    def _changed(self, name: str) -> Tensor:
        frozen = self.frozen[name]
        change = self.full[name] if name in self.full else self.left[name] @ self.right[name]
        changed: Tensor = frozen + self._units[name] * change.view_as(frozen)
        return changed

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation, and forget the sums that were kept."""
        self._kept = {}
        return super().train(mode)


def adapted(tail: TailCopy, weights: Mapping[str, Tensor] | None = None, rank: int = RANK) -> TailCopy:
    """Return a copy of the tail that is trained by changes of this rank to `weights`, by default those of `tail`."""
    return _with_weights(tail, LowRankWeights(dict(tail.weights.items()) if weights is None else weights, rank))


def unchanged(tail: TailCopy) -> TailCopy:
    """Return the tail before its training, which is not trained. An adapted tail shares its frozen weights."""
    weights: nn.Module = tail.weights
    if isinstance(weights, LowRankWeights):
        return _with_weights(tail, FrozenWeights(weights.frozen))
    return copy.deepcopy(tail).requires_grad_(False)


def _with_weights(tail: TailCopy, weights: FrozenWeights) -> TailCopy:
    found = TailCopy(tail.steps, {}, tail.kept)
    found.weights = weights  # type: ignore[assignment]  # a TailCopy asks for `[name]` and `items` alone
    return found


def is_large(tail: TailCopy) -> bool:
    """Return True for a copy of more than LARGE_TAIL weights."""
    weights: int = sum(tensor.numel() for _, tensor in tail.weights.items())
    return weights > LARGE_TAIL
