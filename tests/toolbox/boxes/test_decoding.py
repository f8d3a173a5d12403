"""Outputs of detectors become boxes in the pixels of the input."""

from __future__ import annotations

import numpy as np

from codecbench.toolbox.boxes.decoding import decode_grids, decode_queries, grid_rows


def grids(size: tuple[int, int] = (64, 96)) -> np.ndarray:
    return np.zeros((grid_rows(size), 5 + 3), np.float32)


def test_cells_of_all_grids_are_counted() -> None:
    assert grid_rows((416, 416)) == 3549
    assert grid_rows((64, 96)) == 96 + 24 + 6


def test_a_cell_says_where_its_box_is() -> None:
    output = grids()
    output[96 + 6 + 2] = [0.5, 0.25, np.log(2), np.log(3), 0.9, 0.1, 0.8, 0.1]  # stride 16: second row, third column
    found = decode_grids(output, (64, 96))
    assert np.allclose(found.boxes, [[40 - 16, 20 - 24, 40 + 16, 20 + 24]], atol=1e-5)
    assert np.allclose(found.scores, [0.72])
    assert found.classes.tolist() == [1]


def test_weak_and_infinite_boxes_are_left_out() -> None:
    output = grids()
    output[0, 4:6] = [0.1, 0.09]
    output[1] = [0, 0, 1000, 0, 1, 1, 0, 0]
    assert len(decode_grids(output, (64, 96)).scores) == 0


def test_queries_have_boxes_as_shares_of_the_input() -> None:
    logits = np.log(np.array([[0.6, 0.1, 0.3], [0.1, 0.1, 0.8]], np.float32))
    found = decode_queries(logits, np.array([[0.5, 0.5, 0.5, 0.25], [0.1, 0.1, 0.1, 0.1]], np.float32), (64, 96))
    assert np.allclose(found.boxes[0], [24, 24, 72, 40])
    assert np.allclose(found.scores, [0.6, 0.1], atol=1e-6)
    assert found.classes[0] == 0
