"""What cannot be cut or run says so in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import ModelProto, TensorProto, helper
from support.onnx_models import constant, model, node, residual, written

from codecbench.errors import PluginError
from codecbench.workers.process.onnx_cuts.graph import OnnxGraph
from codecbench.workload import OnnxModel


def graph(made: ModelProto, folder: Path, **form: object) -> OnnxGraph:
    return OnnxGraph(OnnxModel(written(made, folder / "m.onnx"), **form))  # type: ignore[arg-type]


def test_a_model_takes_one_input(tmp_path: Path) -> None:
    made = model([node("Add", ["x", "z"], "y")], [], inputs=("x", "z"))
    with pytest.raises(PluginError, match=r"takes 2 inputs \(x, z\)"):
        graph(made, tmp_path)


def test_operators_of_a_custom_library_are_refused(tmp_path: Path) -> None:
    made = model([node("Swirl", ["x"], "y", domain="my.ops")], [], domains=("my.ops",))
    with pytest.raises(PluginError, match=r"'Swirl_y' is of the operator my.ops.Swirl.*custom operators"):
        graph(made, tmp_path)


def test_control_flow_is_refused(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])], "branch", [], [helper.make_tensor_value_info("z", 1, None)]
    )
    import numpy as np
    from onnx import numpy_helper

    condition = numpy_helper.from_array(np.array(True), "condition")
    made = model([node("If", ["condition"], "y", then_branch=branch, else_branch=branch)], [condition])
    with pytest.raises(PluginError, match=r"'If_y' \(If\) has a graph of its own.*post-processing to the metric"):
        graph(made, tmp_path)


def test_functions_of_the_model_are_taken_apart(tmp_path: Path) -> None:
    made = residual()
    made.functions.append(
        helper.make_function("mine", "Twice", ["u"], ["v"], [helper.make_node("Add", ["u", "u"], ["v"])],
                             [helper.make_opsetid("", 18)])
    )  # fmt: skip
    made.opset_import.append(helper.make_opsetid("mine", 1))
    made.graph.node[1].CopyFrom(node("Twice", ["a"], "b", domain="mine"))
    assert {each.op_type for each in graph(made, tmp_path).nodes} >= {"Add", "Conv"}


def test_unused_and_constant_values_do_not_cross(tmp_path: Path) -> None:
    nodes = [
        node("Relu", ["weight"], "positive"),
        node("Relu", ["x"], "a"),
        node("Sigmoid", ["a"], "unused"),
        node("Mul", ["a", "positive"], "b"),
        node("Relu", ["b"], "y"),
    ]
    assert graph(model(nodes, [constant("weight", 1, 3, 1, 1)]), tmp_path).crossings() == ["x", "a", "b"]


def test_names_of_modules_in_lists_are_joined(tmp_path: Path) -> None:
    names = ["/stages/stages.0/conv/Conv", "/stages/stages.0/act/Relu", "/stages/stages.1/act/Relu", "/Relu"]
    nodes = [
        helper.make_node("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}"], name=name) for i, name in enumerate(names)
    ]
    found = graph(model([*nodes, node("Relu", ["v4"], "y")], []), tmp_path)
    assert list(found.cut_names(found.crossings()).values()) == [
        "input", "stages.0.conv", "stages.0", "stages", "Relu",
    ]  # fmt: skip


def test_channels_without_a_length_cannot_be_reversed(tmp_path: Path) -> None:
    made = model([node("Relu", ["x"], "y")], [], shape=("channels", 8, 8))
    with pytest.raises(PluginError, match="axis 1 of the input has no fixed length"):
        graph(made, tmp_path, reverse_channels=True)


def test_the_type_of_the_input_is_the_files(tmp_path: Path) -> None:
    assert graph(residual("float16", element=TensorProto.FLOAT16), tmp_path).input_type == "float16"
