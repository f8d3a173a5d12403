"""A small detector laid out as YOLOX is, as an ONNX file of random weights, and pictures with boxes for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper, save
from PIL import Image

SIDE = 64
CELLS = 64 + 16 + 4
CLASSES = 3


class Graph:
    """Nodes and constants of a model that is written layer by layer."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.random = np.random.default_rng(0)

    def node(self, kind: str, *inputs: str, **settings: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **settings))
        return name

    def constant(self, value: Any, kind: type[np.generic] = np.int64) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(value, kind)
        return name

    def conv(self, x: str, inputs: int, outputs: int, side: int = 3, stride: int = 1, groups: int = 1) -> str:
        shape = (outputs, inputs // groups, side, side)
        scale = 2 / np.sqrt(np.prod(shape[1:]))
        weight = self.constant(self.random.normal(size=shape) * scale, np.float32)
        bias = self.constant(self.random.normal(size=outputs) / 10, np.float32)
        pads = [side // 2] * 4
        return self.node("Conv", x, weight, bias, strides=[stride] * 2, pads=pads, group=groups)

    def silu(self, x: str) -> str:
        return self.node("Mul", x, self.node("Sigmoid", x))

    def saved(self, path: Path, output: str) -> Path:
        graph = helper.make_graph(
            self.nodes, "tiny", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, None, 5 + CLASSES])],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )  # fmt: skip
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), str(path))
        return path


def focus(graph: Graph) -> str:
    """Every second pixel, four times."""
    two, three = graph.constant([2]), graph.constant([3])
    parts = []
    for column in (0, 1):
        for row in (0, 1):
            end = graph.constant([2**63 - 1])
            rows = graph.node("Slice", "images", graph.constant([row]), end, two, two)
            parts.append(graph.node("Slice", rows, graph.constant([column]), end, three, two))
    return graph.node("Concat", *parts, axis=1)


def head(graph: Graph, x: str, inputs: int) -> str:
    box, thing, kinds = graph.conv(x, inputs, 4, 1), graph.conv(x, inputs, 1, 1), graph.conv(x, inputs, CLASSES, 1)
    rows = graph.node("Concat", box, graph.node("Sigmoid", thing), graph.node("Sigmoid", kinds), axis=1)
    return graph.node("Reshape", rows, graph.constant([1, 5 + CLASSES, -1]))


def tiny_yolox(path: Path, extra: str = "", grids: int = 3) -> Path:
    """Write the detector: BGR, 0 to 255, to three grids. `extra` is a kind of node that is put behind the stem."""
    graph = Graph()
    scaled = graph.conv(focus(graph), 12, 12, 1)
    graph.constants[graph.nodes[-1].input[1]] /= 255
    stem = graph.silu(graph.conv(scaled, 12, 6))
    if extra:
        stem = graph.node(extra, stem)
    x = graph.silu(graph.conv(stem, 6, 6, stride=2, groups=6))
    x = graph.silu(graph.conv(x, 6, 8, 1))
    left, right = graph.silu(graph.conv(x, 8, 4, 1)), graph.silu(graph.conv(x, 8, 4, 1))
    left = graph.node("Add", left, graph.silu(graph.conv(left, 4, 4)))
    dark2 = graph.silu(graph.conv(graph.node("Concat", left, right, axis=1), 8, 8, 1))
    x = graph.silu(graph.conv(dark2, 8, 8, stride=2, groups=8))
    dark3 = graph.silu(graph.conv(x, 8, 12, 1))
    dark4 = graph.node("Relu", graph.conv(dark3, 12, 12, stride=2))
    dark5 = graph.node("LeakyRelu", graph.conv(dark4, 12, 12, stride=2), alpha=0.1)
    pooled = graph.node("MaxPool", dark5, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    wide = graph.node(
        "Resize", pooled, graph.constant([], np.float32), graph.constant([1, 1, 2, 2], np.float32), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    heads = [head(graph, dark3, 12), head(graph, graph.node("Concat", dark4, wide, axis=1), 24), head(graph, dark5, 12)]
    rows = graph.node("Concat", *heads[:grids], axis=2)
    return graph.saved(path, graph.node("Transpose", rows, perm=[0, 2, 1]))


def photographs(folder: Path, count: int, first: int = 0) -> Path:
    """Write coloured noise of different sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(first)
    for number in range(first, first + count):
        pixels = random.integers(0, 256, (6, 8 + number % 3, 3), np.uint8)
        Image.fromarray(pixels).resize((90 + number, 70), Image.Resampling.BICUBIC).save(folder / f"{number:012}.jpg")
    return folder


def labelled(folder: Path, count: int = 12) -> Path:
    """Write pictures with one box each, in the layout of YOLO."""
    photographs(folder / "images", count)
    (folder / "labels").mkdir()
    for number in range(count):
        (folder / "labels" / f"{number:012}.txt").write_text(f"{number % CLASSES} 0.5 0.25 0.5 0.25\n")
    return folder
