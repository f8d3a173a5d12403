"""Small ONNX models for tests, written node by node, and torch modules exported to ONNX."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, save
from torch import nn

IMAGE = (3, 8, 8)


def constant(name: str, *shape: int, kind: str = "float32") -> TensorProto:
    return numpy_helper.from_array(np.random.default_rng(len(name)).normal(size=shape).astype(kind), name)


def model(
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto],
    outputs: Sequence[str] = ("y",),
    *,
    batch: int | str = "batch",
    shape: Sequence[int | str] = IMAGE,
    element: int = TensorProto.FLOAT,
    inputs: Sequence[str] = ("x",),
    domains: Sequence[str] = (),
) -> ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info(name, element, [batch, *shape]) for name in inputs],
        [helper.make_tensor_value_info(name, element, None) for name in outputs],
        list(constants),
    )
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(kind, list(inputs), [output], name=f"{kind}_{output}", **attributes)


def residual(kind: str = "float32", **options: Any) -> ModelProto:
    """Two convolutions, the second with batch normalisation and a residual around it; then pooling and a product."""
    nodes = [
        node("Conv", ["x", "stem.weight"], "a", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], "b"),
        node("Conv", ["b", "inner.weight"], "c", pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], "d"),
        node("Add", ["d", "b"], "e"),
        node("Relu", ["e"], "f"),
        node("GlobalAveragePool", ["f"], "g"),
        node("Flatten", ["g"], "h"),
        node("Gemm", ["h", "out.weight"], "y"),
    ]
    variance = numpy_helper.from_array(np.linspace(0.5, 2, 8).astype(kind), "variance")
    constants = [
        constant("stem.weight", 8, 3, 3, 3, kind=kind), constant("inner.weight", 8, 8, 3, 3, kind=kind),
        constant("out.weight", 8, 5, kind=kind), *(constant(name, 8, kind=kind) for name in ("scale", "shift", "mean")),
        variance,
    ]  # fmt: skip
    return model(nodes, constants, **options)


def written(made: ModelProto, path: Path, **options: Any) -> Path:
    save(made, str(path), **options)
    return path


def exported(module: nn.Module, shape: Sequence[int], path: Path) -> Path:
    """Export a module with a dynamic batch axis."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(), (torch.rand(2, *shape),), str(path), dynamo=True, external_data=False, verbose=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
    return path
