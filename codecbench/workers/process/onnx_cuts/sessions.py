"""Runs ONNX graphs by onnxruntime on torch tensors, with as many threads as torch has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from codecbench.errors import PluginError, one_line

CHANGES_VALUES = (
    "AttentionFusion", "BiasGeluFusion", "BiasSoftmaxFusion", "ConvAddFusion", "ConvBNFusion", "ConvMulFusion",
    "DynamicQuantizeMatMulFusion", "EliminateIdentity", "EmbedLayerNormFusion", "FastGeluFusion", "GeluFusion",
    "GeluFusionL1", "GeluFusionL2", "GemmSumFusion", "LayerNormFusion", "MatMulAddFusion", "MatMulBNFusion",
    "MatMulScaleFusion", "MatmulBNFusion", "NchwcTransformer", "QuickGeluFusion", "SimplifiedLayerNormFusion",
    "SkipLayerNormFusion",
)  # fmt: skip
"""Optimisers of onnxruntime that compute another formula than the file's, so that a cut would give other values.

NchwcTransformer lays pictures out in blocks, and adds a residual within a convolution only where both come so.
"""


class OnnxPart:
    """A model, a head or a tail as a function of a batch: `model` with one input, run on the CPU.

    Half-precision activations cross as float32 of equal values: `half_output` is True for a head that makes such.
    `one_by_one` is True if the graph takes batches of one only. `crossing` is the value that a head ends with.
    """

    def __init__(
        self,
        model: ModelProto,
        input_name: str,
        *,
        one_by_one: bool,
        half_output: bool = False,
        crossing: str = "",
    ) -> None:
        self.input_name = input_name
        self.one_by_one = one_by_one
        self.half_output = half_output
        self.crossing = crossing
        self._bytes = serialised(model)
        self._threads = 0
        self._session: Any = None

    def __call__(self, batch: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the output, or a tuple of the outputs, for a batch."""
        session = self.session()
        values = batch.detach().cpu().numpy()
        kind = input_kind(session)
        values = values if values.dtype == kind else values.astype(kind)
        rows = [values[i : i + 1] for i in range(len(values))] if self.one_by_one else [values]
        found = [session.run(None, {self.input_name: row}) for row in rows]
        outputs = [self._output(column, batch) for column in zip(*found, strict=True)]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def session(self) -> Any:
        """Return the session for the present number of torch's threads."""
        threads = torch.get_num_threads()
        if self._session is None or self._threads != threads:
            self._session, self._threads = new_session(self._bytes, threads), threads
        return self._session

    def _output(self, parts: Sequence[NDArray[Any]], batch: Tensor) -> Tensor:
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if self.half_output:
            joined = joined.astype(np.float32)
        # A graph that only hands its input on may give the same memory back.
        return torch.from_numpy(joined.copy() if not joined.flags.owndata else joined).to(batch.device)


def new_session(model: bytes, threads: int, *, optimise: bool = True) -> Any:
    """Return a session of onnxruntime. Raises PluginError if it does not take the model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.use_deterministic_compute = True
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(CHANGES_VALUES)
        )
    except Exception as error:  # its exceptions have no common base but Exception
        raise PluginError(f"onnxruntime does not take the model: {one_line(error)}") from error


def input_kind(session: Any) -> np.dtype[Any]:
    """Return the numpy type of a session's input."""
    name = session.get_inputs()[0].type.removeprefix("tensor(").removesuffix(")")
    kind: np.dtype[Any] = np.dtype({"float": "float32", "double": "float64"}.get(name, name))
    return kind


def serialised(model: ModelProto) -> bytes:
    """Return a model as bytes. Raises PluginError if it has more than the 2 GB that its format can hold."""
    try:
        return bytes(model.SerializeToString())
    except Exception as error:
        raise PluginError(f"the model does not fit in memory as one ONNX file: {one_line(error)}") from error
