"""Help for a decoder by a copy of the tail: two looks at an image, and one step of the tensor towards their mean.

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from codecbench.codec import FitData
from codecbench.errors import UnsuitedModelError
from codecbench.toolbox.learning.batches import as_tensors
from codecbench.toolbox.learning.state import State, halved, load_halved
from codecbench.toolbox.learning.tail_copy import TailCopy

PIXEL_LIMITS = (0.0, 1.0)


def mean_of_looks(tail: TailCopy, samples: Tensor, output: Tensor) -> Tensor:
    """Return the mean of the tail's output for a batch and of its output for the batch mirrored along the last axis.

    `output` is what the tail gave for the batch itself.
    """
    _, mirrored = tail(samples.flip(-1))
    mean: Tensor = (output + mirrored) / 2
    return mean


def steered(tail: TailCopy, samples: Tensor, target: Tensor, limits: tuple[float, float]) -> Tensor:
    """Return samples moved by one step (`TailCopy.steered`), so that the tail's output approaches `target`."""
    return tail.steered(samples, target).clamp(*limits)


class Steering:
    """A frozen copy of the tail, which moves a decoded image by one step towards the mean of two looks at it.

    Nothing is trained. The tail's outputs for the image and for its mirror image are averaged, and the step moves the
    image's own output about half of the way to that mean.
    """

    def __init__(self, tail: TailCopy) -> None:
        self._tail = tail.requires_grad_(False)

    @classmethod
    def of(cls, data: FitData) -> Self:
        """Return the copy of a fit's tail; its weights are rounded to float16, as in `to_bytes`.

        Raises UnsuitedModelError if the tail has no copy, or gives anything but scores of classes: outputs at places in
        an image (boxes, maps) are mirrored with it, and their mean would be of different places.
        """
        example = next(as_tensors(data.held_out(2) if data.held_out_count else data.batches(2)))
        tail = TailCopy.of(data.tail, example)
        if tail is None:
            raise UnsuitedModelError(
                "edge='steered' needs a copy of the tail, and this one has layers that cannot be copied"
            )
        with torch.no_grad():
            shape = tuple(tail(example)[1].shape[1:])
        if len(shape) != 1:
            raise UnsuitedModelError(f"edge='steered' needs scores of classes, and this model gives {shape} a sample")
        halved(tail)
        return cls(tail)

    def to_bytes(self) -> bytes:
        """Return the state that `from_bytes` reads."""
        return State({"tail": self._tail.to_json()}, halved(self._tail)).to_bytes()

    @classmethod
    def from_bytes(cls, state: bytes) -> Self:
        """Return the copy in a state. Raises ValueError for an invalid one."""
        found = State.from_bytes(state)
        try:
            tail = TailCopy.empty(found.about["tail"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no copy of a tail: {error!r}") from error
        load_halved(tail, found.tensors)
        return cls(tail)

    def image(self, decoded: Tensor) -> Tensor:
        """Return a decoded image (channels, height, width), moved by the step."""
        samples = decoded[None]
        with torch.no_grad():
            target = mean_of_looks(self._tail, samples, self._tail(samples)[1])
        return steered(self._tail, samples, target, PIXEL_LIMITS)[0].contiguous()
