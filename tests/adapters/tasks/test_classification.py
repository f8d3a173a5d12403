"""Classification."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.descriptions import PlainNetwork, describe, open_samples, write_pictures

from codecbench.adapters.tasks.classification import open_task
from codecbench.errors import DataError

CLASSES = [("cat",), ("dog",), ("owl",)]


def test_the_right_class_and_the_five_likeliest() -> None:
    task, network = open_task("", describe()), PlainNetwork()
    logits = np.array([1.0, 6, 2, 5, 4, 3, 0])
    scores = [task.score((logits,), target, network) for target in range(7)]
    assert [found["top-1"][0] for found in scores] == [0, 1, 0, 0, 0, 0, 0]
    assert [found["top-5"][0] for found in scores] == [0, 1, 1, 1, 1, 1, 0]


def test_of_equal_logits_the_first_counts_as_argmax_does() -> None:
    task, network = open_task("", describe()), PlainNetwork()
    assert [task.score((np.ones(3),), target, network)["top-1"][0] for target in range(3)] == [1, 0, 0]


def test_folders_are_classes_of_the_model(tmp_path: Path) -> None:
    samples = open_samples(f"imagefolder:{write_pictures(tmp_path / 'p', 4, classes=('owl', 'cat'))}")
    task, network = open_task("", describe()), PlainNetwork(classes=CLASSES)
    task.check(network, samples)
    assert [task.target(name, network, samples) for name in samples.names()] == [0, 0, 2, 2]


def test_a_folder_that_the_model_does_not_know(tmp_path: Path) -> None:
    samples = open_samples(f"imagefolder:{write_pictures(tmp_path / 'p', 4, classes=('owl', 'cow'))}")
    with pytest.raises(DataError, match=r"^imagefolder:p: the model m:f knows no class 'cow' among its 3 classes"):
        open_task("", describe()).check(PlainNetwork(classes=CLASSES), samples)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range(tmp_path: Path, label: int) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 4)), y=np.array([0, label]))
    task, samples = open_task("", describe()), open_samples(f"npz:{tmp_path / 'a.npz'}")
    with pytest.raises(DataError) as caught:
        task.check(PlainNetwork(classes=CLASSES), samples)
    assert str(caught.value) == f"npz:a.npz: 1 has the label {label}, and the model's run from 0 to 2"


def test_a_label_that_only_the_output_shows_to_be_out_of_range() -> None:
    with pytest.raises(DataError, match=r"^a sample has the label 3, and the model's run from 0 to 2$"):
        open_task("", describe()).score((np.ones(3),), 3, PlainNetwork())
