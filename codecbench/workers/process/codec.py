"""A codec process: one instance of one codec, for one side. Its code runs sealed; errors are marked as the codec's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codecbench import measure
from codecbench.codec import Codec, TensorSpec
from codecbench.errors import (
    CodecFailure,
    FailureCode,
    PayloadError,
    UnsuitedModelError,
    one_line,
    without_folders,
)
from codecbench.isolation.landlock import Ruleset
from codecbench.isolation.seal import Isolation, close_process, readable_files, refusal_hint
from codecbench.registry import resolve
from codecbench.workers.launch import OWN_LOG
from codecbench.workers.protocol import OperationResult, Reply, pack_arrays, unpack_arrays
from codecbench.workers.tensor_file import TensorFile, copies

_NO_MEMORY = re.compile(r"can't allocate memory|bad_alloc|MemoryError")
"""Texts of errors by torch, C++ and Python for lack of memory that are not a MemoryError."""


class CodecProcess:
    """Serves the operations of a codec process. `rules` are the files that it may read once it is sealed."""

    def __init__(self, rules: Ruleset | None) -> None:
        self._rules = rules
        self._sealed = False
        self._codec: Codec | None = None
        self._tensors: TensorFile | None = None
        self._held: Tensor | bytes = b""
        self._result: Any = None

    @property
    def codec(self) -> Codec:
        """The codec. Raises RuntimeError before it is open."""
        if self._codec is None:
            raise RuntimeError("no codec is open")
        return self._codec

    @property
    def tensors(self) -> TensorFile:
        """The file of the chunk's tensors. Raises RuntimeError if the process was opened without one."""
        if self._tensors is None:
            raise RuntimeError("the process was opened without a file of tensors")
        return self._tensors

    def op_prepare(self, request: Reply) -> OperationResult:
        """Find the files that this process may read, where it was not forked from one that has found them."""
        self._rules = readable_files([Path(source) for source in request.fields["sources"]])
        return {}, ()

    def op_seal(self, request: Reply) -> OperationResult:
        """Seal this process for good; return what the seal consists of. No codec is loaded yet that could change it."""
        fields = request.fields
        if fields["tensors"] is not None:
            self._tensors = TensorFile.from_json(fields["tensors"])
            if fields["side"] == "device":
                self._tensors.map()
            else:
                self._tensors.open_for_writing()
        isolation = self._seal()
        self._sealed = True
        torch.set_num_threads(fields["threads"])  # only now: earlier threads would not be bound by the seal
        return {"isolation": isolation.to_json()}, ()

    def op_open(self, request: Reply) -> OperationResult:
        """Load the codec and restore its state. Raises RuntimeError in a process that is not sealed."""
        if not self._sealed:
            raise RuntimeError("a codec is loaded in a sealed process only")
        with codec_call("restore"):
            codec = _made(request.fields)
            codec.restore(request.fields["side"], request.blobs[0])
        self._codec = codec
        return {}, ()

    def op_export(self, request: Reply) -> OperationResult:
        """Seal this process for good, and return both sides' states of a codec that needs no fit."""
        self._seal()
        with codec_call("export"):
            codec = _made(request.fields)
            states = [codec.export("device"), codec.export("edge")]
        return {}, bytes_only(states, "export")

    def op_ping(self, _request: Reply) -> OperationResult:
        """Do nothing: the time of a round trip itself."""
        return {}, ()

    # --- many samples -------------------------------------------------------------------------------------------------

    def op_encode(self, request: Reply) -> OperationResult:
        """Encode rows of the chunk's file; return the payloads, and with `bounds` their Shannon bounds."""
        samples = self.tensors.read_rows(request.fields["first_row"], request.fields["shapes"])
        payloads = self._encode(samples, batched=True)
        return {"bound_bytes": self._bounds(samples)} if request.fields["bounds"] else {}, payloads

    def op_decode(self, request: Reply) -> OperationResult:
        """Decode payloads into rows of the chunk's file; return the shapes of the tensors."""
        # The parent has the originals, and so knows which values may be infinite.
        decoded = self._decode(request.blobs, batched=True, finite=False)
        for row, tensor in enumerate(decoded, request.fields["first_row"]):
            self.tensors.write(row, tensor.numpy())
        return {"shapes": [list(tensor.shape) for tensor in decoded]}, ()

    def op_encode_arrays(self, request: Reply) -> OperationResult:
        """Encode the samples of the request; return the payloads."""
        samples = unpack_arrays(request.fields["arrays"], request.blobs)
        return {}, self._encode(samples, batched=request.fields["batched"])

    def op_decode_arrays(self, request: Reply) -> OperationResult:
        """Decode the payloads of the request; return the tensors. With `finite`, all values have to be."""
        decoded = self._decode(request.blobs, batched=request.fields["batched"], finite=request.fields["finite"])
        headers, blobs = pack_arrays([t.numpy() for t in decoded])
        return {"arrays": headers}, blobs

    # --- one sample, timed and counted --------------------------------------------------------------------------------

    def op_hold(self, request: Reply) -> OperationResult:
        """Keep a sample or a payload for the next step."""
        header = request.fields["array"]
        self._result = None
        self._held = request.blobs[0] if header is None else copies(unpack_arrays([header], request.blobs))[0]
        return {}, ()

    def op_step(self, request: Reply) -> OperationResult:
        """Encode or decode what is held, keep the result, and return the seconds."""
        codec, held = self.codec, self._held
        if request.fields["step"] == "encode":
            with codec_call("encode"):
                self._result, seconds = measure.timed(lambda: codec.encode(held))  # type: ignore[arg-type]
        else:
            with decode_call():
                self._result, seconds = measure.timed(lambda: codec.decode(held))  # type: ignore[arg-type]
        return {"seconds": seconds}, ()

    def op_take(self, request: Reply) -> OperationResult:
        """Return the result of the last step: a payload, or a tensor."""
        result, self._result = self._result, None
        if request.fields["step"] == "encode":
            return {}, bytes_only([result], "encode")
        _check_tensor(result, self.codec.spec, finite=False)
        headers, blobs = pack_arrays([result.detach().contiguous().numpy()])
        return {"arrays": headers}, blobs

    def op_encoder_cost(self, _request: Reply) -> OperationResult:
        """Return FLOPs and parameters of encoding the sample that is held; None if not countable."""
        codec, held = self.codec, self._held
        with codec_call("encode"):
            flop = measure.count_flop(lambda: codec.encode(held))  # type: ignore[arg-type]
            modules = [v for v in vars(codec).values() if isinstance(v, torch.nn.Module)]
            parameters = sum(p.numel() for m in modules for p in m.parameters()) if modules else None
        return {"encoder_flop": flop or None, "encoder_parameters": parameters}, ()

    def op_decoder_flop(self, _request: Reply) -> OperationResult:
        """Return the FLOPs of decoding the payload that is held; None if not countable."""
        codec, held = self.codec, self._held
        with decode_call():
            flop = measure.count_flop(lambda: codec.decode(held))  # type: ignore[arg-type]  # the edge holds bytes
        return {"decoder_flop": flop or None}, ()

    def op_trim(self, _request: Reply) -> OperationResult:
        """Give freed memory back to the system, so that the growth of the next step can be seen from outside."""
        measure.trim_memory()
        return {}, ()

    def _seal(self) -> Isolation:
        return close_process(self._rules, output=OWN_LOG)

    def _encode(self, samples: Sequence[NDArray[Any]], *, batched: bool) -> list[bytes]:
        """Return the samples' payloads. Raises CodecFailure if `encode` breaks its contract."""
        codec = self.codec
        xs = copies(samples)
        with codec_call("encode"):
            payloads = codec.encode_batch(xs) if batched else [codec.encode(x) for x in xs]
        if not isinstance(payloads, list) or len(payloads) != len(xs):
            raise CodecFailure(f"encode_batch gave no list of {len(xs)} payloads", code=FailureCode.WRONG_COUNT)
        bytes_only(payloads, "encode")
        if not all(_same_values(x.numpy(), sample) for x, sample in zip(xs, samples, strict=True)):
            raise CodecFailure("encode changed its input", code=FailureCode.CHANGED_INPUT)
        return payloads

    def _bounds(self, samples: Sequence[NDArray[Any]]) -> list[float | None]:
        """Return the Shannon bound of each sample's payload, or None if the codec gives none."""
        with codec_call("bound_bytes"):
            bounds = [self.codec.bound_bytes(x) for x in copies(samples)]
        return [None if bound is None else float(bound) for bound in bounds]

    def _decode(self, payloads: Sequence[bytes], *, batched: bool, finite: bool) -> list[Tensor]:
        """Return the payloads' tensors. Raises PayloadError if `decode` raises, CodecFailure for a wrong tensor."""
        codec = self.codec
        with decode_call():
            decoded = codec.decode_batch(payloads) if batched else [codec.decode(p) for p in payloads]
        if len(decoded) != len(payloads):
            raise CodecFailure(
                f"decode_batch gave {len(decoded)} tensors for {len(payloads)} payloads", code=FailureCode.WRONG_COUNT
            )
        for tensor in decoded:
            _check_tensor(tensor, codec.spec, finite=finite)
        return [t.detach().contiguous() for t in decoded]


def _same_values(left: NDArray[Any], right: NDArray[Any]) -> bool:
    """Return True if both arrays hold the same values; NaN equals NaN."""
    return np.array_equal(left, right) or np.array_equal(left, right, equal_nan=True)


def _made(fields: Mapping[str, Any]) -> Codec:
    """Return a new instance of a codec at a point. Its module is loaded by this call."""
    codec: Codec = resolve(fields["codec"])(TensorSpec.from_json(fields["spec"]), **fields["point"])
    return codec


@contextmanager
def codec_call(step: str) -> Iterator[None]:
    """Raise the errors of a codec's code within a with block as CodecFailure."""
    try:
        yield
    except MemoryError as error:
        raise CodecFailure(f"{step} ran out of memory", code=FailureCode.NO_MEMORY) from error
    except UnsuitedModelError as error:
        raise CodecFailure(str(error), code=FailureCode.UNSUITED) from error
    except Exception as error:
        raise CodecFailure(f"{step}: {_described(error)}", code=_code_of(error)) from error


@contextmanager
def decode_call() -> Iterator[None]:
    """Raise the errors of a decode within a with block as PayloadError."""
    try:
        yield
    except MemoryError as error:
        raise CodecFailure("decode ran out of memory", code=FailureCode.NO_MEMORY) from error
    except Exception as error:
        raise PayloadError(f"decode: {_described(error)}", code=_code_of(error)) from error


def _described(error: Exception) -> str:
    return f"{without_folders(one_line(error))}{refusal_hint(error)}"


def bytes_only(values: Sequence[Any], step: str) -> Sequence[bytes]:
    """Return the values if all are bytes. Raises CodecFailure otherwise."""
    wrong = next((v for v in values if not isinstance(v, bytes)), None)
    if wrong is not None:
        raise CodecFailure(f"{step} gave {type(wrong).__name__}, not bytes", code=FailureCode.NOT_BYTES)
    return values


def _check_tensor(decoded: Any, spec: TensorSpec, *, finite: bool) -> None:
    if not isinstance(decoded, Tensor):
        raise CodecFailure(f"decode gave {type(decoded).__name__}, not a tensor", code=FailureCode.WRONG_TENSOR)
    reason = spec.mismatch(decoded.shape, str(decoded.dtype).removeprefix("torch."))
    if reason:
        raise CodecFailure(f"decode gave the wrong tensor: {reason}", code=FailureCode.WRONG_TENSOR)
    if finite and decoded.is_floating_point() and not bool(torch.isfinite(decoded).all()):
        raise CodecFailure("decode gave values that are not finite", code=FailureCode.NOT_FINITE)


def _code_of(error: Exception) -> FailureCode:
    return FailureCode.NO_MEMORY if _NO_MEMORY.search(one_line(error)) else FailureCode.RAISED
