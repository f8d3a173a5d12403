"""The tensors of a model's output, and models in another form: of another dtype, or for one sample at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

NARROW = (torch.float16, torch.bfloat16)
"""Types of a model's values that a codec gets as float32."""


def output_tensors(value: Any) -> list[Tensor]:
    """Return the tensors of a model's output in a fixed order; what is no tensor is left out.

    The output is a tensor, or tuples, lists, dicts and dataclasses of outputs, in any nesting.
    """
    return [leaf for leaf in output_leaves(value) if isinstance(leaf, Tensor)]


def output_leaves(value: Any) -> Iterator[Any]:
    """Yield all values of a model's output that contain no others."""
    if isinstance(value, Mapping):
        parts: Any = value.values()
    elif isinstance(value, (tuple, list)):
        parts = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
    else:
        yield value
        return
    for part in parts:
        yield from output_leaves(part)


def same_values(left: Tensor, right: Tensor) -> bool:
    """True if two tensors are equal in shape, dtype and all values; values that are not numbers equal one another."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return bool(torch.equal(left, right) or ((left == right) | ((left != left) & (right != right))).all())


def same_outputs(left: Any, right: Any) -> bool:
    """True if two outputs of a model have the same tensors."""
    lefts, rights = output_tensors(left), output_tensors(right)
    return len(lefts) == len(rights) and all(map(same_values, lefts, rights))


class FlatOutput(nn.Module):
    """A model with a tuple of tensors as its output."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of the model's output."""
        return tuple(output_tensors(self.model(x)))


class CastInput(nn.Module):
    """A model that is given another dtype than its own."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype

    def forward(self, x: Tensor) -> Any:
        """Return the model's output for the input in the model's own dtype."""
        return self.model(x.to(self.dtype))


class SampleBySample(nn.Module):
    """A part of a model that takes batches of one only: it runs on the samples of a batch one by one."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, xs: Tensor) -> Any:
        """Return the part's output tensors, with the results of all samples along axis 0."""
        outputs = [self.part(x.unsqueeze(0)) for x in xs]
        if isinstance(outputs[0], Tensor):
            return torch.cat(outputs)
        return tuple(map(torch.cat, zip(*map(output_tensors, outputs), strict=True)))
