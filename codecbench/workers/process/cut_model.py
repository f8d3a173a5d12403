"""The contract of a model that runs as one, or cut into head and tail, in the processes of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from torch import Tensor

from codecbench.codec import TensorSpec
from codecbench.devices.layers import ModelLayers

Part: TypeAlias = Callable[[Tensor], Any]
"""A model, a head or a tail: it maps a batch to tensors, in any nesting of tuples, lists and dicts."""


@dataclass(frozen=True)
class Cut:
    """A split point: its name, and the spec of one sample of the tensor that crosses there."""

    name: str
    spec: TensorSpec


class CutModel(Protocol):
    """A model and its cuts. `SplitModel` is one, made of a torch module."""

    @property
    def full(self) -> Part:
        """The model without a cut."""

    @property
    def cuts(self) -> Mapping[str, Cut]:
        """The split points by name, in the order of execution."""

    @property
    def differentiable(self) -> bool:
        """True if tails are torch modules through which gradients flow."""

    def split(self, name: str) -> tuple[Part, Part]:
        """Return head and tail at a cut. Raises UsageError if there is no such cut."""

    def layers(self, sample: Tensor) -> ModelLayers:
        """Return the layers of the model on one sample, a batch of one."""

    def head_cost(self, head: Part, sample: Tensor) -> tuple[int, int]:
        """Return the FLOPs and the peak bytes of live tensors of a head on one sample, a batch of one."""

    def parameters_sha256(self) -> str:
        """Return the hex SHA-256 of all weights: those of two processes must be the same."""
