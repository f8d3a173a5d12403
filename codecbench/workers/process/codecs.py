"""Codec instances in a worker process. Their code runs sealed, and their errors are marked as the codec's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codecbench.codec import Codec, Side, TensorSpec
from codecbench.errors import CodecFailure, FailureCode, PayloadError, one_line, without_folders
from codecbench.registry import resolve
from codecbench.workers.guard import sealed
from codecbench.workers.process.models import ModelProcess, OperationResult, tensors
from codecbench.workers.protocol import Reply, pack_arrays, unpack_arrays

_NO_MEMORY = re.compile(r"can't allocate memory|bad_alloc|MemoryError")
"""Texts of errors by torch, C++ and Python for lack of memory that are not a MemoryError."""


class CodecHost:
    """Codec instances by handle."""

    def __init__(self) -> None:
        self._codecs: dict[int, Codec] = {}
        self._opened = 0

    def open(self, codec_ref: str, spec: TensorSpec, point: Mapping[str, Any], side: Side, state: bytes) -> int:
        """Create an instance and restore its state; return its handle. Raises CodecFailure if that fails."""
        with codec_call("restore"):
            codec: Codec = resolve(codec_ref)(spec, **point)
            codec.restore(side, state)
        self._opened += 1
        self._codecs[self._opened] = codec
        return self._opened

    def close_all(self) -> None:
        """Remove all instances."""
        self._codecs.clear()

    def __getitem__(self, handle: int) -> Codec:
        return self._codecs[handle]

    def encode(self, handle: int, samples: Sequence[NDArray[Any]], *, batched: bool) -> list[bytes]:
        """Return the samples' payloads. Raises CodecFailure if `encode` breaks its contract."""
        codec = self._codecs[handle]
        xs = tensors(samples)
        with codec_call("encode"):
            payloads = codec.encode_batch(xs) if batched else [codec.encode(x) for x in xs]
        if not isinstance(payloads, list) or len(payloads) != len(xs):
            raise CodecFailure(f"encode_batch gave no list of {len(xs)} payloads", code=FailureCode.WRONG_COUNT)
        bytes_only(payloads, "encode")
        if any(not np.array_equal(x.numpy(), s, equal_nan=True) for x, s in zip(xs, samples, strict=True)):
            raise CodecFailure("encode changed its input", code=FailureCode.CHANGED_INPUT)
        return payloads

    def bounds(self, handle: int, samples: Sequence[NDArray[Any]]) -> list[float | None]:
        """Return the Shannon bound of each sample's payload, or None if the codec gives none."""
        codec = self._codecs[handle]
        with codec_call("bound_bytes"):
            bounds = [codec.bound_bytes(x) for x in tensors(samples)]
        return [None if bound is None else float(bound) for bound in bounds]

    def decode(self, handle: int, payloads: Sequence[bytes], *, batched: bool) -> list[Tensor]:
        """Return the payloads' tensors. Raises PayloadError if `decode` raises, CodecFailure for a wrong tensor."""
        codec = self._codecs[handle]
        with decode_call():
            decoded = codec.decode_batch(payloads) if batched else [codec.decode(p) for p in payloads]
        if len(decoded) != len(payloads):
            raise CodecFailure(
                f"decode_batch gave {len(decoded)} tensors for {len(payloads)} payloads", code=FailureCode.WRONG_COUNT
            )
        for tensor in decoded:
            _check_tensor(tensor, codec.spec)
        return [t.detach().contiguous() for t in decoded]


class CodecProcess(ModelProcess):
    """A process that holds codec instances."""

    def __init__(self) -> None:
        super().__init__()
        self.codecs = CodecHost()

    def op_open_codec(self, request: Reply) -> OperationResult:
        """Create an instance and restore its state; return its handle."""
        fields = request.fields
        spec = TensorSpec.from_json(fields["spec"])
        handle = self.codecs.open(fields["codec"], spec, fields["point"], fields["side"], request.blobs[0])
        return {"handle": handle}, ()

    def op_export(self, request: Reply) -> OperationResult:
        """Return both sides' states of a codec that needs no fit."""
        fields = request.fields
        with codec_call("export"):
            codec: Codec = resolve(fields["codec"])(TensorSpec.from_json(fields["spec"]), **fields["point"])
            states = [codec.export("device"), codec.export("edge")]
        return {}, bytes_only(states, "export")

    def op_close_codecs(self, _request: Reply) -> OperationResult:
        """Remove all instances."""
        self.codecs.close_all()
        return {}, ()

    def op_encode_arrays(self, request: Reply) -> OperationResult:
        """Encode the samples of the request; return the payloads."""
        samples = unpack_arrays(request.fields["arrays"], request.blobs)
        return {}, self.codecs.encode(request.fields["handle"], samples, batched=request.fields["batched"])

    def op_decode_arrays(self, request: Reply) -> OperationResult:
        """Decode the payloads of the request; return the tensors."""
        decoded = self.codecs.decode(request.fields["handle"], request.blobs, batched=request.fields["batched"])
        headers, blobs = pack_arrays([t.numpy() for t in decoded])
        return {"arrays": headers}, blobs


@contextmanager
def codec_call(step: str) -> Iterator[None]:
    """Seal the process within a with block of a codec's code, and raise its errors as CodecFailure."""
    try:
        with sealed():
            yield
    except MemoryError as error:
        raise CodecFailure(f"{step} ran out of memory", code=FailureCode.NO_MEMORY) from error
    except Exception as error:
        raise CodecFailure(f"{step}: {without_folders(one_line(error))}", code=_code_of(error)) from error


@contextmanager
def decode_call() -> Iterator[None]:
    """Seal the process within a with block of a decode, and raise its errors as PayloadError."""
    try:
        with sealed():
            yield
    except MemoryError as error:
        raise CodecFailure("decode ran out of memory", code=FailureCode.NO_MEMORY) from error
    except Exception as error:
        raise PayloadError(f"decode: {without_folders(one_line(error))}", code=_code_of(error)) from error


def bytes_only(values: Sequence[Any], step: str) -> Sequence[bytes]:
    """Return the values if all are bytes. Raises CodecFailure otherwise."""
    wrong = next((v for v in values if not isinstance(v, bytes)), None)
    if wrong is not None:
        raise CodecFailure(f"{step} gave {type(wrong).__name__}, not bytes", code=FailureCode.NOT_BYTES)
    return values


def _check_tensor(decoded: Any, spec: TensorSpec) -> None:
    if not isinstance(decoded, Tensor):
        raise CodecFailure(f"decode gave {type(decoded).__name__}, not a tensor", code=FailureCode.WRONG_TENSOR)
    reason = spec.mismatch(decoded.shape, str(decoded.dtype).removeprefix("torch."))
    if reason:
        raise CodecFailure(f"decode gave the wrong tensor: {reason}", code=FailureCode.WRONG_TENSOR)
    if decoded.is_floating_point() and not bool(torch.isfinite(decoded).all()):
        raise CodecFailure("decode gave values that are not finite", code=FailureCode.NOT_FINITE)


def _code_of(error: Exception) -> FailureCode:
    return FailureCode.NO_MEMORY if _NO_MEMORY.search(one_line(error)) else FailureCode.RAISED
