"""A folder of pictures with boxes, and a detector that finds bright squares in them without any training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
from PIL import Image

SIDE = 64
CELLS = 64 + 16 + 4


def boxed_folder(folder: Path, count: int = 30) -> Path:
    """Write grey pictures of 128 x 96 with a bright square each, of class 0, and their labels."""
    random = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        pixels = np.full((96, 128, 3), 40, np.uint8)
        column, row = random.integers(0, 8), random.integers(0, 6)
        pixels[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 250
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        centre = (16 * column + 8) / 128, (16 * row + 8) / 96
        (folder / "labels" / f"{number}.txt").write_text(f"0 {centre[0]} {centre[1]} {16 / 128} {16 / 96}\n")
    return folder


def square_detector(path: Path) -> Path:
    """Write an ONNX model (1, 3, 64, 64), BGR from 0 to 255, whose cells of stride 8 find bright ones; two classes."""
    names = {
        "weight": np.full((1, 3, 8, 8), 1 / (3 * 64), np.float32), "limit": np.float32(200), "gain": np.float32(0.2),
        "box": np.tile(np.array([0.5, 0.5, 0.0, 0.0], np.float32), (1, 64, 1)),
        "other": np.full((1, 64, 1), 0.01, np.float32), "one": np.ones((1, 64, 1), np.float32),
        "rest": np.zeros((1, CELLS - 64, 7), np.float32), "shape": np.array([1, 64, 1], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["mean"], name="Conv_0", strides=[8, 8]),
        helper.make_node("Sub", ["mean", "limit"], ["above"], name="Sub_1"),
        helper.make_node("Mul", ["above", "gain"], ["scaled"], name="Mul_2"),
        helper.make_node("Sigmoid", ["scaled"], ["share"], name="Sigmoid_3"),
        helper.make_node("Reshape", ["share", "shape"], ["cells"], name="Reshape_4"),
        helper.make_node("Concat", ["box", "cells", "one", "other"], ["found"], name="Concat_5", axis=2),
        helper.make_node("Concat", ["found", "rest"], ["output"], name="Concat_6", axis=1),
    ]
    graph = helper.make_graph(
        nodes, "squares", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, CELLS, 7])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in names.items()],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path
