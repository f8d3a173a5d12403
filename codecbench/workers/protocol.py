"""Frames between the main process and a worker: a JSON header and byte strings."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from codecbench.errors import CodecbenchError, CodecFailure, DataError, FailureCode, PayloadError, WorkerError, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

Role: TypeAlias = Literal["device", "edge", "fit"]

Operation: TypeAlias = Literal[
    "threads", "workload", "split",
    "open_codec", "export", "close_codecs", "encode_arrays", "decode_arrays",
    "head", "full_model", "encode", "decode", "fit",
    "time_head", "time_encode", "time_decode", "head_cost", "encoder_cost",
    "load_inputs", "request", "listen", "probe",
    "layers", "measure_layers", "measure_general",
]  # fmt: skip
"""The operations of workers. The class of a role has a method `op_...` for each of its operations."""

ErrorKind: TypeAlias = Literal["codec", "payload", "data", "harness"]
"""The origin of an error: the codec, a payload, data or options of the user, or a bug in the harness."""


@dataclass(frozen=True)
class Reply:
    """An unpacked frame, a request or a reply: its JSON fields and its byte strings."""

    fields: dict[str, Any]
    blobs: list[bytes]


def pack_frame(fields: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """Return a frame: length of the JSON, the JSON with the lengths of the byte strings, the byte strings."""
    header = json.dumps({**fields, "blob_bytes": [len(b) for b in blobs]}).encode()
    return b"".join([struct.pack("<I", len(header)), header, *blobs])


def unpack_frame(frame: bytes) -> Reply:
    """The inverse of `pack_frame`."""
    (header_bytes,) = struct.unpack_from("<I", frame)
    fields = json.loads(frame[4 : 4 + header_bytes])
    blobs, offset = [], 4 + header_bytes
    for blob_bytes in fields.pop("blob_bytes"):
        blobs.append(frame[offset : offset + blob_bytes])
        offset += blob_bytes
    return Reply(fields, blobs)


def pack_arrays(arrays: Sequence[NDArray[Any]]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the headers (dtype and shape) and the bytes of arrays."""
    return [{"dtype": str(a.dtype), "shape": list(a.shape)} for a in arrays], [a.tobytes() for a in arrays]


def unpack_arrays(headers: Sequence[Mapping[str, Any]], blobs: Sequence[bytes]) -> list[NDArray[Any]]:
    """The inverse of `pack_arrays`."""
    import numpy as np

    return [np.frombuffer(blob, dtype=h["dtype"]).reshape(h["shape"]) for h, blob in zip(headers, blobs, strict=True)]


def pack_error(error: Exception) -> bytes:
    """Return the frame of an error: its kind, its text, and the code of a codec's fault."""
    kind: ErrorKind = "harness"
    text = one_line(error)
    if isinstance(error, CodecFailure):
        kind, text = "codec", str(error)
    elif isinstance(error, PayloadError):
        kind = "payload"
    elif isinstance(error, CodecbenchError):
        kind, text = "data", str(error)
    fields = {"error": kind, "message": text}
    if isinstance(error, CodecFailure | PayloadError):
        fields["code"] = error.code
    return pack_frame(fields)


def unpack_error(reply: Reply) -> CodecbenchError | None:
    """Return the error in a reply, or None if it is a result."""
    kind: ErrorKind | None = reply.fields.get("error")
    if kind is None:
        return None
    message = reply.fields["message"]
    if kind == "codec":
        return CodecFailure(message, code=FailureCode(reply.fields["code"]))
    if kind == "payload":
        return PayloadError(message, code=FailureCode(reply.fields["code"]))
    return DataError(message) if kind == "data" else WorkerError(message)


def pack_outputs(outputs: Sequence[tuple[NDArray[Any], ...]]) -> tuple[list[list[dict[str, Any]]], list[bytes]]:
    """Return the headers and the bytes of the model outputs of each sample."""
    packed = [pack_arrays(sample) for sample in outputs]
    return [headers for headers, _ in packed], [blob for _, blobs in packed for blob in blobs]


def split_outputs(reply: Reply) -> tuple[list[tuple[Any, ...]], Sequence[bytes]]:
    """Undo `pack_outputs`: return the model outputs of each sample in a reply, and the byte strings after them."""
    outputs, offset = [], 0
    for headers in reply.fields["outputs"]:
        outputs.append(tuple(unpack_arrays(headers, reply.blobs[offset : offset + len(headers)])))
        offset += len(headers)
    return outputs, reply.blobs[offset:]
