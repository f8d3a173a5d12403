"""A detection finds the free object that it overlaps best, crowds are ignored, and near copies are suppressed."""

from __future__ import annotations

import numpy as np

from codecbench.toolbox.boxes.matching import Detections, Objects, matched, overlap, suppressed

SQUARE = [0.0, 0.0, 10.0, 10.0]


def outcome(boxes: list[list[float]], objects: list[list[float]], crowd: list[bool] | None = None) -> list[list[int]]:
    """Return matches at a half, and ignored ones, of detections with falling scores, all of one class."""
    found = Detections(np.array(boxes), np.linspace(0.9, 0.5, len(boxes)), np.zeros(len(boxes), np.int64))
    known = np.array(crowd if crowd is not None else [False] * len(objects))
    _, _, hits, ignored, _ = matched(found, Objects(np.array(objects), np.zeros(len(objects), np.int64), known))
    return [(hits & 1).tolist(), (ignored & 1).tolist()]


def test_an_object_is_found_once() -> None:
    assert outcome([SQUARE, SQUARE], [SQUARE]) == [[1, 0], [0, 0]]


def test_what_lies_in_a_crowd_is_ignored_however_often() -> None:
    assert outcome([SQUARE, [2, 2, 6, 6]], [[0, 0, 40, 40]], [True]) == [[1, 1], [1, 1]]


def test_an_object_comes_before_a_crowd() -> None:
    assert outcome([SQUARE, SQUARE], [SQUARE, SQUARE], [True, False]) == [[1, 1], [0, 1]]


def test_overlap_is_intersection_over_union() -> None:
    boxes, others = np.array([SQUARE, [20, 20, 30, 30]]), np.array([[5.0, 0, 15, 10], [0, 0, 0, 0]])
    assert np.allclose(overlap(boxes, others), [[1 / 3, 0], [0, 0]])


def test_near_copies_of_a_class_are_suppressed() -> None:
    boxes = np.array([SQUARE, [1.0, 0, 11, 10], [1.0, 0, 11, 10], [50, 50, 60, 60]])
    scores, classes = np.array([0.5, 0.9, 0.8, 0.7]), np.array([0, 0, 1, 0])
    assert suppressed(boxes, scores, classes, 0.65).tolist() == [1, 2, 3]
    assert suppressed(boxes, scores, classes, 0.9).tolist() == [1, 2, 3, 0]
