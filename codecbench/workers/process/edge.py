"""The edge's model process: runs the tail on decoded tensors, scores its outputs, and times it. It reads no data."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from codecbench.errors import CodecFailure, DataError, FailureCode
from codecbench.results.outcomes import Columns, joined
from codecbench.results.repeats import is_finite
from codecbench.workers.process.models import ModelProcess
from codecbench.workers.protocol import MODEL_BATCH, OperationResult, Reply, pack_arrays, pack_columns, unpack_arrays
from codecbench.workers.tensor_file import TensorFile, copies


class EdgeProcess(ModelProcess):
    """Serves the operations of the edge's model process.

    What a decoder wrote is checked here once more: the checks of a codec's own process are within the codec's reach.
    """

    def op_score(self, request: Reply) -> OperationResult:
        """Run the tail on decoded tensors of a file, and return the outcomes of the samples that are not exact.

        Where `exact` is true, the decoded tensor is the activation itself, whose outcome is known; a batch of such
        samples does not run. Where `finite` is true, the activation is finite, and so the decoded tensor has to be.
        """
        fields = request.fields
        (targets_blob,) = request.blobs
        scored: list[Columns] = []
        file = TensorFile.from_json(fields["tensors"])
        decoded = file.read_rows(fields["first_row"], fields["shapes"])
        file.close()
        targets = pickle.loads(targets_blob)  # noqa: S301 - from the device's model process
        finite = fields["finite"]
        for start in range(0, len(decoded), MODEL_BATCH):
            rows = range(start, min(start + MODEL_BATCH, len(decoded)))
            changed = [row for row in rows if not fields["exact"][row]]
            if not changed:
                continue
            if not all(is_finite(decoded[row]) for row in rows if finite[row]):
                raise CodecFailure("decode gave values that are not finite", code=FailureCode.NOT_FINITE)
            outputs = self._outputs(decoded[rows.start : rows.stop])
            scored.append(
                self.models.score([outputs[row - start] for row in changed], [targets[row] for row in changed])
            )
        headers, blobs = pack_columns(joined(scored))
        return {"outcomes": headers}, blobs

    def op_run_tail(self, request: Reply) -> OperationResult:
        """Return the model's outputs for one decoded tensor."""
        (outputs,) = self._outputs(unpack_arrays(request.fields["arrays"], request.blobs))
        headers, blobs = pack_arrays(outputs)
        return {"arrays": headers}, blobs

    def op_time_tail(self, request: Reply) -> OperationResult:
        """Return the seconds of the tail on one decoded tensor."""
        (x,) = copies(unpack_arrays(request.fields["arrays"], request.blobs))
        return {"tail_s": self.models.time(self.tail, x)}, ()

    def _outputs(self, decoded: Sequence[NDArray[Any]]) -> list[tuple[NDArray[Any], ...]]:
        """Return the tail's outputs for decoded tensors.

        Raises CodecFailure if the tail fails on integers, which may be indices: a codec has made them invalid.
        """
        try:
            return self.models.run(self.tail, decoded)
        except DataError as error:
            if any(tensor.dtype.kind == "f" for tensor in decoded):
                raise
            raise CodecFailure(f"the model does not take the decoded tensor: {error}") from error
