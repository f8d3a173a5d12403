"""Frames between the main process and a worker: a JSON header and byte strings."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from codecbench.errors import (
    CodecbenchError,
    CodecFailure,
    DataError,
    FailureCode,
    PayloadError,
    PluginError,
    UsageError,
    WorkerError,
    one_line,
)
from codecbench.locations import MAX_FRAME_CHARS, MAX_FRAMES, frames_of
from codecbench.results.outcomes import Columns, holds_arrays, object_column

if TYPE_CHECKING:
    from numpy.typing import NDArray

Role: TypeAlias = Literal["device", "edge", "fit", "codec", "plugin", "forks"]
"""device, edge: the model's processes on the two sides. codec: one codec's. plugin: for asking a plugin. forks: the
process from which those of codecs and plugins are forked."""

MODEL_BATCH = 32
"""The batch size of heads, tails and full models. Features of larger batches do not stay in a processor's cache: a
ResNet-20 on CIFAR-10 takes a quarter longer for each image in batches of 128."""

Operation: TypeAlias = Literal[
    "threads", "workload", "split",
    "statistics", "head", "full_model", "metric_values", "data_hash", "run_head", "time_head", "head_cost",
    "layers", "measure_layers", "measure_general",
    "score", "run_tail", "time_tail",
    "seal", "open", "export", "encode", "decode", "encode_arrays", "decode_arrays",
    "hold", "step", "take", "encoder_cost", "decoder_flop", "trim", "ping",
    "fit_data", "fit", "complete",
    "prepare", "fork", "wait", "load_plugin", "describe_codecs", "describe_at", "describe_workload",
]  # fmt: skip
"""The operations of workers. The class of a role has a method `op_...` for each of its operations."""

OperationResult: TypeAlias = tuple[dict[str, Any], Sequence[bytes]]
"""The result of an operation: fields that JSON holds, and byte strings."""

ErrorKind: TypeAlias = Literal["codec", "payload", "data", "usage", "plugin", "harness"]
"""The origin of an error: the codec, a payload, data, options or a plugin of the user, or a bug in the harness."""

_USERS_ERRORS: Mapping[ErrorKind, type[CodecbenchError]] = {
    "usage": UsageError, "plugin": PluginError, "data": DataError,
}  # fmt: skip


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


def pack_columns(columns: Mapping[str, NDArray[Any]]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the headers and the bytes of columns of outcomes; of arrays, those of all samples one after another."""
    import numpy as np

    headers, blobs = [], []
    for name, column in columns.items():
        lengths = [len(array) for array in column] if holds_arrays(name) else None
        (header,), blob = pack_arrays([np.concatenate(column.tolist()) if lengths else column])
        headers.append({**header, "name": name, "lengths": lengths})
        blobs += blob
    return headers, blobs


def unpack_columns(headers: Sequence[Mapping[str, Any]], blobs: Sequence[bytes]) -> Columns:
    """The inverse of `pack_columns`."""
    import numpy as np

    columns = {}
    for header, values in zip(headers, unpack_arrays(headers, blobs), strict=True):
        lengths = header["lengths"]
        columns[header["name"]] = (
            values if lengths is None else object_column(np.split(values, np.cumsum(lengths)[:-1]))
        )
    return columns


def pack_error(error: Exception) -> bytes:
    """Return the frame of an error: its kind, its text, the lines of the plugin's code, and a codec's fault's code."""
    kind: ErrorKind = "harness"
    text = one_line(error)
    if isinstance(error, CodecFailure):
        kind, text = "codec", str(error)
    elif isinstance(error, PayloadError):
        kind = "payload"
    elif isinstance(error, CodecbenchError):
        kind, text = next((kind for kind, base in _USERS_ERRORS.items() if isinstance(error, base)), "data"), str(error)
    fields: dict[str, Any] = {"error": kind, "message": text, "frames": list(frames_of(error))}
    if isinstance(error, CodecFailure | PayloadError):
        fields["code"] = error.code
    return pack_frame(fields)


def unpack_error(reply: Reply) -> CodecbenchError | None:
    """Return the error in a reply, or None if it is a result."""
    kind: ErrorKind | None = reply.fields.get("error")
    if kind is None:
        return None
    message = reply.fields["message"]
    error: CodecbenchError
    if kind == "codec":
        error = CodecFailure(message, code=FailureCode(reply.fields["code"]))
    elif kind == "payload":
        error = PayloadError(message, code=FailureCode(reply.fields["code"]))
    else:
        error = _USERS_ERRORS.get(kind, WorkerError)(message)
    error.frames = _frames(reply.fields.get("frames"))
    return error


def _frames(found: Any) -> tuple[str, ...]:
    """Return lines of code as a process sent them; code of a codec can send what it likes."""
    if not isinstance(found, list):
        return ()
    lines = [" ".join(line.split())[:MAX_FRAME_CHARS] for line in found[:MAX_FRAMES] if isinstance(line, str)]
    return tuple(lines)
