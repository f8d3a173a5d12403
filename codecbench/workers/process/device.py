"""The device process: reads inputs, runs heads, encodes, times these steps, and sends requests to the edge over TCP."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from codecbench import measure
from codecbench.links.probe import LinkClient, probe
from codecbench.links.tcp import Address
from codecbench.workers.guard import sealed
from codecbench.workers.offload import request_client
from codecbench.workers.process.activations import HeadProcess
from codecbench.workers.process.codecs import CodecProcess, bytes_only, codec_call
from codecbench.workers.process.layers import LayersProcess
from codecbench.workers.process.models import OperationResult, tensors
from codecbench.workers.protocol import Reply, pack_outputs


class DeviceProcess(HeadProcess, CodecProcess, LayersProcess):
    """Serves the operations of the device."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[Tensor] = []

    def op_full_model(self, request: Reply) -> OperationResult:
        """Return the full model's outputs on the inputs at these positions, and the seconds of its forward passes."""
        models = self.models
        inputs = models.workload.inputs(request.fields["subset"], request.fields["positions"])
        outputs, seconds = measure.timed(lambda: models.run(models.full_model, tensors(inputs)))
        headers, blobs = pack_outputs(outputs)
        return {"outputs": headers, "forward_s": seconds}, blobs

    def op_encode(self, request: Reply) -> OperationResult:
        """Encode one chunk of the stored activations; return the payloads, and with `bounds` their Shannon bounds."""
        handle = request.fields["handle"]
        samples = self.activations.read(request.fields["subset"], request.fields["chunk"])
        payloads = self.codecs.encode(handle, samples, batched=True)
        return {"bound_bytes": self.codecs.bounds(handle, samples)} if request.fields["bounds"] else {}, payloads

    # --- one sample, timed and counted --------------------------------------------------------------------------------

    def op_time_head(self, request: Reply) -> OperationResult:
        """Return the seconds of the head on one sample, after one untimed run.

        The tail runs for every cell of a turn and so stays in the caches; the head runs once a turn only.
        """
        (x,) = self.models.inputs(request.fields["subset"], [request.fields["position"]])
        self.models.time(self.head, x)
        return {"head_s": self.models.time(self.head, x)}, ()

    def op_time_encode(self, request: Reply) -> OperationResult:
        """Return the seconds of encoding one stored activation, and its payload."""
        codec = self.codecs[request.fields["handle"]]
        x = self._activation(request)
        with codec_call("encode"):
            payload, seconds = measure.timed(lambda: codec.encode(x))
        return {"encode_s": seconds}, [payload]

    def op_head_cost(self, request: Reply) -> OperationResult:
        """Return the FLOPs and the peak tensor storage of the head on one sample."""
        head = self.head
        x = self.models.input_batch(request.fields["subset"], request.fields["position"])
        with torch.inference_mode():
            flop = measure.count_flop(lambda: head(x))
            peak = measure.tensor_peak_bytes(lambda: head(x))
        return {"head_flop": flop, "head_peak_bytes": peak}, ()

    def op_encoder_cost(self, request: Reply) -> OperationResult:
        """Return FLOPs, parameters and memory growth of encoding one stored activation; None if not countable."""
        measure.warm_flop_counter()
        measure.freeze_collector()
        codec = self.codecs[request.fields["handle"]]
        x = self._activation(request)
        with codec_call("encode"):
            flop = measure.count_flop(lambda: codec.encode(x))
            modules = [v for v in vars(codec).values() if isinstance(v, torch.nn.Module)]
            parameters = sum(p.numel() for m in modules for p in m.parameters()) if modules else None

        def encode() -> None:
            with sealed():
                codec.encode(x)

        def growth() -> int | None:
            # The first run maps pages of the program itself into the forked process, some megabytes, which must not
            # count as the codec's.
            encode()
            return measure.process_growth_bytes(encode)

        with measure.torch_threads(1):
            peak = measure.in_fresh_process(growth)
        return {"encoder_flop": flop or None, "encoder_parameters": parameters, "encoder_peak_bytes": peak}, ()

    def _activation(self, request: Reply) -> Tensor:
        """Return a new tensor of the stored activation that the request names."""
        return tensors([self.activations.one(request.fields["subset"], request.fields["position"])])[0]

    # --- requests over TCP --------------------------------------------------------------------------------------------

    def op_load_inputs(self, request: Reply) -> OperationResult:
        """Load the inputs at these positions into memory: a device has its sample before the request starts."""
        self.loaded = self.models.inputs(request.fields["subset"], request.fields["positions"])
        return {}, ()

    def op_request(self, request: Reply) -> OperationResult:
        """Return the seconds of each request, one after another: head, encoder, transfer, and the edge's answer."""
        handle, count = request.fields["handle"], len(self.loaded)
        with request_client(Address(*request.fields["address"])) as send:

            def one(at: int) -> bytes:
                return send(self._payload(handle, at))

            seconds = [measure.timed(partial(one, i % count))[1] for i in range(request.fields["requests"])]
        return {"seconds": seconds}, ()

    def _payload(self, handle: int, at: int) -> bytes:
        """Return the payload of one loaded input, after head and encoder."""
        with torch.inference_mode():
            activation = self.head(self.models.batch_of_one(self.loaded[at]))[0].cpu()
        with codec_call("encode"):
            payload = self.codecs[handle].encode(activation)
        return bytes(bytes_only([payload], "encode")[0])

    def op_probe(self, request: Reply) -> OperationResult:
        """Return pairs of message bytes and milliseconds to a link server, measured as by `codecbench link probe`."""
        with LinkClient(Address(*request.fields["address"])) as client:
            return {"pairs": probe(client, request.fields["sizes"], request.fields["repeats"])}, ()
