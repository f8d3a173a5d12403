"""Cuts a traced model into head and tail, wherever exactly one tensor crosses the cut.

The model is traced by torch.fx, or by torch.export where that cannot (`graphs.tracing`). Where exactly one of the
values that are already computed and still needed is a tensor that depends on the input, the graph can be cut
(`graphs.liveness`). Weights and constants exist on both sides. Live shape integers are not sent: the tail reads them
from the shape of the crossing tensor, or has them as constants. Where neither is possible, there is no cut.

A model of float16 or bfloat16 values sends float32 tensors of the same values, and turns them back in the tail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from codecbench.codec import DTYPE_BYTES, TensorSpec
from codecbench.devices.layers import ModelLayers, describe
from codecbench.errors import PluginError, UsageError
from codecbench.measure import count_flop, tensor_peak_bytes
from codecbench.names import suggestion
from codecbench.system.weights import state_sha256
from codecbench.workers.process.cut_model import Cut, Part
from codecbench.workers.process.graphs.liveness import Axis, Crossing, GraphValues, last_in_scope, producer_of
from codecbench.workers.process.graphs.outputs import NARROW, SampleBySample, same_outputs
from codecbench.workers.process.graphs.tracing import trace

INPUT = "input"


@dataclass(frozen=True)
class GraphCut(Cut):
    """A split point of a traced model. `dtype` is that of the crossing tensor within the model."""

    crossing: Crossing
    dtype: torch.dtype

    @property
    def node(self) -> fx.Node:
        """The node that makes the crossing tensor."""
        return self.crossing.node


class SplitModel:
    """A traced model with its cuts. `model` is put in evaluation mode.

    `probes` are input batches of at least two batch sizes and, if an axis varies, of at least two lengths, the longest
    among them. Shape values that are equal on all probes are constants.

    Raises PluginError if the model cannot be traced, or if it does not take exactly one input.
    """

    def __init__(self, model: nn.Module, probes: Sequence[Tensor], input_spec: TensorSpec) -> None:
        self.model = model.eval()
        found = trace(self.model, probes)
        self.way, self.traced, self._full = found.way, found.module, found.full
        self._one_by_one = found.one_by_one
        self.probes = probes
        self.input_spec = input_spec
        self._probed = [probe[:1] for probe in probes] if found.one_by_one else probes
        self._graph = GraphValues(self.traced, self._probed)
        self.cuts = {cut.name: cut for cut in self._find_cuts()}

    @property
    def full(self) -> nn.Module:
        """The model without a cut, in a form that takes batches of the input's dtype."""
        return self._full

    @property
    def differentiable(self) -> bool:
        """True: gradients flow through the tails."""
        return True

    def cut(self, name: str) -> GraphCut:
        """Return the cut of that name. Raises UsageError, with the nearest name, if there is none."""
        if name not in self.cuts:
            raise UsageError(f"no split point {name!r}{suggestion(name, self.cuts) or '; see codecbench list splits'}")
        return self.cuts[name]

    def split(self, name: str) -> tuple[nn.Module, nn.Module]:
        """Return head and tail at a cut; they share the model's weights.

        The tail does not change its input. Raises PluginError unless `tail(head(x))` has the values of `full(x)` on
        the probes.
        """
        cut = self.cut(name)
        head, tail = self._head(cut), self._tail(cut)
        if self._tail_writes_input(head, tail):
            tail = self._tail(cut, copy=True)
        if self._one_by_one:
            head, tail = SampleBySample(head), SampleBySample(tail)
        with torch.inference_mode():
            for probe in self.probes:
                if not same_outputs(self.full(probe.clone()), tail(head(probe.clone()).clone())):
                    raise PluginError(f"cut at {name!r}: head and tail do not give the full model's output")
        return head, tail

    def layers(self, sample: Tensor) -> ModelLayers:
        """Return the layers of the model on one sample, a batch of one."""
        return describe(self.traced, {cut.name: cut.node for cut in self.cuts.values()}, sample)

    def head_cost(self, head: Part, sample: Tensor) -> tuple[int, int]:
        """Return the FLOPs and the peak bytes of live tensors of a head on one sample, a batch of one."""
        with torch.inference_mode():
            return count_flop(lambda: head(sample)), tensor_peak_bytes(lambda: head(sample))

    def parameters_sha256(self) -> str:
        """Return the hex SHA-256 of all parameters and buffers."""
        return state_sha256(self.model)

    def _find_cuts(self) -> Iterator[GraphCut]:
        scopes = last_in_scope([node for node in self._graph.nodes if node in self._graph.data])
        names: set[str] = set()
        for crossing in self._graph.crossings():
            node = crossing.node
            spec = self.input_spec if node.op == "placeholder" else self._spec(node)
            if spec is None or _is_cast(node):
                continue
            name = INPUT if node.op == "placeholder" else scopes.get(node) or scopes.get(producer_of(node))
            name = self._free_name(node, name or self._inner_name(node), names)
            names.add(name)
            yield GraphCut(name, spec, crossing, self._graph.values[node][0].dtype)

    def _inner_name(self, node: fx.Node) -> str:
        """Return module path and node name, for a tensor that is not a module's output: `stage1.0.add`."""
        path, _kind = next(reversed(node.meta.get("nn_module_stack", {"": ("", None)}).values()), ("", None))
        # The numbers of an exported graph's nodes count all operators of one kind in the model.
        own = node.name if self.way == "fx" else re.sub(r"_?(_\d+)?$", "", node.name)
        return f"{path}.{own}" if path else own

    def _free_name(self, node: fx.Node, name: str, taken: set[str]) -> str:
        if name not in taken:
            return name
        if self.way == "fx":
            return node.name
        return next(free for number in range(1, len(taken) + 2) if (free := f"{name}_{number}") not in taken)

    def _spec(self, node: fx.Node) -> TensorSpec | None:
        """Return one sample's spec, or None if axis 0 is no batch axis or two axes vary."""
        tensors = self._graph.values[node]
        if not all(isinstance(t, Tensor) for t in tensors):
            return None
        own = str(tensors[0].dtype).removeprefix("torch.")
        narrow = tensors[0].dtype in NARROW
        dtype = "float32" if narrow else own
        ranks = {t.ndim for t in tensors}
        if dtype not in DTYPE_BYTES or ranks != {tensors[0].ndim} or 0 in ranks:
            return None
        if any(t.shape[0] != probe.shape[0] for t, probe in zip(tensors, self._probed, strict=True)):
            return None
        lengths = [{t.shape[axis] for t in tensors} for axis in range(1, tensors[0].ndim)]
        varying = [max(n) for n in lengths if len(n) > 1]
        if len(varying) > 1:
            return None
        shape = tuple(None if len(n) > 1 else next(iter(n)) for n in lengths)
        return TensorSpec(shape, dtype, max_length=varying[0] if varying else None, model_dtype=own if narrow else None)

    def _tail_writes_input(self, head: nn.Module, tail: nn.Module) -> bool:
        """True if the tail writes to its input, the codec's tensor, as an in-place ReLU at its start does."""
        # Inference tensors have no version counter, and the caller may be in inference mode.
        with torch.inference_mode(mode=False), torch.no_grad():
            crossing = head(self._probed[0].clone()).clone()
            before = crossing._version
            tail(crossing)
            return bool(crossing._version != before)

    def _head(self, cut: GraphCut) -> nn.Module:
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self._graph.head_nodes(cut.crossing):
            copies[node] = graph.node_copy(node, lambda n: copies[n])
        crossing = copies[cut.node]
        graph.output(graph.call_method("float", (crossing,)) if cut.dtype in NARROW else crossing)
        return _module(self.traced, graph)

    def _tail(self, cut: GraphCut, *, copy: bool = False) -> nn.Module:
        graph = fx.Graph()
        crossing = graph.placeholder("crossing")
        crossing = graph.call_method("clone", (crossing,)) if copy else crossing
        if cut.dtype in NARROW:
            crossing = graph.call_method("to", (crossing, cut.dtype))
        copies: dict[fx.Node, Any] = {cut.node: crossing}

        def from_shape(part: Any) -> Any:
            if isinstance(part, tuple):
                return tuple(from_shape(p) for p in part)
            return graph.call_method("size", (crossing, part.axis)) if isinstance(part, Axis) else part

        for node, part in cut.crossing.shapes.items():
            copies[node] = from_shape(part)
        for node in self._graph.tail_nodes(cut.crossing):
            # Copies arguments one by one, because a constant may replace the node of a shape value.
            copies[node] = _copy(graph, node, lambda n: copies[n])
        return _module(self.traced, graph)


def _copy(graph: fx.Graph, node: fx.Node, get: Callable[[fx.Node], Any]) -> fx.Node:
    args: Any = fx.node.map_arg(node.args, get)
    kwargs: Any = fx.node.map_arg(node.kwargs, get)
    if node.op == "output":
        output: fx.Node = graph.output(args[0])
        return output
    return graph.create_node(node.op, node.target, args, kwargs, node.name)


def _is_cast(node: fx.Node) -> bool:
    """True for the node that turns the input into the model's own dtype: it is no place to cut."""
    before = node.args[0] if node.args else None
    return node.target == "to" and isinstance(before, fx.Node) and before.op == "placeholder"


def _module(traced: fx.GraphModule, graph: fx.Graph) -> nn.Module:
    graph.lint()
    return fx.GraphModule(traced, graph).eval()
