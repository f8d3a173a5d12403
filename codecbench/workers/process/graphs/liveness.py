"""Finds where exactly one tensor crosses from the nodes of a graph that have run to those that have not.

Nodes are of three kinds. *Data*: tensors computed from the input's values. *Shape values*: what is computed from the
shapes of data alone, such as lengths, and masks made of lengths. *Constants*: all others, weights among them. Only data
is sent. A tail reads shape values from the shape of the crossing tensor, has them as constants, or computes them again.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from codecbench.errors import PluginError
from codecbench.workers.process.graphs.outputs import output_leaves
from codecbench.workers.process.graphs.tracing import may_write

_READS_VALUES = ("item", "tolist", "_local_scalar_dense")
"""Operations that turn values of a tensor into numbers, which are data as well."""


@dataclass(frozen=True)
class Axis:
    """The length of an axis of the crossing tensor."""

    axis: int


@dataclass(frozen=True)
class Crossing:
    """The only tensor that crosses somewhere, and the source in the tail of shape values that are from before.

    A source is an Axis, a constant, or a tuple of them.
    """

    node: fx.Node
    shapes: dict[fx.Node, Any]


class GraphValues:
    """The nodes of a graph with one input, in order of execution, and the values of each on some probes.

    Tensors are kept as meta tensors. Raises PluginError if the graph does not run on the probes.
    """

    def __init__(self, module: fx.GraphModule, probes: Sequence[Tensor]) -> None:
        self.nodes: list[fx.Node] = list(module.graph.nodes)
        self.position = {node: i for i, node in enumerate(self.nodes)}
        found = [_node_values(module, probe) for probe in probes]
        self.values = {node: [values[node] for values in found] for node in self.nodes}
        (start,) = (node for node in self.nodes if node.op == "placeholder")
        self.data = self._data(start)
        self.shapes = self._shapes()

    def crossings(self) -> Iterator[Crossing]:
        """Yield every tensor that crosses alone, in order of execution, if its tail can know all shape values."""
        last_use = {
            node: max((self.position[user] for user in node.users if self._is_data(user)), default=-1)
            for node in self.data
        }
        ends = {node: self._end(node) for node in self.shapes}
        writes = any(map(may_write, self.shapes))
        live: set[fx.Node] = set()
        found: set[fx.Node] = set()
        for at, node in enumerate(self.nodes[:-1]):
            live = {other for other in live if last_use[other] > at}
            if last_use.get(node, -1) > at:
                live.add(node)
            if len(live) != 1:
                continue
            (crossing,) = live
            if crossing in found:
                continue
            shapes = self._sources(crossing, ends)
            # Between the crossing tensor and here, other branches may have ended; and what is written to a mask may
            # come from where the tail cannot reach.
            doubtful = at > self.position[crossing] or writes
            if shapes is None or (doubtful and not self._is_complete(Crossing(crossing, shapes))):
                continue
            found.add(crossing)
            yield Crossing(crossing, shapes)

    def head_nodes(self, cut: Crossing) -> list[fx.Node]:
        """Return the nodes of the head in order of execution, with unused ones that may write in place."""
        needed: set[fx.Node] = set()
        for node in reversed(self.nodes[: self.position[cut.node] + 1]):
            used = node is cut.node or not needed.isdisjoint(node.users)
            if used or node.op == "placeholder" or may_write(node):
                needed.add(node)
        return [node for node in self.nodes if node in needed]

    def tail_nodes(self, cut: Crossing) -> list[fx.Node]:
        """Return the nodes of the tail in order of execution: all that the output needs, from the crossing tensor on.

        They include constants that are computed before the cut, and unused nodes that may write in place.
        """
        needed: set[fx.Node] = set()
        for node in reversed(self.nodes):
            if node is cut.node or node in cut.shapes:
                continue
            if node.op == "output" or not needed.isdisjoint(node.users) or self._writes_for(node, cut, needed):
                needed.add(node)
        return [node for node in self.nodes if node in needed]

    def _writes_for(self, node: fx.Node, cut: Crossing, needed: set[fx.Node]) -> bool:
        if not may_write(node):
            return False
        if node in self.data:
            return self.position[node] > self.position[cut.node]
        written = any(not needed.isdisjoint(target.users) for target in _written_by(node))
        return written or node not in self.shapes

    def _is_complete(self, cut: Crossing) -> bool:
        after = self.position[cut.node]
        return all(self.position[node] > after for node in self.tail_nodes(cut) if node in self.data)

    def _is_data(self, node: fx.Node) -> bool:
        return node in self.data or node.op == "output"

    def _data(self, start: fx.Node) -> set[fx.Node]:
        """Return the nodes that depend on values of the input: tensors, and numbers read from tensors."""
        data = {start}
        while True:
            count = len(data)
            for node in self.nodes:
                if node.op == "output" or data.isdisjoint(node.all_input_nodes):
                    continue
                if _has_tensors(self.values[node][0]) or _name(node) in _READS_VALUES:
                    data.add(node)
                if may_write(node) and node.op != "call_module":
                    data |= {node, *_written_by(node)}
            if len(data) == count:
                return data

    def _shapes(self) -> dict[fx.Node, int]:
        """Return the nodes that depend on shapes of data only, each with the position from which it can be computed."""
        ready: dict[fx.Node, int] = {}
        for node in self.nodes:
            inputs = [other for other in node.all_input_nodes if other in self.data or other in ready]
            if inputs and not self._is_data(node):
                ready[node] = max(self.position[other] if other in self.data else ready[other] for other in inputs)
        return ready

    def _end(self, node: fx.Node) -> int:
        """Return the last position at which a shape value is used."""
        return max(
            (self.position[user] if self._is_data(user) else self.shapes[user] for user in node.users), default=-1
        )

    def _sources(self, crossing: fx.Node, ends: dict[fx.Node, int]) -> dict[fx.Node, Any] | None:
        """Return the sources of the shape values that cross together with a tensor, or None if one has no source."""
        at = self.position[crossing]
        found: dict[fx.Node, Any] = {}
        for node, ready in self.shapes.items():
            if ready <= at < ends[node] and not self._resolve(node, crossing, found):
                return None
        return found

    def _resolve(self, node: fx.Node, crossing: fx.Node, found: dict[fx.Node, Any]) -> bool:
        """Add the source of a shape value, or of those that it is computed from. False if there is none."""
        if node in found:
            return True
        source = _source(self.values[node], self.values[crossing])
        if source is not None:
            found[node] = source
            return True
        if node.op not in ("call_function", "call_method", "call_module"):
            return False
        return all(
            other is crossing
            or (self._resolve(other, crossing, found) if other in self.shapes else other not in self.data)
            for other in node.all_input_nodes
        )


def _written_by(node: fx.Node) -> Iterator[fx.Node]:
    """Yield the node that an in-place operation writes to, and those that it is a view of."""
    target: Any = node.kwargs.get("out") or (node.args[0] if node.args else None)
    while isinstance(target, fx.Node) and target.op in ("call_function", "call_method"):
        yield target
        target = target.args[0] if target.args else None


def _has_tensors(value: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in output_leaves(value))


def _name(node: fx.Node) -> str:
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target._schema.name.partition("::")[2])
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _source(values: Sequence[Any], tensors: Sequence[Any]) -> Any:
    """Return the source of a shape value, from its value on each probe; None if it has none."""
    if not isinstance(values[0], (tuple, list)):
        return _number_source(values, tensors)
    parts = tuple(_number_source(column, tensors) for column in zip(*values, strict=True))
    return None if any(part is None for part in parts) else parts


def _number_source(column: Sequence[Any], tensors: Sequence[Any]) -> Any:
    if not all(isinstance(v, (int, float, bool, str, torch.dtype, torch.device)) for v in column):
        return None
    if len(set(column)) == 1:
        return column[0]
    if not all(isinstance(t, Tensor) for t in tensors):
        return None
    for axis in range(tensors[0].ndim):
        if all(v == t.shape[axis] for v, t in zip(column, tensors, strict=True)):
            return Axis(axis)
    return None


def _node_values(module: fx.GraphModule, probe: Tensor) -> dict[fx.Node, Any]:
    """Return the value of each node on a probe."""
    values: dict[fx.Node, Any] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            values[n] = torch.utils._pytree.tree_map(_meta_tensor, result)
            return result

    try:
        with torch.inference_mode():
            Recorder(module).run(probe.clone())
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise PluginError(f"the model does not run on an input of shape {tuple(probe.shape)}: {reason}") from error
    return values


def _meta_tensor(value: Any) -> Any:
    return torch.empty(value.shape, dtype=value.dtype, device="meta") if isinstance(value, Tensor) else value


def last_in_scope(nodes: Sequence[fx.Node]) -> dict[fx.Node, str]:
    """Map each node that is the last one of a module call to the path of the outermost such module."""
    last: dict[str, tuple[fx.Node, str]] = {}
    for node in nodes:
        for call, (path, _kind) in node.meta.get("nn_module_stack", {}).items():
            last[call] = node, path
    names: dict[fx.Node, str] = {}
    for node, path in last.values():
        if path and (node not in names or len(path) < len(names[node])):
            names[node] = path
    return names


def producer_of(node: fx.Node) -> fx.Node:
    """Return the node of the tuple that this node is an item of, or the node itself."""
    producer = node.args[0] if node.target is operator.getitem else node
    return producer if isinstance(producer, fx.Node) else node
