"""Regression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.descriptions import PlainNetwork, describe, open_samples

from codecbench.adapters.tasks.regression import open_task
from codecbench.errors import DataError
from codecbench.workload import SetMetric

NETWORK = PlainNetwork()


def test_errors_of_sets_of_samples() -> None:
    task = open_task("", describe())
    outputs, targets = np.array([[1.0, 2], [3, 4], [5, 6]]), np.array([[1.0, 1], [5, 4], [5, 9]])
    scores = [task.score((output,), target, NETWORK) for output, target in zip(outputs, targets, strict=True)]
    assert [found["MAE"] for found in scores] == [(1, 2), (2, 2), (3, 2)]
    _, root = task.metrics
    assert isinstance(root, SetMetric)
    counts = np.array([[1, 1, 1], [0, 2, 0]])
    assert root.values([found["RMSE"] for found in scores], counts) == pytest.approx([np.sqrt(14 / 6), np.sqrt(2)])


def test_targets_are_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 4)), y=np.array([1.5, np.nan, 2]))
    task, samples = open_task("", describe()), open_samples(f"npz:{tmp_path / 'a.npz'}")
    assert task.target("0", NETWORK, samples).tolist() == [1.5]
    with pytest.raises(DataError, match=r"^npz:a.npz: 1 has a target that is not finite$"):
        task.target("1", NETWORK, samples)
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 4)), y=np.array(["a", "b", "c"]))
    with pytest.raises(DataError, match=r"^npz:a.npz: 1 has the target 'b', which is no number$"):
        task.target("1", NETWORK, open_samples(f"npz:{tmp_path / 'a.npz'}"))


def test_a_target_of_another_size() -> None:
    with pytest.raises(DataError, match=r"^a sample has a target of the shape \(2,\), and the model gives \(3,\)$"):
        open_task("", describe()).score((np.zeros(3),), np.zeros(2), NETWORK)
