"""Cuts a traced model into head and tail, wherever exactly one tensor crosses the cut.

The model is traced by torch.fx. After each node, the *live* values are those already computed and still needed. Where
exactly one of them is a tensor that depends on the input, the graph can be cut. Weights and constants exist on both
sides. Live shape integers are not sent: the tail reads them from the shape of the crossing tensor, or has them as
constants. Where neither is possible, there is no cut.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from codecbench.codec import DTYPE_BYTES, TensorSpec
from codecbench.errors import PluginError, UsageError
from codecbench.names import suggestion

INPUT = "input"


@dataclass(frozen=True)
class Cut:
    """A split point: its name, the tensor spec of one sample, the node that makes the tensor, and shape values.

    `shapes` maps the node of each live shape value to its source in the tail: an axis of the crossing tensor, or a
    constant.
    """

    name: str
    spec: TensorSpec
    node: fx.Node
    shapes: dict[fx.Node, Any]


@dataclass(frozen=True)
class _Axis:
    """The length of an axis of the crossing tensor."""

    axis: int


class SplitModel:
    """A traced model with its cuts. `model` is put in evaluation mode.

    `probes` are input batches of at least two batch sizes and, if an axis varies, of at least two lengths, the longest
    among them. Shape values that are equal on all probes are constants.

    Raises PluginError if torch.fx cannot trace the model, or if it does not take exactly one input.
    """

    def __init__(self, model: nn.Module, probes: Sequence[Tensor], input_spec: TensorSpec) -> None:
        self.model = model.eval()
        self.traced = _traced(self.model)
        _drop_unused_items(self.traced)
        self.nodes = list(self.traced.graph.nodes)
        self.probes = probes
        self.input_spec = input_spec
        inputs = [node for node in self.nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            raise PluginError(f"the model takes {len(inputs)} inputs; a workload's model takes one tensor")
        values = [_node_values(self.traced, probe) for probe in probes]
        self._values = {node: [v[node] for v in values] for node in values[0]}
        self._dependent = _dependent_on(inputs[0], self.nodes)
        self._position = {node: i for i, node in enumerate(self.nodes)}
        self.cuts = {cut.name: cut for cut in self._find_cuts()}

    def cut(self, name: str) -> Cut:
        """Return the cut of that name. Raises UsageError, with the nearest name, if there is none."""
        if name not in self.cuts:
            raise UsageError(f"no split point {name!r}{suggestion(name, self.cuts) or '; see codecbench list splits'}")
        return self.cuts[name]

    def split(self, name: str) -> tuple[nn.Module, nn.Module]:
        """Return head and tail at a cut; they share the model's weights.

        The tail does not change its input. Raises PluginError unless `tail(head(x))` has the values of `model(x)` on
        the probes.
        """
        cut = self.cut(name)
        head, tail = self._head(cut), self._tail(cut)
        if self._tail_writes_input(head, tail):
            tail = self._tail(cut, copy=True)
        with torch.inference_mode():
            for probe in self.probes:
                full, parts = _leaves(self.model(probe.clone())), _leaves(tail(head(probe.clone()).clone()))
                if len(full) != len(parts) or not all(map(same_values, full, parts)):
                    raise PluginError(f"cut at {name!r}: head and tail do not give the full model's output")
        return head, tail

    def _find_cuts(self) -> list[Cut]:
        last_use = {node: max((self._position[user] for user in node.users), default=-1) for node in self.nodes}
        scopes = _last_in_scope(self.nodes)
        found: dict[fx.Node, Cut] = {}
        names: set[str] = set()
        for i, node in enumerate(self.nodes[:-1]):
            live = [n for n in self.nodes[: i + 1] if n in self._dependent and last_use[n] > i]
            tensors = [n for n in live if self._is_tensor(n)]
            if len(tensors) != 1 or tensors[0] in found or node.op == "output":
                continue
            crossing = tensors[0]
            shapes = self._shapes(crossing, [n for n in live if n is not crossing])
            spec = self._spec(crossing)
            if shapes is None or spec is None or not self._tail_is_complete(crossing, shapes):
                continue
            name = scopes.get(crossing) or scopes.get(_producer_of(crossing)) or _inner_name(crossing)
            name = INPUT if crossing.op == "placeholder" else name
            name = name if name not in names else crossing.name
            names.add(name)
            found[crossing] = Cut(name, self.input_spec if crossing.op == "placeholder" else spec, crossing, shapes)
        return list(found.values())

    def _is_tensor(self, node: fx.Node) -> bool:
        # A tuple of tensors, as a GRU returns, counts as one: it is no shape value. `_spec` rejects it as a cut.
        return any(isinstance(leaf, Tensor) for leaf in _leaves(self._values[node][0]))

    def _shapes(self, crossing: fx.Node, others: list[fx.Node]) -> dict[fx.Node, Any] | None:
        """Return the source of each shape value in the tail, or None if one has no source."""
        tensors = self._values[crossing]
        result: dict[fx.Node, Any] = {}
        for node in others:
            values = self._values[node]
            many = isinstance(values[0], (tuple, list))
            columns = list(zip(*values, strict=True)) if many else [tuple(values)]
            parts = [_shape_source(column, tensors) for column in columns]
            if any(part is None for part in parts):
                return None
            result[node] = tuple(parts) if many else parts[0]
        return result

    def _spec(self, crossing: fx.Node) -> TensorSpec | None:
        """Return one sample's spec, or None if axis 0 is no batch axis or two axes vary."""
        tensors = self._values[crossing]
        if not all(isinstance(t, Tensor) for t in tensors):
            return None
        dtype = str(tensors[0].dtype).removeprefix("torch.")
        ranks = {t.ndim for t in tensors}
        if dtype not in DTYPE_BYTES or ranks != {tensors[0].ndim} or 0 in ranks:
            return None
        if any(t.shape[0] != probe.shape[0] for t, probe in zip(tensors, self.probes, strict=True)):
            return None
        lengths = [{t.shape[axis] for t in tensors} for axis in range(1, tensors[0].ndim)]
        varying = [max(n) for n in lengths if len(n) > 1]
        if len(varying) > 1:
            return None
        shape = tuple(None if len(n) > 1 else next(iter(n)) for n in lengths)
        return TensorSpec(shape, dtype, max_length=varying[0] if varying else None)

    def _tail_nodes(self, crossing: fx.Node, shapes: dict[fx.Node, Any]) -> list[fx.Node]:
        """Return the nodes of the tail in execution order: all that the output needs, from the crossing tensor on.

        They include constants that are computed before the cut, and unused nodes that may write in place.
        """
        needed: set[fx.Node] = set()
        for node in reversed(self.nodes):
            if node is crossing or node in shapes:
                continue
            in_tail = self._position[node] > self._position[crossing] or node not in self._dependent
            if node.op == "output" or not needed.isdisjoint(node.users) or (in_tail and _may_write(node)):
                needed.add(node)
        return [node for node in self.nodes if node in needed]

    def _tail_is_complete(self, crossing: fx.Node, shapes: dict[fx.Node, Any]) -> bool:
        """True if the crossing tensor and the shapes are all that the tail needs from the head."""
        tail = self._tail_nodes(crossing, shapes)
        return all(self._position[n] > self._position[crossing] for n in tail if n in self._dependent)

    def _tail_writes_input(self, head: nn.Module, tail: nn.Module) -> bool:
        """True if the tail writes to its input, the codec's tensor, as an in-place ReLU at its start does."""
        # Inference tensors have no version counter, and the caller may be in inference mode.
        with torch.inference_mode(mode=False), torch.no_grad():
            crossing = head(self.probes[0].clone()).clone()
            before = crossing._version
            tail(crossing)
            return bool(crossing._version != before)

    def _head(self, cut: Cut) -> nn.Module:
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self.nodes:
            copies[node] = graph.node_copy(node, lambda n: copies[n])
            if node is cut.node:
                break
        graph.output(copies[cut.node])
        return _module(self.traced, graph)

    def _tail(self, cut: Cut, *, copy: bool = False) -> nn.Module:
        graph = fx.Graph()
        crossing = graph.placeholder("crossing")
        crossing = graph.call_method("clone", (crossing,)) if copy else crossing
        copies: dict[fx.Node, Any] = {cut.node: crossing}

        def from_shape(part: Any) -> Any:
            if isinstance(part, tuple):
                return tuple(from_shape(p) for p in part)
            return graph.call_method("size", (crossing, part.axis)) if isinstance(part, _Axis) else part

        for node, part in cut.shapes.items():
            copies[node] = from_shape(part)
        for node in self._tail_nodes(cut.node, cut.shapes):
            # Copies arguments one by one, because a constant may replace the node of a shape value.
            copies[node] = _copy(graph, node, lambda n: copies[n])
        return _module(self.traced, graph)


def same_values(left: Tensor, right: Tensor) -> bool:
    """True if two tensors are equal in shape, dtype and all values; values that are not numbers equal one another."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return bool(torch.equal(left, right) or ((left == right) | ((left != left) & (right != right))).all())


def _copy(graph: fx.Graph, node: fx.Node, get: Callable[[fx.Node], Any]) -> fx.Node:
    args: Any = fx.node.map_arg(node.args, get)
    kwargs: Any = fx.node.map_arg(node.kwargs, get)
    if node.op == "output":
        output: fx.Node = graph.output(args[0])
        return output
    return graph.create_node(node.op, node.target, args, kwargs, node.name)


def _may_write(node: fx.Node) -> bool:
    """True if a node may write to a tensor in place, so that it is needed even if its result is not used."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    in_place = name == "setitem" or (name.endswith("_") and not name.endswith("__"))
    return node.op == "call_module" or in_place or not {"inplace", "out"}.isdisjoint(node.kwargs)


def _traced(model: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(model)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise PluginError(
            f"torch.fx cannot trace {type(model).__name__}: {reason}; remove data-dependent control flow"
        ) from error


def _module(traced: fx.GraphModule, graph: fx.Graph) -> nn.Module:
    graph.lint()
    return fx.GraphModule(traced, graph).eval()


def _shape_source(column: tuple[Any, ...], tensors: list[Tensor]) -> Any:
    """Return the source of a shape value, given on each probe: a constant, an axis of the crossing tensor, or None."""
    if not all(isinstance(v, (int, float, bool, str, torch.dtype, torch.device)) for v in column):
        return None
    if len(set(column)) == 1:
        return column[0]
    for axis in range(tensors[0].ndim):
        if all(v == t.shape[axis] for v, t in zip(column, tensors, strict=True)):
            return _Axis(axis)
    return None


def _dependent_on(start: fx.Node, nodes: list[fx.Node]) -> set[fx.Node]:
    dependent = {start}
    for node in nodes:
        if any(n in dependent for n in node.all_input_nodes):
            dependent.add(node)
    return dependent


def _drop_unused_items(traced: fx.GraphModule) -> None:
    """Erase unused `getitem` nodes, such as a GRU's last state in `outputs, _ = gru(x)`.

    A tail would otherwise compute all that they depend on. `getitem` has no side effects, so nothing is lost. Other
    unused nodes stay, because they may be in-place operations.
    """
    for node in reversed(traced.graph.nodes):
        if node.target is operator.getitem and not node.users:
            traced.graph.erase_node(node)
    traced.recompile()


def _last_in_scope(nodes: list[fx.Node]) -> dict[fx.Node, str]:
    """Map each node that is the last one of a module call to the path of the outermost such module."""
    last: dict[str, fx.Node] = {}
    for node in nodes:
        for scope in node.meta.get("nn_module_stack", {}):
            last[scope] = node
    names: dict[fx.Node, str] = {}
    for scope, node in last.items():
        if scope and (node not in names or len(scope) < len(names[node])):
            names[node] = scope
    return names


def _producer_of(node: fx.Node) -> fx.Node:
    """Return the node of the tuple that this node is an item of, or the node itself."""
    producer = node.args[0] if node.target is operator.getitem else node
    return producer if isinstance(producer, fx.Node) else node


def _inner_name(node: fx.Node) -> str:
    """Return module path and node name, for a tensor that is not a module's output: `stage1.0.add`."""
    path, _kind = next(reversed(node.meta.get("nn_module_stack", {"": ("", None)}).values()))
    return f"{path}.{node.name}" if path else node.name


def _node_values(traced: fx.GraphModule, probe: Tensor) -> dict[fx.Node, Any]:
    """Return the value of each node on a probe, with meta tensors in place of tensors to save memory."""
    values: dict[fx.Node, Any] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            values[n] = torch.utils._pytree.tree_map(_meta_tensor, result)
            return result

    try:
        with torch.inference_mode():
            Recorder(traced).run(probe.clone())
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise PluginError(f"the model does not run on an input of shape {tuple(probe.shape)}: {reason}") from error
    return values


def _meta_tensor(value: Any) -> Any:
    return torch.empty(value.shape, dtype=value.dtype, device="meta") if isinstance(value, Tensor) else value


def _leaves(value: Any) -> list[Any]:
    return list(torch.utils._pytree.tree_leaves(value))
