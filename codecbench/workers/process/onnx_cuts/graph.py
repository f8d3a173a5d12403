"""The graph of an ONNX model: checked, with the preparation of its input, and its single-tensor cuts."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from codecbench.errors import PluginError, one_line
from codecbench.system.onnx_files import read_onnx
from codecbench.workload import OnnxModel

INPUT = "input"
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""The domains of operators that onnxruntime has without a library of custom operators."""

_PREPARED = "codecbench_picture"
_SCOPES = "pkg.torch.onnx.name_scopes"


class OnnxGraph:
    """A model's graph with one input, prepared as the model says. `input_name` and `output_names` are the graph's.

    Raises PluginError if it has another number of inputs, unknown operators, or nodes with graphs of their own.
    """

    def __init__(self, model: OnnxModel) -> None:
        self.model = _inferred(_prepared(_inlined(read_onnx(model.path)), model))
        self.nodes: Sequence[NodeProto] = list(self.model.graph.node)
        self.constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self.input = _only_input(self.model.graph)
        self.input_name: str = self.input.name
        self.output_names: list[str] = [output.name for output in self.model.graph.output]
        self.prepared_names = {name for node in self.nodes if node.name.startswith(_PREPARED) for name in node.output}
        _check_nodes(self.nodes)
        if self.input_type == np.float16 or any(t.data_type == TensorProto.FLOAT16 for t in self.constants.values()):
            self._keep_rounding(self.crossings())

    def _keep_rounding(self, crossings: Sequence[str]) -> None:
        """Put an identity behind each node that makes one of these values.

        onnxruntime computes float16 in float32 on a CPU and rounds at the ends of the graph only; before an identity it
        rounds as well, and so the model as one does what head and tail do.
        """
        makers = {self.positions[value]: value for value in crossings if value != self.input_name}
        nodes = []
        for i, node in enumerate(self.nodes):
            nodes.append(node)
            if i in makers:
                rounded = NodeProto()
                rounded.CopyFrom(node)
                del rounded.input[:], rounded.output[:], rounded.attribute[:]
                exact = f"{makers[i]}_exact"
                rounded.op_type, rounded.domain = "Identity", ""
                rounded.input.append(exact)
                rounded.output.append(makers[i])
                node.output[list(node.output).index(makers[i])] = exact
                node.name = f"{node.name}_exact"
                nodes.append(rounded)
        del self.model.graph.node[:]
        self.model.graph.node.extend(nodes)
        self.nodes = list(self.model.graph.node)
        for kept in ("dependent", "last_use", "positions"):
            self.__dict__.pop(kept, None)

    @property
    def fixed_batch(self) -> bool:
        """True if the batch axis has the length 1 for good. Raises PluginError for another fixed length."""
        dims = self.input.type.tensor_type.shape.dim
        length = dims[0].dim_value if dims else 0
        if length > 1:
            raise PluginError(
                f"its batch axis is fixed at {length}; export the model with a batch of 1 or a dynamic one"
            )
        return bool(length == 1)

    @property
    def input_type(self) -> np.dtype[Any]:
        """The numpy type of the input."""
        return np.dtype(helper.tensor_dtype_to_np_dtype(self.input.type.tensor_type.elem_type))

    @cached_property
    def dependent(self) -> set[str]:
        """The names of all values that depend on the input."""
        found = {self.input_name}
        for node in self.nodes:
            if not found.isdisjoint(node.input):
                found.update(name for name in node.output if name)
        return found

    @cached_property
    def last_use(self) -> dict[str, int]:
        """The position of the last node that uses a value; the number of nodes for an output."""
        found = {name: i for i, node in enumerate(self.nodes) for name in node.input}
        return found | dict.fromkeys(self.output_names, len(self.nodes))

    @cached_property
    def positions(self) -> dict[str, int]:
        """The position of the node that makes a value; -1 for the input."""
        made = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        return {self.input_name: -1, **made}

    def crossings(self) -> list[str]:
        """Return the values that cross a cut alone, in order; the input is the first.

        After each node, the live values are those that depend on the input and are still needed.
        """
        live, found = {self.input_name}, [self.input_name]
        for i, node in enumerate(self.nodes[:-1]):
            live.update(name for name in node.output if name in self.dependent)
            live = {name for name in live if self.last_use.get(name, -1) > i}
            if len(live) == 1:
                found.extend(live - {found[-1]})
        left_out = self.prepared_names | {node.input[0] for node in self.nodes if node.op_type == "Identity"}
        return [name for name in found if name == self.input_name or name not in left_out]

    def cut_names(self, crossings: Sequence[str]) -> dict[str, str]:
        """Return the name of the cut at each of these values, all different.

        The last node of a module has the module's path, where the exporter wrote it down; others have the name of
        their node, or of their value.
        """
        last = {scope: node.output[0] for node in self.nodes for scope in _scopes(node)}
        modules: dict[str, str] = {}
        for scope, value in last.items():
            if value not in modules or len(scope) < len(modules[value]):
                modules[value] = scope
        names: dict[str, str] = {}
        for value in crossings:
            node = self.nodes[self.positions[value]] if value != self.input_name else None
            own = "" if node is None else node.name.removeprefix("node_")
            choices = [INPUT] if node is None else [modules.get(value, ""), own, value, f"{own}.{value}"]
            taken = set(names.values())
            plain = [name for choice in choices if (name := _plain_name(choice)) and name not in taken]
            names[value] = plain[0] if plain else f"value{self.positions[value]}"
        return names

    def with_outputs(self, names: Sequence[str]) -> ModelProto:
        """Return the model with these values as its only outputs; onnxruntime finds their types."""
        model = ModelProto()
        model.CopyFrom(self.model)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        return model


def _only_input(graph: GraphProto) -> onnx.ValueInfoProto:
    constants = {tensor.name for tensor in graph.initializer}
    inputs: list[onnx.ValueInfoProto] = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise PluginError(f"the model takes {len(inputs)} inputs ({names}); a workload's model takes one tensor")
    return inputs[0]


def _check_nodes(nodes: Sequence[NodeProto]) -> None:
    for node in nodes:
        if node.domain not in DOMAINS:
            raise PluginError(
                f"node {node.name!r} is of the operator {node.domain}.{node.op_type}, for which onnxruntime needs a "
                "library of custom operators; export the model without it"
            )
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise PluginError(
                f"node {node.name!r} ({node.op_type}) has a graph of its own; export the model without control flow, "
                "and leave post-processing to the metric"
            )


def _inlined(model: ModelProto) -> ModelProto:
    """Return the model without functions of its own: their nodes stand where they are called."""
    if not model.functions:
        return model
    from onnx.inliner import inline_local_functions

    return inline_local_functions(model)


def _inferred(model: ModelProto) -> ModelProto:
    try:
        inferred: ModelProto = onnx.shape_inference.infer_shapes(model)
        return inferred
    except Exception as error:
        raise PluginError(f"the shapes of the model cannot be inferred: {one_line(error)}") from error


def _prepared(model: ModelProto, source: OnnxModel) -> ModelProto:
    """Return the model with the nodes before it that make its input from a picture; itself if there are none."""
    steps: list[tuple[str, Any, dict[str, Any]]] = []
    taken = _only_input(model.graph)
    element = taken.type.tensor_type.elem_type
    kind = helper.tensor_dtype_to_np_dtype(element)
    rank = len(taken.type.tensor_type.shape.dim)

    def of_channels(values: Sequence[float]) -> Any:
        return np.array(values, kind).reshape(-1, *([1] * (rank - 2)))

    if source.reverse_channels:
        channels = taken.type.tensor_type.shape.dim[1].dim_value if rank > 1 else 0
        if channels == 0:
            raise PluginError("its channels cannot be reversed: axis 1 of the input has no fixed length")
        steps.append(("Gather", np.arange(channels)[::-1].astype(np.int64), {"axis": 1}))
    if source.mean:
        steps.append(("Sub", of_channels(source.mean), {}))
    if source.std:
        steps.append(("Div", of_channels(source.std), {}))
    if source.scale != 1.0:
        steps.append(("Mul", np.array(source.scale, kind), {}))
    if not steps:
        return model
    first = onnx.ValueInfoProto()
    first.CopyFrom(taken)
    first.name = value = _PREPARED
    nodes = []
    for number, (operator, constant, attributes) in enumerate(steps):
        last = number == len(steps) - 1
        made, name = (taken.name if last else f"{_PREPARED}_{number}"), f"{_PREPARED}_value_{number}"
        model.graph.initializer.append(numpy_helper.from_array(constant, name))
        nodes.append(
            helper.make_node(operator, [value, name], [made], name=f"{_PREPARED}_{operator.lower()}", **attributes)
        )
        value = made
    rest, inputs = list(model.graph.node), [first if each.name == taken.name else each for each in model.graph.input]
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend([*nodes, *rest])
    model.graph.input.extend(inputs)
    model.graph.value_info.append(taken)
    return model


def _scopes(node: NodeProto) -> list[str]:
    """Return the paths of the modules whose calls a node belongs to, outermost first, as its exporter wrote them."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            try:
                return [str(scope) for scope in ast.literal_eval(entry.value)[:-1] if scope]
            except (ValueError, SyntaxError, TypeError):
                return []
    if not node.name.startswith("/"):
        return []
    paths: list[str] = []
    for part in node.name.strip("/").split("/")[:-1]:
        # torch writes a module in a list with the list's name: /stage1/stage1.0/conv.
        outer = paths[-1] if paths else ""
        inner = outer.rpartition(".")[2]
        joined = f"{outer}{part.removeprefix(inner)}" if inner and part.startswith(f"{inner}.") else f"{outer}.{part}"
        paths.append(joined.strip("."))
    return paths


def _plain_name(name: str) -> str:
    """Return a name of letters, digits, dots, hyphens and underscores."""
    return re.sub(r"[^\w.-]", "_", name.strip("/").replace("/", ".")).strip(".")
