"""The device's model process: reads inputs, runs heads and the full model, scores it, and times heads and layers."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codecbench import measure
from codecbench.descriptions.data_hash import data_sha256
from codecbench.descriptions.describe import describe_workload
from codecbench.descriptions.splits import chosen_splits
from codecbench.devices.timing import measure_block, measure_call, measure_general, measure_rates
from codecbench.errors import one_line
from codecbench.names import suggestion
from codecbench.operating_points import STATISTICS_SAMPLES, TensorStatistics
from codecbench.results.outcomes import TWO_LOOKS
from codecbench.workers.process.models import ModelProcess
from codecbench.workers.protocol import OperationResult, Reply, pack_arrays, pack_columns, unpack_columns
from codecbench.workers.tensor_file import TensorFile, copies


class DeviceProcess(ModelProcess):
    """Serves the operations of the device's model process."""

    def __init__(self) -> None:
        super().__init__()
        self._inputs: dict[int, Tensor] = {}

    def op_describe_workload(self, _request: Reply) -> OperationResult:
        """Return what a run has to know of the workload, once a few of its samples have been checked."""
        checked, cuts = self.models.workload, self.models.cut_model.cuts
        info = replace(describe_workload(checked.workload), differentiable=self.models.cut_model.differentiable)
        if not info.default_splits:
            info = replace(info, default_splits=chosen_splits({name: cut.spec for name, cut in cuts.items()}))
        wrong = next((name for name in info.default_splits if name not in cuts), None)
        if wrong is not None:
            near = suggestion(wrong, cuts) or f"; it has {', '.join(cuts)}"
            checked.refuse("default_splits", f"default_splits has {wrong!r}, which is no split point{near}")
        self.models.check_samples({subset: len(ids) for subset, ids in info.sample_ids.items()})
        return {"info": info.to_json()}, ()

    def op_data_hash(self, request: Reply) -> OperationResult:
        """Return the hash of inputs and targets at these positions of each subset."""
        positions, models = request.fields["positions"], self.models
        samples = {
            subset: (
                models.workload.inputs(subset, at),
                () if models.workload.workload.targets_from_model else models.workload.targets(subset, at),
            )
            for subset, at in positions.items()
            if at
        }
        return {"data_hash": data_sha256(samples)}, ()

    def op_statistics(self, request: Reply) -> OperationResult:
        """Return the statistics of the tensors at cuts, over the first training samples; None where there are none."""
        models, names = self.models, request.fields["splits"]
        ids = models.workload.sample_ids("fit")
        inputs = models.workload.inputs("fit", range(min(STATISTICS_SAMPLES, len(ids)))) if ids else []
        found: dict[str, Any] = {}
        for name in names:
            head, _ = models.split(name)
            measured = TensorStatistics.of([output[0] for output in models.run(head, inputs)])
            found[name] = None if measured is None else measured.to_json()
        return {"statistics": found}, ()

    def op_full_model(self, request: Reply) -> OperationResult:
        """Score the full model on the inputs at these positions; return the outcomes, and the seconds it ran."""
        models, subset, positions = self.models, request.fields["subset"], request.fields["positions"]
        inputs = models.workload.inputs(subset, positions)
        outputs, seconds = measure.timed(lambda: models.run(models.full_model, inputs))
        targets = models.targets(subset, positions, inputs, outputs)
        columns = models.score(outputs, targets)
        looks = self._mean_of_looks(inputs, outputs) if request.fields.get("two_looks") else None
        if looks is not None:
            columns |= {TWO_LOOKS + name: column for name, column in models.score(looks, targets).items()}
        headers, blobs = pack_columns(columns)
        return {"forward_s": seconds, "outcomes": headers}, blobs

    def _mean_of_looks(
        self, inputs: Sequence[NDArray[Any]], outputs: Sequence[tuple[NDArray[Any], ...]]
    ) -> list[tuple[NDArray[Any], ...]] | None:
        """Return the means of the outputs and of those for the mirrored inputs; None if they are no class scores."""
        if any(len(found) != 1 or found[0].ndim != 1 or found[0].dtype.kind != "f" for found in outputs):
            return None
        mirrored = self.models.run(self.models.full_model, [np.ascontiguousarray(x[..., ::-1]) for x in inputs])
        return [((one + other) / 2,) for (one,), (other,) in zip(outputs, mirrored, strict=True)]

    def op_metric_values(self, request: Reply) -> OperationResult:
        """Return the value of a set metric for the samples with these outcomes, and for resamples of them."""
        fields = request.fields
        outcomes = unpack_columns(fields["outcomes"], request.blobs)
        found = self.models.metric_values(fields["metric"], outcomes, fields["resamples"])
        headers, blobs = pack_arrays([np.array([found.value]), found.resampled])
        return {"arrays": headers}, blobs

    def op_head(self, request: Reply) -> OperationResult:
        """Run the head on the inputs at these positions, and write the activations to a file.

        Returns their shapes, and the targets, pickled: only the processes of models and fits load them.
        """
        fields, models = request.fields, self.models
        file = TensorFile.from_json(fields["tensors"])
        inputs = models.workload.inputs(fields["subset"], fields["positions"])
        outputs = models.run(self.head, inputs)
        for row, (activation, *_) in enumerate(outputs, fields["first_row"]):
            file.write(row, activation)
        file.close()
        targets = models.targets(fields["subset"], fields["positions"], inputs)
        try:
            blob = pickle.dumps(targets)
        except Exception as error:
            models.workload.refuse("targets", f"targets cannot be sent to another process: {one_line(error)}")
        return {"shapes": [list(sample[0].shape) for sample in outputs]}, [blob]

    # --- one sample -----------------------------------------------------------------------------------------------

    def op_run_head(self, request: Reply) -> OperationResult:
        """Return the activation of one input. The input is kept: a device has its sample before the request starts."""
        position = request.fields["position"]
        if position not in self._inputs:
            (self._inputs[position],) = copies(self.models.workload.inputs(request.fields["subset"], [position]))
        with torch.inference_mode(), self.models.workload.calling("build_model", "the model"):
            activation = self.head(self.models.batch_of_one(self._inputs[position]))[0].cpu()
        headers, blobs = pack_arrays([activation.numpy()])
        return {"arrays": headers}, blobs

    def op_time_head(self, request: Reply) -> OperationResult:
        """Return the seconds of the head on one sample, after one untimed run.

        The tail runs for every cell of a turn and so stays in the caches; the head runs once a turn only.
        """
        (x,) = copies(self.models.workload.inputs(request.fields["subset"], [request.fields["position"]]))
        self.models.time(self.head, x)
        return {"head_s": self.models.time(self.head, x)}, ()

    def op_head_cost(self, request: Reply) -> OperationResult:
        """Return the FLOPs and the peak tensor storage of the head on one sample."""
        x = self.models.input_batch(request.fields["subset"], request.fields["position"])
        with self.models.workload.calling("build_model", "the model"):
            flop, peak = self.models.cut_model.head_cost(self.head, x)
        return {"head_flop": flop, "head_peak_bytes": peak}, ()

    # --- layers -------------------------------------------------------------------------------------------------------

    def op_layers(self, request: Reply) -> OperationResult:
        """Return the layers of the full model on one sample, in the form of `ModelLayers.to_json`."""
        models = self.models
        x = models.input_batch(request.fields["subset"], request.fields["position"])
        found = replace(models.cut_model.layers(x), weights_sha256=models.workload.weights_sha256())
        return {"layers": found.to_json()}, ()

    def op_measure_layers(self, request: Reply) -> OperationResult:
        """Return the random layers of one block, with the seconds of each, for a device profile."""
        found = measure_block(request.fields["seed"], request.fields["block"])
        return {"layers": [(vars(layer), seconds) for layer, seconds in found]}, ()

    def op_measure_general(self, _request: Reply) -> OperationResult:
        """Return the seconds of plain-code kernels and of calling an empty model, and the machine's rates."""
        return {"kernels_s": measure_general(), "call_s": measure_call(), "rates": measure_rates()}, ()
