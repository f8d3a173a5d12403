"""The program that a worker runs: `python -m codecbench.workers.process.session ROLE FD THREADS MEMORY_BYTES PARENT`.

A device worker reads inputs, runs heads and encodes; an edge worker decodes and runs tails; a fit worker fits. Codec
calls run inside `codecbench.workers.guard.sealed`, so a codec cannot open files or sockets. Ops are the methods called
`op_...`; each takes a request and returns fields and byte strings.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from codecbench import measure
from codecbench.codec import Batch, Codec, FitData, TensorSpec
from codecbench.errors import CodecbenchError, PayloadError, UsageError, one_line
from codecbench.registry import resolve
from codecbench.workers.guard import sealed
from codecbench.workers.process.activations import Activations
from codecbench.workers.process.models import _inference, _model_batches, _pack_outputs, _probes, _tensors
from codecbench.workers.protocol import Reply, Role, pack_arrays, pack_frame, unpack_arrays, unpack_frame
from codecbench.workload import Subset, Workload

if TYPE_CHECKING:
    from torch import Tensor, nn

    from codecbench.workers.process.graph_split import SplitModel

Answer: TypeAlias = tuple[dict[str, Any], Sequence[bytes]]


class _CodecRaised(Exception):
    """Carries what a codec raised, so that it is told apart from an error of the harness."""


class Session:
    """What a worker holds between requests."""

    def __init__(self, role: Role, send: Callable[[bytes], None]) -> None:
        self.role = role
        self.send = send
        self.codecs: dict[int, Codec] = {}
        self.opened = 0
        self.torch_device = "cpu"
        self.workload: Workload | None = None
        self.split_model: SplitModel | None = None
        self.head: nn.Module | None = None
        self.tail: nn.Module | None = None
        self.activations: Activations | None = None
        self.loaded: list[Tensor] = []
        self.listening = ExitStack()

    def answer(self, request: Reply) -> bytes:
        """Run one op. Errors become an answer that names their kind."""
        op = getattr(self, f"op_{request.fields.pop('op')}")
        try:
            fields, blobs = op(request)
            return pack_frame(fields, blobs)
        except _CodecRaised as error:
            return pack_frame({"error": "codec", "message": str(error)})
        except PayloadError as error:
            return pack_frame({"error": "payload", "message": one_line(error)})
        except CodecbenchError as error:
            return pack_frame({"error": "data", "message": str(error)})
        except Exception:
            traceback.print_exc()
            return pack_frame({"error": "harness", "message": one_line(sys.exception())})

    # --- any role -----------------------------------------------------------------------------------------------

    def op_threads(self, request: Reply) -> Answer:
        """Set torch's thread count."""
        import torch

        torch.set_num_threads(request.fields["threads"])
        return {}, ()

    def op_workload(self, request: Reply) -> Answer:
        """Build a workload's model and find its cuts; returns their names and specs.

        Reads no data: the probes have random values. The edge role is given no data folder.
        """
        import torch

        from codecbench.workers.process.graph_split import SplitModel

        data_dir = request.fields["data_dir"]
        self.workload = resolve(request.fields["workload"])(Path(data_dir) if data_dir else None)
        self.torch_device = request.fields["torch_device"]
        if self.torch_device == "cuda" and not torch.cuda.is_available():
            raise UsageError("this machine has no CUDA device that torch can use; leave out --torch-device cuda")
        model = self.workload.build_model().to(self.torch_device)
        probes = [p.to(self.torch_device) for p in _probes(self.workload.input_spec)]
        self.split_model = SplitModel(model, probes, self.workload.input_spec)
        cuts = [{"name": c.name, "spec": c.spec.to_json()} for c in self.split_model.cuts.values()]
        return {"cuts": cuts, "weights_sha256": self.workload.weights_sha256()}, ()

    def op_split(self, request: Reply) -> Answer:
        """Choose the split point whose head or tail this worker runs."""
        assert self.split_model is not None
        self.head, self.tail = self.split_model.split(request.fields["split"])
        return {}, ()

    def op_open_codec(self, request: Reply) -> Answer:
        """Make a fresh instance and restore its state."""
        fields = request.fields
        spec = TensorSpec.from_json(fields["spec"])
        with self._codec_call("restore"):
            codec: Codec = resolve(fields["codec"])(spec, **fields["point"])
            codec.restore(fields["side"], request.blobs[0])
        self.opened += 1
        self.codecs[self.opened] = codec
        return {"handle": self.opened}, ()

    def op_export(self, request: Reply) -> Answer:
        """Both sides' states of a codec that keeps one without a fit."""
        fields = request.fields
        with self._codec_call("export"):
            codec: Codec = resolve(fields["codec"])(TensorSpec.from_json(fields["spec"]), **fields["point"])
            return {}, _bytes_only([codec.export("device"), codec.export("edge")], "export")

    def op_close_codecs(self, _request: Reply) -> Answer:
        """Forget every instance."""
        self.codecs.clear()
        return {}, ()

    # --- device -------------------------------------------------------------------------------------------------

    def op_whole(self, request: Reply) -> Answer:
        """Outputs of the uncut model on the inputs at these positions."""
        assert self.workload is not None
        assert self.split_model is not None
        inputs = self.workload.inputs(request.fields["subset"], request.fields["positions"])
        outputs, seconds = measure.timed(lambda: self._run(self.split_model.model, _tensors(inputs)))  # type: ignore[union-attr]
        return {**_pack_outputs(outputs), "forward_s": seconds}, [
            b for sample in outputs for b in pack_arrays(sample)[1]
        ]

    def op_head(self, request: Reply) -> Answer:
        """Run the head on one chunk of inputs and keep its activations in the folder."""
        fields = request.fields
        if fields["first"]:
            self.activations = Activations(Path(fields["folder"]), TensorSpec.from_json(fields["spec"]))
        raw_bytes = self._run_head(fields["subset"], fields["chunk"], fields["positions"])
        return {"raw_bytes": raw_bytes}, ()

    def _run_head(self, subset: Subset, chunk: int, positions: Sequence[int]) -> int:
        assert self.workload is not None
        assert self.head is not None
        assert self.activations is not None
        outputs = self._run(self.head, _tensors(self.workload.inputs(subset, positions)))
        samples = [sample[0] for sample in outputs]
        self.activations.add(subset, chunk, samples)
        return sum(s.nbytes for s in samples)

    def op_encode(self, request: Reply) -> Answer:
        """Encode one chunk of the kept activations; with `bounds`, the Shannon bound of each payload is a field."""
        assert self.activations is not None
        samples = self.activations.read(request.fields["subset"], request.fields["chunk"])
        payloads = self._encode(request.fields["handle"], samples, batched=True)
        return self._bounds(request.fields["handle"], samples) if request.fields["bounds"] else {}, payloads

    def op_encode_arrays(self, request: Reply) -> Answer:
        """Encode samples that came with the request."""
        samples = unpack_arrays(request.fields["arrays"], request.blobs)
        return {}, self._encode(request.fields["handle"], samples, batched=request.fields["batched"])

    def _encode(self, handle: int, samples: Sequence[NDArray[Any]], *, batched: bool) -> list[bytes]:
        codec = self.codecs[handle]
        xs = _tensors(samples)
        with self._codec_call("encode"):
            payloads = codec.encode_batch(xs) if batched else [codec.encode(x) for x in xs]
        if not isinstance(payloads, list) or len(payloads) != len(xs):
            raise _CodecRaised(f"encode_batch gave no list of {len(xs)} payloads")
        _bytes_only(payloads, "encode")
        if any(not np.array_equal(x.numpy(), s, equal_nan=True) for x, s in zip(xs, samples, strict=True)):
            raise _CodecRaised("encode changed its input")
        return payloads

    def _bounds(self, handle: int, samples: Sequence[NDArray[Any]]) -> dict[str, Any]:
        codec = self.codecs[handle]
        with self._codec_call("bound_bytes"):
            bounds = [codec.bound_bytes(x) for x in _tensors(samples)]
        return {"bound_bytes": [None if bound is None else float(bound) for bound in bounds]}

    def op_time_head(self, request: Reply) -> Answer:
        """Seconds of the head on one sample, run once before: a tail runs for every cell of a turn, and stays warm."""
        assert self.workload is not None
        assert self.head is not None
        (sample,) = self.workload.inputs(request.fields["subset"], [request.fields["position"]])
        x = _tensors([sample])[0]
        self._time_model(self.head, x)
        return {"head_s": self._time_model(self.head, x)}, ()

    def op_time_encode(self, request: Reply) -> Answer:
        """Seconds of encoding one kept activation, and its payload."""
        assert self.activations is not None
        codec = self.codecs[request.fields["handle"]]
        x = _tensors([self.activations.one(request.fields["subset"], request.fields["position"])])[0]
        with self._codec_call("encode"):
            payload, seconds = measure.timed(lambda: codec.encode(x))
        return {"encode_s": seconds}, [payload]

    def op_load_inputs(self, request: Reply) -> Answer:
        """Have the inputs at these positions in memory: a device has its sample before a request."""
        assert self.workload is not None
        self.loaded = _tensors(self.workload.inputs(request.fields["subset"], request.fields["positions"]))
        return {}, ()

    def op_request(self, request: Reply) -> Answer:
        """Seconds of so many requests, one after the other: head, encoder, the way to the edge and its answer."""
        from codecbench.links.tcp import Address
        from codecbench.workers.offload import asking

        handle, count = request.fields["handle"], len(self.loaded)
        with asking(Address(*request.fields["address"])) as ask:

            def one(at: int) -> bytes:
                return ask(self._payload(handle, at))

            seconds = [measure.timed(partial(one, i % count))[1] for i in range(request.fields["requests"])]
        return {"seconds": seconds}, ()

    def _payload(self, handle: int, at: int) -> bytes:
        """Of one loaded input."""
        assert self.head is not None
        with _inference():
            activation = self.head(self.loaded[at].unsqueeze(0).to(self.torch_device))[0].cpu()
        with self._codec_call("encode"):
            payload = self.codecs[handle].encode(activation)
        return bytes(_bytes_only([payload], "encode")[0])

    def op_probe(self, request: Reply) -> Answer:
        """Pairs of bytes and milliseconds on the way to a link server, as `codecbench link probe` measures them."""
        from codecbench.links.probe import LinkClient, probe
        from codecbench.links.tcp import Address

        with LinkClient(Address(*request.fields["address"])) as client:
            return {"pairs": probe(client, request.fields["sizes"], request.fields["repeats"])}, ()

    def op_head_cost(self, request: Reply) -> Answer:
        """FLOPs and peak tensor storage of the head on one sample."""
        assert self.workload is not None
        head = self.head
        assert head is not None
        (sample,) = self.workload.inputs(request.fields["subset"], [request.fields["position"]])
        x = _tensors([sample])[0].unsqueeze(0).to(self.torch_device)
        with _inference():
            flop = measure.count_flop(lambda: head(x))
            peak = measure.tensor_peak_bytes(lambda: head(x))
        return {"head_flop": flop, "head_peak_bytes": peak}, ()

    def op_encoder_cost(self, request: Reply) -> Answer:
        """FLOPs, parameters and memory growth of encoding one kept activation. Null where nothing was counted."""
        import torch

        assert self.activations is not None
        measure.warm_flop_counter()
        measure.settle_collector()
        codec = self.codecs[request.fields["handle"]]
        x = _tensors([self.activations.one(request.fields["subset"], request.fields["position"])])[0]
        with self._codec_call("encode"):
            flop = measure.count_flop(lambda: codec.encode(x))
            modules = [v for v in vars(codec).values() if isinstance(v, torch.nn.Module)]
            parameters = sum(p.numel() for m in modules for p in m.parameters()) if modules else None

        def encode() -> None:
            with sealed():
                codec.encode(x)

        def growth() -> int | None:
            # Once before, so that the program's own pages, which a forked process maps when it first needs them, are
            # not counted as the codec's: some megabytes.
            encode()
            return measure.process_growth_bytes(encode)

        with measure.torch_threads(1):
            peak = measure.in_fresh_process(growth)
        return {"encoder_flop": flop or None, "encoder_parameters": parameters, "encoder_peak_bytes": peak}, ()

    def op_layers(self, request: Reply) -> Answer:
        """The layers of the uncut model on one sample, as `ModelLayers.to_json` gives them."""
        from codecbench.devices.layers import describe

        assert self.workload is not None
        assert self.split_model is not None
        (sample,) = self.workload.inputs(request.fields["subset"], [request.fields["position"]])
        x = _tensors([sample])[0].unsqueeze(0).to(self.torch_device)
        cuts = {cut.name: cut.node for cut in self.split_model.cuts.values()}
        found = describe(self.split_model.traced, cuts, x, weights_sha256=self.workload.weights_sha256())
        return {"layers": found.to_json()}, ()

    def op_measure_layers(self, request: Reply) -> Answer:
        """Layers of one drawn block, with the seconds of each, for a device profile."""
        from codecbench.devices.timing import measure_block

        found = measure_block(request.fields["seed"], request.fields["block"])
        return {"layers": [(vars(layer), seconds) for layer, seconds in found]}, ()

    def op_measure_general(self, _request: Reply) -> Answer:
        """Seconds of kernels of plain code and of calling an empty model, and what large steps attain."""
        from codecbench.devices.timing import measure_call, measure_general, measure_rates

        return {"kernels_s": measure_general(), "call_s": measure_call(), "rates": measure_rates()}, ()

    # --- edge ---------------------------------------------------------------------------------------------------

    def op_decode(self, request: Reply) -> Answer:
        """Decode payloads and run the tail; returns the outputs, and with `keep` the decoded tensors behind them."""
        decoded = self._decode(request.fields["handle"], request.blobs, batched=True)
        assert self.tail is not None
        outputs = self._run(self.tail, decoded)
        fields = _pack_outputs(outputs)
        blobs = [b for sample in outputs for b in pack_arrays(sample)[1]]
        if request.fields["keep"]:
            headers, more = pack_arrays([t.numpy() for t in decoded])
            return {**fields, "decoded": headers}, blobs + more
        return fields, blobs

    def op_listen(self, request: Reply) -> Answer:
        """Answer over TCP until the process ends: payloads of a codec, or without a handle probes of the link."""
        from codecbench.links.probe import link_server
        from codecbench.workers.offload import answering

        handle = request.fields["handle"]
        listener = link_server() if handle is None else answering(lambda payload: self._served(handle, payload))
        self.listening.enter_context(listener.running())
        return {"address": list(listener.address)}, ()

    def _served(self, handle: int, payload: bytes) -> bytes:
        """The model's outputs for one payload: decoder and tail, as an edge runs them for a request."""
        assert self.tail is not None
        try:
            with sealed():
                decoded = self.codecs[handle].decode(payload)
        except Exception as error:
            raise PayloadError(f"decode: {one_line(error)}") from error
        (outputs,) = self._run(self.tail, [decoded])
        return b"".join(pack_arrays(outputs)[1])

    def op_decode_arrays(self, request: Reply) -> Answer:
        """Decode payloads and return the tensors."""
        decoded = self._decode(request.fields["handle"], request.blobs, batched=request.fields["batched"])
        headers, blobs = pack_arrays([t.numpy() for t in decoded])
        return {"arrays": headers}, blobs

    def _decode(self, handle: int, payloads: Sequence[bytes], *, batched: bool) -> list[Tensor]:
        import torch

        codec = self.codecs[handle]
        try:
            with sealed():
                decoded = codec.decode_batch(payloads) if batched else [codec.decode(p) for p in payloads]
        except MemoryError as error:
            raise _CodecRaised("decode ran out of memory") from error
        except Exception as error:
            raise PayloadError(f"decode: {one_line(error)}") from error
        if len(decoded) != len(payloads):
            raise _CodecRaised(f"decode_batch gave {len(decoded)} tensors for {len(payloads)} payloads")
        for tensor in decoded:
            if not isinstance(tensor, torch.Tensor):
                raise _CodecRaised(f"decode gave {type(tensor).__name__}, not a tensor")
            reason = codec.spec.mismatch(tensor.shape, str(tensor.dtype).removeprefix("torch."))
            if reason:
                raise _CodecRaised(f"decode gave the wrong tensor: {reason}")
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise _CodecRaised("decode gave values that are not finite")
        return [t.detach().contiguous() for t in decoded]

    def op_time_decode(self, request: Reply) -> Answer:
        """Seconds of decoding one payload, and of the tail behind it."""
        codec, tail = self.codecs[request.fields["handle"]], self.tail
        assert tail is not None
        (payload,) = request.blobs
        try:
            with sealed():
                decoded, decode_s = measure.timed(lambda: codec.decode(payload))
        except Exception as error:
            raise PayloadError(f"decode: {one_line(error)}") from error
        return {"decode_s": decode_s, "tail_s": self._time_model(tail, decoded)}, ()

    # --- fit ----------------------------------------------------------------------------------------------------

    def op_fit(self, request: Reply) -> Answer:
        """Fit one codec on this split's training activations; returns both sides' states."""
        import torch

        fields = request.fields
        assert self.activations is not None
        assert self.tail is not None
        spec = self.activations.spec
        torch.manual_seed(fields["seed"])
        np.random.seed(fields["seed"] % 2**32)
        codec: Codec = resolve(fields["codec"])(spec, **fields["point"])
        data = self._fit_data(request)
        # Not `measure.timed`, which holds garbage collection off: some fits take hours.
        watch = measure.Stopwatch()
        with self._codec_call("fit"):
            codec.fit(data)
            states = [codec.export("device"), codec.export("edge")]
        return {"fit_s": watch.elapsed_s()}, _bytes_only(states, "export")

    def _fit_data(self, request: Reply) -> FitData:
        assert self.activations is not None
        assert self.workload is not None
        fields, blobs = request.fields, list(request.blobs)
        start = (blobs.pop(0), blobs.pop(0)) if fields["starts"] else None
        saved = blobs.pop(0) if fields["goes_on"] else None
        samples = self.activations.read_all("fit")
        targets = [target for positions in fields["chunks"] for target in self.workload.targets("fit", positions)]
        rows = np.random.default_rng(fields["seed"]).permutation(len(samples))
        cut = len(samples) - min(500, len(samples) // 5)
        deadline = measure.Deadline(fields["max_s"])
        watch = measure.Stopwatch()
        passes = iter(range(1 << 30))
        static = None not in self.activations.spec.shape

        def walk(order: NDArray[np.int64], size: int) -> Iterator[Batch]:
            import torch

            for start in range(0, len(order), size):
                picked = order[start : start + size].tolist()
                chosen = [samples[i] for i in picked]
                # Each sample is read from its file here, and copied once.
                yield (torch.from_numpy(np.stack(chosen)) if static else _tensors(chosen)), [targets[i] for i in picked]

        def batches(size: int) -> Iterator[Batch]:
            shuffle = np.random.default_rng([fields["seed"], next(passes)])
            return walk(shuffle.permutation(rows[:cut]), size)

        def progress(fraction: float, text: str) -> None:
            self.send(pack_frame({"progress": fraction, "text": text}))

        def save(state: bytes) -> None:
            if not isinstance(state, bytes):
                raise TypeError(f"save takes bytes, not {type(state).__name__}")
            self.send(pack_frame({"saved_after_s": watch.elapsed_s()}, [state]))

        assert self.tail is not None
        for parameter in self.tail.parameters():
            parameter.requires_grad_(False)
        return FitData(
            spec=self.activations.spec, count=cut, held_out_count=len(rows) - cut, batches=batches,
            held_out=lambda size: walk(rows[cut:], size), tail=self.tail, torch_device=self.torch_device,
            seed=fields["seed"], max_s=fields["max_s"], progress=progress, remaining_s=deadline.remaining_s,
            start=start, saved=saved, save=save,
        )  # fmt: skip

    # --- shared -------------------------------------------------------------------------------------------------

    def _run(self, model: nn.Module, xs: Sequence[Tensor]) -> list[tuple[NDArray[Any], ...]]:
        """A model's output tensors for each sample. Samples of equal shape share a batch, so none is padded."""
        import torch

        groups: dict[tuple[int, ...], list[int]] = {}
        for i, x in enumerate(xs):
            groups.setdefault(tuple(x.shape), []).append(i)
        outputs: list[tuple[NDArray[Any], ...]] = [()] * len(xs)
        with _inference():
            for members in _model_batches(groups.values()):
                batch = torch.stack([xs[i] for i in members]).to(self.torch_device)
                leaves = [leaf.cpu().numpy() for leaf in torch.utils._pytree.tree_leaves(model(batch))]
                for row, i in enumerate(members):
                    outputs[i] = tuple(leaf[row] for leaf in leaves)
        return outputs

    def _time_model(self, model: nn.Module, x: Tensor) -> float:
        import torch

        def step() -> None:
            model(x.unsqueeze(0).to(self.torch_device))
            if self.torch_device != "cpu":
                torch.cuda.synchronize()

        with _inference():
            _, seconds = measure.timed(step)
        return seconds

    @contextmanager
    def _codec_call(self, step: str) -> Iterator[None]:
        """Seal the process while a codec runs, and tell its errors from the harness's."""
        try:
            with sealed():
                yield
        except MemoryError as error:
            raise _CodecRaised(f"{step} ran out of memory") from error
        except Exception as error:
            raise _CodecRaised(f"{step}: {one_line(error)}") from error


def _bytes_only(values: Sequence[Any], step: str) -> Sequence[bytes]:
    """The values, once all are known to be bytes."""
    wrong = next((v for v in values if not isinstance(v, bytes)), None)
    if wrong is not None:
        raise _CodecRaised(f"{step} gave {type(wrong).__name__}, not bytes")
    return values


def _end_with_parent(parent: int) -> None:
    """Be killed when the parent ends, even while a codec hangs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)

    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Answer requests until the parent closes the connection."""
    role, fd, threads, memory_bytes, parent = sys.argv[1:]
    faulthandler.enable()
    _end_with_parent(int(parent))
    import torch

    torch.set_num_threads(int(threads))
    measure.limit_memory(int(memory_bytes))
    connection: Connection[Any, Any] = Connection(int(fd))
    session = Session(role, connection.send_bytes)  # type: ignore[arg-type]
    while True:
        try:
            request = unpack_frame(connection.recv_bytes())
        except (EOFError, OSError):
            return
        connection.send_bytes(session.answer(request))


if __name__ == "__main__":
    main()
