"""The results of operations in worker processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codecbench.codec import TensorSpec
from codecbench.results.outcomes import Columns


@dataclass(frozen=True)
class BuiltModel:
    """The tensor spec of each cut of a workload's model, in order of execution, and the hash of its weights.

    `parameters_sha256` is of the parameters and buffers of the model that was built.
    """

    cuts: Mapping[str, TensorSpec]
    weights_sha256: str
    parameters_sha256: str


@dataclass(frozen=True, eq=False)
class FullModelRun:
    """The full model's outcome for each sample, in columns, and the seconds of its forward passes.

    `two_looks` has the outcomes of the mean of its scores for each image and its mirror image; it is None unless asked
    for, and where the outputs are no scores of classes.
    """

    outcomes: Columns
    forward_s: float
    two_looks: Columns | None = None


@dataclass(frozen=True)
class Encoded:
    """The payloads of a chunk, and if requested their Shannon bounds, each None if the codec gives none."""

    payloads: Sequence[bytes]
    bound_bytes: Sequence[float | None] | None


@dataclass(frozen=True)
class TimedStep:
    """The seconds of a step by the clock of its process, and of its round trip and an empty one by the parent's.

    Round trips are less what the two processes waited for a processor meanwhile, which a busy machine lets them do.
    The rest are processor seconds, None where the system does not tell: of the process during the step (`busy_s`), of
    the process while it took the sample and gave back the result (`outside_s`), and of the parent meanwhile
    (`carrying_s`).
    """

    reported_s: float
    round_trip_s: float
    empty_s: float
    busy_s: float | None = None
    outside_s: float | None = None
    carrying_s: float = 0.0


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
