"""Average precision is that of COCO's own code; other sets of pictures only weigh the detections anew."""

from __future__ import annotations

import numpy as np
import pytest
from support.boxes import Picture, random_pictures, reference_precision, second_reference_precision

from codecbench.toolbox.boxes.average_precision import AveragePrecision
from codecbench.toolbox.boxes.matching import Detections, Objects, matched

AP = AveragePrecision("AP", "%", higher_is_better=True, outcome="boxes")
AP50 = AveragePrecision("AP50", "%", higher_is_better=True, outcome="boxes", bits=(0,))


def both(pictures: list[Picture]) -> list[float]:
    outcomes = [matched(*picture) for picture in pictures]
    once = np.ones((1, len(pictures)), np.int64)
    return [float(metric.values(outcomes, once)[0]) for metric in (AP, AP50)]


@pytest.mark.parametrize("seed", range(12))
def test_it_agrees_with_coco(seed: int) -> None:
    pictures = random_pictures(seed)
    assert both(pictures) == pytest.approx(list(reference_precision(pictures)), abs=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_it_agrees_with_a_second_library(seed: int) -> None:
    pictures = random_pictures(seed)
    assert both(pictures) == pytest.approx(list(second_reference_precision(pictures)), abs=1e-6)


def test_a_hundred_detections_of_a_class_count() -> None:
    pictures = random_pictures(3, pictures=2, classes=1, detections=400)
    assert max(len(found.scores) for found, _ in pictures) > 100
    assert both(pictures) == pytest.approx(list(reference_precision(pictures)), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_picture_that_counts_twice_is_as_two_pictures(seed: int) -> None:
    outcomes = [matched(*picture) for picture in random_pictures(seed, decimals=6)]
    counts = np.random.default_rng(seed).integers(0, 4, (6, len(outcomes)))
    for metric in (AP, AP50):
        for row, value in zip(counts, metric.values(outcomes, counts), strict=True):
            repeated = [outcome for outcome, count in zip(outcomes, row, strict=True) for _ in range(count)]
            assert value == pytest.approx(metric.values(repeated, np.ones((1, len(repeated)), np.int64))[0], abs=1e-9)


def test_a_perfect_detector_has_all_and_a_blind_one_nothing() -> None:
    objects = Objects(np.array([[0.0, 0, 10, 10], [5, 5, 20, 20]]), np.array([0, 3]), np.zeros(2, np.bool_))
    perfect = Detections(objects.boxes, np.array([0.9, 0.8]), objects.classes)
    blind = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    assert both([(perfect, objects)]) == [100.0, 100.0]
    assert both([(blind, objects)]) == [0.0, 0.0]


def test_a_set_without_objects_has_no_value() -> None:
    nothing = Objects(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    found = Detections(np.array([[0.0, 0, 4, 4]]), np.array([0.5]), np.array([1]))
    outcomes = [matched(found, nothing), matched(*random_pictures(1, pictures=3)[2])]
    values = AP.values(outcomes, np.array([[1, 0], [1, 1], [0, 0]]))
    assert np.isnan(values[0])
    assert np.isnan(values[2])


def test_outcomes_have_the_same_types_in_every_picture() -> None:
    kinds = {tuple(str(array.dtype) for array in matched(*picture)) for picture in random_pictures(0, pictures=20)}
    assert kinds == {("float32", "int16", "uint16", "uint16", "int16")}
