"""Batches of training samples, and their augmentation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from codecbench.codec import TensorSpec

MAX_BATCH_VALUES = 6_500_000
"""The most values of a batch: 8 pictures of 3 x 512 x 512. Training a convolutional codec takes some 50 times their
memory."""

SHIFT = 4
"""Training pictures are shifted by up to 4 pixels, over mirrored borders; each is mirrored with probability 1/2."""


def batch_size(spec: TensorSpec, limit: int) -> int:
    """Return the number of samples in a batch: `limit`, or fewer where these have over MAX_BATCH_VALUES values."""
    return max(1, min(limit, MAX_BATCH_VALUES // max(1, math.prod(spec.max_shape))))


def as_tensors(batches: Iterator[tuple[Tensor | list[Tensor], list[object]]]) -> Iterator[Tensor]:
    """Yield batches as tensors: one batch for each length if lengths differ, without samples of length zero."""
    for xs, _ in batches:
        if isinstance(xs, Tensor):
            yield xs
            continue
        by_shape: dict[tuple[int, ...], list[Tensor]] = {}
        for x in xs:
            if x.numel():
                by_shape.setdefault(tuple(x.shape), []).append(x)
        for group in by_shape.values():
            yield torch.stack(group)


def augmented(xs: Tensor, generator: torch.Generator) -> Tensor:
    """Return pictures (n, channels, height, width), each mirrored at random, all shifted by the same random offset."""
    height, width = xs.shape[2:]
    margin = min(SHIFT, height - 1, width - 1)
    mirrored = torch.rand(len(xs), 1, 1, 1, generator=generator) < 0.5
    xs = torch.where(mirrored, xs.flip(3), xs)
    if margin:
        down, right = torch.randint(2 * margin + 1, (2,), generator=generator).tolist()
        padded = F.pad(xs, (margin, margin, margin, margin), mode="reflect")
        xs = padded[:, :, down : down + height, right : right + width]
    return xs.contiguous(memory_format=torch.channels_last)
