"""Batches of training samples: samples of one length share one, and pictures are moved and mirrored."""

from __future__ import annotations

import math

import pytest
import torch

from codecbench import TensorSpec
from codecbench.toolbox.learning.batches import as_tensors, augmented, batch_size


def test_samples_of_equal_length_share_a_batch_and_empty_ones_are_left_out() -> None:
    lengths = [3, 0, 2, 3, 2, 3]
    rows = [torch.full((length, 2), float(i)) for i, length in enumerate(lengths)]
    found = list(as_tensors(iter([(rows, [None] * 6), (torch.ones(2, 4), [None] * 2)])))
    assert [tuple(xs.shape) for xs in found] == [(3, 3, 2), (2, 2, 2), (2, 4)]
    assert found[0][:, 0, 0].tolist() == [0, 3, 5]


@pytest.mark.parametrize("shape", [(3, 12, 10), (1, 1, 1), (3, 2, 9)])
def test_pictures_are_moved_and_mirrored(shape: tuple[int, ...]) -> None:
    xs = torch.arange(6 * math.prod(shape)).reshape(6, *shape).float()
    moved = [augmented(xs, torch.Generator().manual_seed(seed)) for seed in range(8)]
    assert all(picture.shape == xs.shape for picture in moved)
    assert torch.equal(moved[0], augmented(xs, torch.Generator().manual_seed(0)))
    for picture in moved:
        for before, after in zip(xs, picture, strict=True):
            assert set(after.flatten().tolist()) <= set(before.flatten().tolist())
    if math.prod(shape) > 1:
        assert len({tuple(picture.flatten().tolist()) for picture in moved}) > 4


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (TensorSpec((3, 32, 32), image=True), 32),
        (TensorSpec((3, 224, 224), image=True), 32),
        (TensorSpec((3, 512, 512), image=True), 8),
        (TensorSpec((None, 80), max_length=3000), 27),
        (TensorSpec((1 << 24,)), 1),
        (TensorSpec((0,)), 32),
    ],
    ids=str,
)
def test_batches_of_large_samples_are_smaller(spec: TensorSpec, size: int) -> None:
    assert batch_size(spec, 32) == size
