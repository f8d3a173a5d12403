"""Batches of training samples, and their augmentation."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 4
"""Training pictures are moved by up to so many pixels, over mirrored edges, and every other one is a mirror image."""


def as_tensors(batches: Iterator[tuple[Tensor | list[Tensor], list[object]]]) -> Iterator[Tensor]:
    """Batches as tensors; of samples whose lengths differ, one batch for each length, and none of length zero."""
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
    """Pictures moved and mirrored, a move for the batch and a mirror for each picture."""
    height, width = xs.shape[2:]
    margin = min(SHIFT, height - 1, width - 1)
    mirrored = torch.rand(len(xs), 1, 1, 1, generator=generator) < 0.5
    xs = torch.where(mirrored, xs.flip(3), xs)
    if margin:
        down, right = torch.randint(2 * margin + 1, (2,), generator=generator).tolist()
        padded = F.pad(xs, (margin, margin, margin, margin), mode="reflect")
        xs = padded[:, :, down : down + height, right : right + width]
    return xs.contiguous(memory_format=torch.channels_last)
