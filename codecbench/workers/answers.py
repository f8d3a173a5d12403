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
    """The cuts of a workload's model by name, in order of execution, and the digest that names its weights."""

    cuts: Mapping[str, TensorSpec]
    weights_sha256: str


@dataclass(frozen=True, eq=False)
class FullModelRun:
    """The full model's outputs for each sample, and the seconds of its forward passes."""

    outputs: Sequence[ModelOutputs]
    forward_s: float


@dataclass(frozen=True)
class Encoded:
    """Payloads of a chunk, and their Shannon bounds where they were asked for: None for a payload without one."""

    payloads: Sequence[bytes]
    bound_bytes: Sequence[float | None] | None


@dataclass(frozen=True, eq=False)
class Decoded:
    """The tail's outputs for each decoded sample of a chunk, and the decoded tensors where they were kept."""

    outputs: Sequence[ModelOutputs]
    tensors: Sequence[NDArray[Any]] | None


@dataclass(frozen=True)
class TimedEncode:
    """One payload, and the seconds of encoding it."""

    payload: bytes
    encode_s: float


@dataclass(frozen=True)
class TimedDecode:
    """Seconds of decoding one payload, and of the tail behind it."""

    decode_s: float
    tail_s: float


@dataclass(frozen=True)
class HeadCost:
    """FLOPs and peak tensor storage of a head on one sample."""

    flop: int
    peak_bytes: int


@dataclass(frozen=True)
class EncoderCost:
    """FLOPs, parameters and memory growth of an encoder on one sample; None where nothing was counted."""

    flop: int | None
    parameters: int | None
    peak_bytes: int | None


@dataclass(frozen=True)
class GeneralTimes:
    """Seconds of kernels of plain code by name and of calling an empty model, and the rates of large steps by name."""

    kernels_s: Mapping[str, float]
    call_s: float
    rates: Mapping[str, float]


@dataclass(frozen=True)
class FitResult:
    """Both sides' states after a fit, and the seconds that it took."""

    device: bytes
    edge: bytes
    fit_s: float
