"""Layers in a worker process: describes those of the full model, and times random ones for a device profile."""

from __future__ import annotations

from codecbench.devices.layers import describe
from codecbench.devices.timing import measure_block, measure_call, measure_general, measure_rates
from codecbench.workers.process.models import ModelProcess, OperationResult
from codecbench.workers.protocol import Reply


class LayersProcess(ModelProcess):
    """A process that describes the full model's layers and times single ones."""

    def op_layers(self, request: Reply) -> OperationResult:
        """Return the layers of the full model on one sample, in the form of `ModelLayers.to_json`."""
        models = self.models
        x = models.input_batch(request.fields["subset"], request.fields["position"])
        cuts = {cut.name: cut.node for cut in models.split_model.cuts.values()}
        found = describe(models.split_model.traced, cuts, x, weights_sha256=models.workload.weights_sha256())
        return {"layers": found.to_json()}, ()

    def op_measure_layers(self, request: Reply) -> OperationResult:
        """Return the random layers of one block, with the seconds of each, for a device profile."""
        found = measure_block(request.fields["seed"], request.fields["block"])
        return {"layers": [(vars(layer), seconds) for layer, seconds in found]}, ()

    def op_measure_general(self, _request: Reply) -> OperationResult:
        """Return the seconds of plain-code kernels and of calling an empty model, and the machine's rates."""
        return {"kernels_s": measure_general(), "call_s": measure_call(), "rates": measure_rates()}, ()
