"""The results of operations in worker processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codecbench.codec import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

ModelOutputs = tuple["NDArray[Any]", ...]
"""A model's output tensors for one sample."""


@dataclass(frozen=True)
class BuiltModel:
    """The tensor spec of each cut of a workload's model, in order of execution, and the hash of its weights."""

    cuts: Mapping[str, TensorSpec]
    weights_sha256: str


@dataclass(frozen=True, eq=False)
class FullModelRun:
    """The full model's outputs for each sample, and the seconds of all its forward passes."""

    outputs: Sequence[ModelOutputs]
    forward_s: float


@dataclass(frozen=True)
class Encoded:
    """The payloads of a chunk, and if requested their Shannon bounds, each None if the codec gives none."""

    payloads: Sequence[bytes]
    bound_bytes: Sequence[float | None] | None


@dataclass(frozen=True, eq=False)
class Decoded:
    """The tail's outputs for each sample of a chunk, and the decoded tensors if requested."""

    outputs: Sequence[ModelOutputs]
    tensors: Sequence[NDArray[Any]] | None


@dataclass(frozen=True)
class TimedEncode:
    """A payload, and the seconds of its encoding."""

    payload: bytes
    encode_s: float


@dataclass(frozen=True)
class TimedDecode:
    """The seconds of decoding one payload, and of running the tail on the result."""

    decode_s: float
    tail_s: float


@dataclass(frozen=True)
class HeadCost:
    """The FLOPs and the peak tensor storage of a head on one sample."""

    flop: int
    peak_bytes: int


@dataclass(frozen=True)
class EncoderCost:
    """The FLOPs, parameters and memory growth of an encoder on one sample; None if not countable."""

    flop: int | None
    parameters: int | None
    peak_bytes: int | None


@dataclass(frozen=True)
class GeneralTimes:
    """Times of plain code: seconds by kernel, seconds of calling an empty model, and the machine's rates by name."""

    kernels_s: Mapping[str, float]
    call_s: float
    rates: Mapping[str, float]


@dataclass(frozen=True)
class FitResult:
    """Both sides' states after a fit, and the seconds of the fit."""

    device: bytes
    edge: bytes
    fit_s: float
