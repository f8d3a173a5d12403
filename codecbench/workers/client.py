"""Clients of the device, edge and fit processes: a class for each role, a method for each operation.

Each worker is started by exec (`codecbench.workers.launch`) and exchanges frames over a socket pair: a JSON header and
byte strings, never pickle. Payloads are byte strings of frames, so the edge gets exactly the bytes that `encode`
returned. `codecbench.workers.process` is the other end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from codecbench.codec import Side, TensorSpec
from codecbench.devices.layers import Layer, ModelLayers
from codecbench.links.tcp import Address
from codecbench.measure import Deadline
from codecbench.workers.answers import (
    BuiltModel,
    Decoded,
    Encoded,
    EncoderCost,
    FitResult,
    FullModelRun,
    GeneralTimes,
    HeadCost,
    TimedDecode,
    TimedEncode,
)
from codecbench.workers.connection import DEFAULT_TIMEOUT_S, WorkerClient
from codecbench.workers.protocol import Role, pack_arrays, split_outputs, unpack_arrays
from codecbench.workload import Subset

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADS_TIMEOUT_S = 3600.0
"""The limit for one chunk of samples in a head or the full model, and for a block of layers."""


class ModelClient(WorkerClient):
    """A process that can build a workload's model; the base of all roles."""

    def build_model(self, workload_ref: str, data_dir: Path | None, torch_device: str) -> BuiltModel:
        """Build a workload's model in the process; return its cuts and the hash of its weights."""
        fields = {
            "workload": workload_ref, "data_dir": str(data_dir.resolve()) if data_dir else "",
            "torch_device": torch_device,
        }  # fmt: skip
        found = self.call("workload", fields).fields
        cuts = {cut["name"]: TensorSpec.from_json(cut["spec"]) for cut in found["cuts"]}
        return BuiltModel(cuts, found["weights_sha256"])

    def use_split(self, split: str) -> None:
        """Choose the split point whose head or tail the process runs."""
        self.call("split", {"split": split})


class HeadClient(ModelClient):
    """A process that runs heads and stores their activations: device and fit."""

    def run_head(
        self, subset: Subset, chunk: int, positions: Sequence[int], spec: TensorSpec, folder: Path, *, first: bool
    ) -> int:
        """Run the head on one chunk of inputs and store its activations in the folder; return their bytes.

        With `first`, the folder is new and activations stored before are forgotten.
        """
        fields = {
            "subset": subset, "chunk": chunk, "positions": list(positions), "folder": str(folder),
            "spec": spec.to_json(), "first": first,
        }  # fmt: skip
        return int(self.call("head", fields, timeout_s=HEADS_TIMEOUT_S).fields["raw_bytes"])


class CodecClient(ModelClient):
    """A process that holds instances of codecs by handle: device and edge."""

    def open_codec(
        self, codec_ref: str, spec: TensorSpec, point: Mapping[str, Any], side: Side, state: bytes = b"",
        *, timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> int:  # fmt: skip
        """Create an instance of the codec in the process, restored from the state; return its handle."""
        fields = {"codec": codec_ref, "spec": spec.to_json(), "point": dict(point), "side": side}
        return int(self.call("open_codec", fields, [state], timeout_s=timeout_s).fields["handle"])

    def close_codecs(self) -> None:
        """Remove all instances; their handles become invalid."""
        self.call("close_codecs")

    def export(
        self, codec_ref: str, spec: TensorSpec, point: Mapping[str, Any], *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> tuple[bytes, bytes]:
        """Return the (device, edge) states of a codec that needs no fit."""
        fields = {"codec": codec_ref, "spec": spec.to_json(), "point": dict(point)}
        device, edge = self.call("export", fields, timeout_s=timeout_s).blobs
        return device, edge

    def encode_samples(
        self, handle: int, samples: Sequence[NDArray[Any]], *, batched: bool = True,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> list[bytes]:  # fmt: skip
        """Return the payloads of these samples, from `encode_batch` or from `encode` one by one."""
        headers, blobs = pack_arrays(samples)
        fields = {"handle": handle, "arrays": headers, "batched": batched}
        return self.call("encode_arrays", fields, blobs, timeout_s=timeout_s).blobs

    def decode_payloads(
        self, handle: int, payloads: Sequence[bytes], *, batched: bool = True, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> list[NDArray[Any]]:
        """Return the tensors of these payloads, by `decode_batch` or `decode`. Raises PayloadError for a bad one."""
        self.start_decode_payloads(handle, payloads, batched=batched)
        return self.finish_decode_payloads(timeout_s=timeout_s)

    def start_decode_payloads(self, handle: int, payloads: Sequence[bytes], *, batched: bool = True) -> None:
        """Start `decode_payloads` without waiting for the result."""
        self.send("decode_arrays", {"handle": handle, "batched": batched}, payloads)

    def finish_decode_payloads(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> list[NDArray[Any]]:
        """Wait for `start_decode_payloads` and return the tensors."""
        reply = self.receive(timeout_s=timeout_s)
        return unpack_arrays(reply.fields["arrays"], reply.blobs)


class DeviceClient(HeadClient, CodecClient):
    """The device process: reads inputs, runs heads and the full model, encodes, and sends requests to the edge."""

    role: ClassVar[Role] = "device"

    def run_full_model(
        self, subset: Subset, positions: Sequence[int], *, timeout_s: float = HEADS_TIMEOUT_S
    ) -> FullModelRun:
        """Return the full model's outputs on the inputs at these positions, and the seconds."""
        reply = self.call("full_model", {"subset": subset, "positions": list(positions)}, timeout_s=timeout_s)
        return FullModelRun(split_outputs(reply)[0], float(reply.fields["forward_s"]))

    def start_encode(self, handle: int, subset: Subset, chunk: int, *, bounds: bool) -> None:
        """Start to encode one chunk of the stored activations; with `bounds` the result has Shannon bounds, too."""
        self.send("encode", {"handle": handle, "subset": subset, "chunk": chunk, "bounds": bounds})

    def finish_encode(self, deadline: Deadline) -> Encoded:
        """Wait for `start_encode` and return its result."""
        reply = self.receive_until(deadline)
        return Encoded(reply.blobs, reply.fields.get("bound_bytes"))

    def time_head(self, subset: Subset, position: int) -> float:
        """Return the seconds of the head on one sample."""
        return float(self.call("time_head", {"subset": subset, "position": position}).fields["head_s"])

    def time_encode(
        self, handle: int, subset: Subset, position: int, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> TimedEncode:
        """Return the payload of one stored activation, and the seconds of its encoding."""
        fields = {"handle": handle, "subset": subset, "position": position}
        reply = self.call("time_encode", fields, timeout_s=timeout_s)
        return TimedEncode(reply.blobs[0], reply.fields["encode_s"])

    def head_cost(self, subset: Subset, position: int) -> HeadCost:
        """Return the FLOPs and memory of the head on one sample."""
        found = self.call("head_cost", {"subset": subset, "position": position}).fields
        return HeadCost(found["head_flop"], found["head_peak_bytes"])

    def encoder_cost(
        self, handle: int, subset: Subset, position: int, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> EncoderCost:
        """Return the FLOPs, parameters and memory of encoding one stored activation."""
        fields = {"handle": handle, "subset": subset, "position": position}
        found = self.call("encoder_cost", fields, timeout_s=timeout_s).fields
        return EncoderCost(found["encoder_flop"], found["encoder_parameters"], found["encoder_peak_bytes"])

    def load_inputs(self, subset: Subset, positions: Sequence[int]) -> None:
        """Load the inputs at these positions into memory, for `request`."""
        self.call("load_inputs", {"subset": subset, "positions": list(positions)})

    def request(self, handle: int, address: Address, count: int, *, timeout_s: float) -> list[float]:
        """Return the seconds of `count` requests over the loaded inputs: head, encoder, and the edge's answer."""
        fields = {"handle": handle, "address": address, "requests": count}
        return list(self.call("request", fields, timeout_s=timeout_s).fields["seconds"])

    def probe(
        self, address: Address, sizes: Sequence[int], repeats: int, *, timeout_s: float
    ) -> list[tuple[int, float]]:
        """Return pairs of message bytes and milliseconds, measured to a link server."""
        fields = {"address": address, "sizes": list(sizes), "repeats": repeats}
        return [(size, ms) for size, ms in self.call("probe", fields, timeout_s=timeout_s).fields["pairs"]]

    def layers(self, subset: Subset, position: int, *, timeout_s: float) -> ModelLayers:
        """Return the full model's layers on one sample."""
        reply = self.call("layers", {"subset": subset, "position": position}, timeout_s=timeout_s)
        return ModelLayers.from_json(reply.fields["layers"])

    def measure_layers(self, seed: int, block: int) -> list[tuple[Layer, float]]:
        """Return the random layers of one block, with the seconds of each."""
        found = self.call("measure_layers", {"seed": seed, "block": block}, timeout_s=HEADS_TIMEOUT_S).fields
        return [(Layer(**values), seconds) for values, seconds in found["layers"]]

    def measure_general(self) -> GeneralTimes:
        """Return the times of plain code on this machine, and its rates."""
        return GeneralTimes(**self.call("measure_general", timeout_s=600).fields)


class EdgeClient(CodecClient):
    """The edge process: decodes, runs tails, and answers requests over TCP."""

    role: ClassVar[Role] = "edge"

    def start_decode(self, handle: int, payloads: Sequence[bytes], *, keep: bool) -> None:
        """Start to decode payloads and run the tail on them; with `keep` the result has the decoded tensors, too."""
        self.send("decode", {"handle": handle, "keep": keep}, payloads)

    def finish_decode(self, deadline: Deadline) -> Decoded:
        """Wait for `start_decode` and return its result."""
        reply = self.receive_until(deadline)
        outputs, rest = split_outputs(reply)
        headers = reply.fields.get("decoded")
        return Decoded(outputs, None if headers is None else unpack_arrays(headers, rest))

    def time_decode(self, handle: int, payload: bytes, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> TimedDecode:
        """Return the seconds of decoding one payload, and of running the tail on the result."""
        found = self.call("time_decode", {"handle": handle}, [payload], timeout_s=timeout_s).fields
        return TimedDecode(found["decode_s"], found["tail_s"])

    def listen(self, handle: int | None) -> Address:
        """Start to answer payloads of a codec over TCP, or link probes if the handle is None; return the address."""
        return Address(*self.call("listen", {"handle": handle}).fields["address"])


class FitClient(HeadClient):
    """A process that fits codecs on the activations of the training samples."""

    role: ClassVar[Role] = "fit"

    def fit(
        self,
        codec_ref: str,
        point: Mapping[str, Any],
        chunks: Sequence[Sequence[int]],
        *,
        seed: int,
        max_s: float,
        start: tuple[bytes, bytes] | None,
        saved: bytes | None,
        timeout_s: float,
        on_progress: Callable[[float, str], None],
        on_saved: Callable[[bytes, float], None],
    ) -> FitResult:
        """Fit a codec on the stored activations; `chunks` are the positions of the training samples, chunk by chunk.

        The fit starts from `start`, a fitted (device, edge) state, and resumes from `saved`, the last save of an
        interrupted fit. `on_progress` gets a share and a text, `on_saved` the saved bytes and the seconds so far.
        """
        fields = {
            "codec": codec_ref, "point": dict(point), "seed": seed, "max_s": max_s,
            "chunks": [list(positions) for positions in chunks], "starts": start is not None,
            "goes_on": saved is not None,
        }  # fmt: skip
        blobs = [*(start or ()), *(() if saved is None else (saved,))]
        reply = self.call("fit", fields, blobs, timeout_s=timeout_s, on_progress=on_progress, on_saved=on_saved)
        return FitResult(reply.blobs[0], reply.blobs[1], reply.fields["fit_s"])
