"""Frames between the main process and a worker: a JSON header and byte strings."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from codecbench.errors import CodecbenchError, CodecFailure, DataError, PayloadError, WorkerError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Role: TypeAlias = Literal["device", "edge", "fit"]


@dataclass(frozen=True)
class Reply:
    """One answer: its JSON fields and its byte strings."""

    fields: dict[str, Any]
    blobs: list[bytes]


def pack_frame(fields: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """A frame: length of the JSON, the JSON with the lengths of the byte strings, the byte strings."""
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
    """Headers (dtype and shape) and bytes of arrays."""
    return [{"dtype": str(a.dtype), "shape": list(a.shape)} for a in arrays], [a.tobytes() for a in arrays]


def unpack_arrays(headers: Sequence[Mapping[str, Any]], blobs: Sequence[bytes]) -> list[NDArray[Any]]:
    """The inverse of `pack_arrays`."""
    import numpy as np

    return [np.frombuffer(blob, dtype=h["dtype"]).reshape(h["shape"]) for h, blob in zip(headers, blobs, strict=True)]


def _error(kind: str, message: str) -> CodecbenchError:
    kinds: dict[str, type[CodecbenchError]] = {"codec": CodecFailure, "payload": PayloadError, "data": DataError}
    return kinds.get(kind, WorkerError)(message)


def split_outputs(reply: Reply) -> tuple[list[tuple[Any, ...]], Sequence[bytes]]:
    """The model outputs of each sample in a reply, and the byte strings behind them."""
    outputs, offset = [], 0
    for headers in reply.fields["outputs"]:
        outputs.append(tuple(unpack_arrays(headers, reply.blobs[offset : offset + len(headers)])))
        offset += len(headers)
    return outputs, reply.blobs[offset:]
