"""The edge process: decodes, runs tails, times these steps, and answers the device over TCP."""

from __future__ import annotations

from contextlib import ExitStack

from codecbench import measure
from codecbench.links.probe import link_server
from codecbench.workers.offload import request_server
from codecbench.workers.process.codecs import CodecProcess, decode_call
from codecbench.workers.process.models import OperationResult
from codecbench.workers.protocol import Reply, pack_arrays, pack_outputs


class EdgeProcess(CodecProcess):
    """Serves the operations of the edge."""

    def __init__(self) -> None:
        super().__init__()
        self.listening = ExitStack()

    def op_decode(self, request: Reply) -> OperationResult:
        """Decode payloads and run the tail; return the outputs, and with `keep` the decoded tensors after them."""
        decoded = self.codecs.decode(request.fields["handle"], request.blobs, batched=True)
        headers, blobs = pack_outputs(self.models.run(self.tail, decoded))
        if request.fields["keep"]:
            more_headers, more = pack_arrays([t.numpy() for t in decoded])
            return {"outputs": headers, "decoded": more_headers}, blobs + more
        return {"outputs": headers}, blobs

    def op_time_decode(self, request: Reply) -> OperationResult:
        """Return the seconds of decoding one payload, and of running the tail on the result."""
        codec, tail = self.codecs[request.fields["handle"]], self.tail
        (payload,) = request.blobs
        with decode_call():
            decoded, decode_s = measure.timed(lambda: codec.decode(payload))
        return {"decode_s": decode_s, "tail_s": self.models.time(tail, decoded)}, ()

    def op_listen(self, request: Reply) -> OperationResult:
        """Start to answer payloads of a codec over TCP, or link probes if the handle is None; return the address."""
        handle = request.fields["handle"]
        server = (
            link_server()
            if handle is None
            else request_server(lambda payload: self._outputs_of_payload(handle, payload))
        )
        self.listening.enter_context(server.running())
        return {"address": list(server.address)}, ()

    def _outputs_of_payload(self, handle: int, payload: bytes) -> bytes:
        """Return the bytes of the model's outputs for one payload, after decoder and tail."""
        with decode_call():
            decoded = self.codecs[handle].decode(payload)
        (outputs,) = self.models.run(self.tail, [decoded])
        return b"".join(pack_arrays(outputs)[1])
