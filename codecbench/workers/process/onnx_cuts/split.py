"""Cuts an ONNX model into head and tail, wherever exactly one tensor crosses the cut.

Heads and tails are graphs of their own, taken out of the model's by `onnx.utils.Extractor` and run by onnxruntime.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import ValueInfoProto, helper
from onnx.utils import Extractor
from torch import Tensor

from codecbench.codec import DTYPE_BYTES, TensorSpec
from codecbench.devices.layers import ModelLayers
from codecbench.errors import PluginError, UsageError, one_line
from codecbench.names import suggestion
from codecbench.workers.process.cut_model import Cut
from codecbench.workers.process.graphs.outputs import same_values
from codecbench.workers.process.onnx_cuts.graph import OnnxGraph
from codecbench.workers.process.onnx_cuts.layers import describe_graph, head_cost
from codecbench.workers.process.onnx_cuts.sessions import OnnxPart, input_kind, new_session, serialised
from codecbench.workload import OnnxModel


@dataclass(frozen=True)
class OnnxCut(Cut):
    """A split point of an ONNX model: the value that crosses."""

    value: str


@dataclass(frozen=True)
class Shaped:
    """The shape and type of a value on a probe."""

    shape: tuple[int, ...]
    dtype: str


class OnnxSplit:
    """An ONNX model with its cuts.

    `probes` are input batches of at least two sizes and, if an axis varies, of at least two lengths. Raises PluginError
    if the model cannot be cut or does not run on them, and DataError if the file cannot be read.
    """

    def __init__(self, model: OnnxModel, probes: Sequence[Tensor], input_spec: TensorSpec) -> None:
        self.graph = OnnxGraph(model)
        self.probes = probes
        self.input_spec = input_spec
        self.one_by_one = self.graph.fixed_batch
        self.full = OnnxPart(self.graph.model, self.graph.input_name, one_by_one=self.one_by_one)
        self._extractor = Extractor(self.graph.model)
        self.cuts: Mapping[str, OnnxCut] = {cut.name: cut for cut in self._find_cuts()}
        self._parts: dict[str, tuple[OnnxPart, OnnxPart]] = {}

    @property
    def differentiable(self) -> bool:
        """False: no gradient flows through a graph that onnxruntime runs."""
        return False

    def split(self, name: str) -> tuple[OnnxPart, OnnxPart]:
        """Return head and tail at a cut, made and checked when they are first used.

        Raises UsageError if there is no such cut, and PluginError unless `tail(head(x))` has the values of `full(x)` on
        the probes, bit for bit.
        """
        if name not in self.cuts:
            raise UsageError(f"no split point {name!r}{suggestion(name, self.cuts) or '; see codecbench list splits'}")
        if name not in self._parts:
            head, tail = self._head(self.cuts[name]), self._tail(self.cuts[name])
            for probe in self.probes:
                full, parts = _leaves(self.full(probe)), _leaves(tail(head(probe)))
                if len(full) != len(parts) or not all(map(same_values, full, parts)):
                    raise PluginError(f"cut at {name!r}: head and tail do not give the full model's output")
            self._parts[name] = head, tail
        return self._parts[name]

    def layers(self, sample: Tensor) -> ModelLayers:
        """Return the layers of the model on one sample, a batch of one."""
        values = {cut.name: cut.value for cut in self.cuts.values()}
        return describe_graph(self.graph, values, sample)

    def head_cost(self, head: Any, sample: Tensor) -> tuple[int, int]:
        """Return the FLOPs and the peak bytes of live tensors of a head on one sample, a batch of one."""
        return head_cost(self.graph, head.crossing, sample)

    def parameters_sha256(self) -> str:
        """Return the hex SHA-256 of the model, weights included."""
        return hashlib.sha256(self.graph.model.SerializeToString(deterministic=True)).hexdigest()

    def _head(self, cut: OnnxCut) -> Any:
        if cut.value == self.graph.input_name:
            return _Unchanged(cut.value)
        model = self._extractor.extract_model([self.graph.input_name], [cut.value])
        return OnnxPart(
            model,
            self.graph.input_name,
            one_by_one=self.one_by_one,
            half_output=cut.spec.model_dtype is not None,
            crossing=cut.value,
        )

    def _tail(self, cut: OnnxCut) -> OnnxPart:
        if cut.value == self.graph.input_name:
            return self.full
        model = self._extractor.extract_model([cut.value], self.graph.output_names)
        return OnnxPart(model, cut.value, one_by_one=self.one_by_one)

    def _find_cuts(self) -> list[OnnxCut]:
        crossings = self.graph.crossings()
        shaped = [self._shapes(probe, crossings[1:]) for probe in self.probes]
        for value in crossings[1:]:
            if value not in self._extractor.value_infos:
                self._extractor.value_infos[value] = _typed(value, shaped[0][value].dtype)
        names = self.graph.cut_names(crossings)
        cuts = []
        for value in crossings:
            first = value == self.graph.input_name
            spec = self.input_spec if first else self._spec([at[value] for at in shaped])
            if spec is not None:
                cuts.append(OnnxCut(names[value], spec, value))
        return cuts

    def _shapes(self, probe: Tensor, values: Sequence[str]) -> dict[str, Shaped]:
        """Return shapes and types of values on a probe; on its first sample if samples run one by one."""
        model = self.graph.with_outputs([*values, *self.graph.output_names])
        session = new_session(serialised(model), torch.get_num_threads(), optimise=False)
        batch = (probe[:1] if self.one_by_one else probe).cpu().numpy().astype(input_kind(session))
        try:
            found = session.run(list(values), {self.graph.input_name: batch}) if values else []
        except Exception as error:
            raise PluginError(
                f"the model does not run on an input of shape {tuple(batch.shape)}: {one_line(error)}"
            ) from error
        return {value: Shaped(tuple(array.shape), str(array.dtype)) for value, array in zip(values, found, strict=True)}

    def _spec(self, found: Sequence[Shaped]) -> TensorSpec | None:
        """Return one sample's spec, or None if axis 0 is no batch axis or two axes vary."""
        ranks = {len(each.shape) for each in found}
        half = found[0].dtype == "float16"
        dtype = "float32" if half else found[0].dtype
        if dtype not in DTYPE_BYTES or ranks != {len(found[0].shape)} or 0 in ranks:
            return None
        batches = [1 if self.one_by_one else len(probe) for probe in self.probes]
        if any(each.shape[0] != batch for each, batch in zip(found, batches, strict=True)):
            return None
        lengths = [set(axis) for axis in zip(*(each.shape[1:] for each in found), strict=True)]
        varying = [max(axis) for axis in lengths if len(axis) > 1]
        if len(varying) > 1:
            return None
        shape = tuple(None if len(axis) > 1 else next(iter(axis)) for axis in lengths)
        return TensorSpec(
            shape, dtype, max_length=varying[0] if varying else None, model_dtype="float16" if half else None
        )


class _Unchanged:
    """The head at the input: hands a batch on."""

    def __init__(self, crossing: str) -> None:
        self.crossing = crossing

    def __call__(self, batch: Tensor) -> Tensor:
        return batch


def _typed(name: str, dtype: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None)


def _leaves(value: Any) -> list[Tensor]:
    return list(value) if isinstance(value, tuple) else [value]
