"""Segmentation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.descriptions import PlainNetwork, describe

from codecbench.adapters.tasks.segmentation import open_task
from codecbench.errors import DataError
from codecbench.workload import SetMetric

NETWORK = PlainNetwork()


@given(st.integers(0, 2**32 - 1))
def test_the_mean_over_classes_is_that_of_one_confusion_matrix(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, masks = rng.standard_normal((3, 4, 5, 6)), rng.integers(0, 3, (3, 5, 6))
    masks[rng.random(masks.shape) < 0.1] = 255
    task = open_task("", describe())
    scores = [task.score((x,), mask, NETWORK) for x, mask in zip(logits, masks, strict=True)]
    metric = task.metrics[0]
    assert isinstance(metric, SetMetric)
    counts = np.array([[1, 1, 1], [2, 0, 1]])
    for row, value in zip(counts, metric.values([found["mIoU"] for found in scores], counts), strict=True):
        best, truth = (np.repeat(all_of, row, axis=0) for all_of in (logits.argmax(1), masks))
        best, truth = best[truth != 255], truth[truth != 255]
        shares = [
            ((best == k) & (truth == k)).sum() / ((best == k) | (truth == k)).sum()
            for k in range(4) if ((best == k) | (truth == k)).any()
        ]  # fmt: skip
        assert value == pytest.approx(100 * np.mean(shares))


def test_pixels_that_are_right() -> None:
    logits = np.zeros((2, 1, 4))
    logits[1, 0, :2] = 1
    found = open_task("", describe()).score((logits,), np.array([[1, 0, 0, 255]]), NETWORK)
    assert found["pixel accuracy"] == (2.0, 3.0)


def test_masks_that_do_not_fit() -> None:
    task = open_task("", describe())
    with pytest.raises(DataError, match=r"gives the shape \(2, 3, 3\) for a mask of \(4, 4\)"):
        task.score((np.zeros((2, 3, 3)),), np.zeros((4, 4), np.uint8), NETWORK)
    with pytest.raises(DataError, match=r"^a mask has the label 7, and the model's run from 0 to 1$"):
        task.score((np.zeros((2, 3, 3)),), np.full((3, 3), 7, np.uint8), NETWORK)
