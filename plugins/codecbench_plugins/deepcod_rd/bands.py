"""`deepcod-rd` on frequency bands, for large pictures and feature maps: a matrix over channels for each band.

Importing this module imports torch, so the codec imports it inside methods.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from codecbench import FitData, Side
from codecbench.toolbox.bands import (
    Band,
    BandDecoder,
    BandEncoder,
    BandStart,
    BandTransform,
    adapted,
    cosines_of,
    in_bfloat16,
    inverse_softplus,
    is_large,
)
from codecbench.toolbox.learning import (
    Geometry,
    Network,
    RateTaskObjective,
    ScaleContext,
    Schedule,
    State,
    TailCopy,
    TailOutput,
    Teacher,
    ValidationResult,
    as_tensors,
    bytes_tensor,
    halved,
    laplace_bits,
    quantise_dead_zone,
    straight_through,
    tiling_to_json,
    train,
)
from codecbench.toolbox.transforms import Tiling
from codecbench_plugins.deepcod_rd.sizes import banded_tiling

RELATIVE_RATE_WEIGHT = 1.0
"""The rate weight, as a share of `RateTaskObjective.slope` at the start."""

SAMPLES = 200_000
"""Training samples of a fit, unless the time limit ends it."""

RATE, MATRIX_RATE, COPY_RATE = 2e-3, 0.3, 0.1
"""The learning rate, and the shares of it for the matrices and for the copy of the tail, which start good."""

VALIDATED = 256
"""Held-out samples of a validation."""

MAX_KNOWN, MAX_OUTPUT = 20_000, 4096
"""The samples whose outputs a teacher keeps, and the most values of an output that is kept."""

FROZEN = "tail."
"""Prefix of the names of `frozen_weights` in a state."""


@dataclass(frozen=True, eq=False)
class Begun:
    """What a fit takes from that of another point: the encoder's matrices, in that point's steps, and the decoder.

    That point's step is `finer` times this one's.
    """

    matrices: Sequence[Tensor]
    decoder: BandDecoder
    finer: float

    def start(self, data: FitData, tiling: Tiling) -> BandStart:
        """Return a start with these matrices in this point's steps, and statistics of the training data."""
        pairs = zip(self.matrices, self.decoder.bands.matrices(), strict=True)
        bands = [Band(matrix * self.finer, inverse.detach() / self.finer) for matrix, inverse in pairs]
        return BandStart.of_bands(data, bands, tiling)


class RememberingTeacher(Teacher):
    """A teacher of the outputs alone, which it keeps for samples that come again: of pictures, those held out."""

    def __init__(self, tail: nn.Module) -> None:
        super().__init__(tail)
        self._known: dict[bytes, list[Tensor]] = {}

    def __call__(self, xs: Tensor) -> TailOutput:
        """Return the outputs for samples, from memory where they are known."""
        keys = [hashlib.blake2b(x.contiguous().cpu().numpy().tobytes(), digest_size=16).digest() for x in xs]
        new = [at for at, key in enumerate(keys) if key not in self._known]
        found = {keys[at]: output for at, output in zip(new, self._outputs(xs[new]), strict=True)} if new else {}
        kept = len(self._known) < MAX_KNOWN
        self._known.update({key: values for key, values in found.items() if kept and _values(values) <= MAX_OUTPUT})
        outputs = [found.get(key) or self._known[key] for key in keys]
        return TailOutput([], [torch.stack(rows) for rows in zip(*outputs, strict=True)])

    def _outputs(self, xs: Tensor) -> list[list[Tensor]]:
        """Return the outputs of each sample."""
        with in_bfloat16(xs.device):
            found = super().__call__(xs).outputs
        return [[row.float() for row in rows] for rows in zip(*found, strict=True)]


def _values(outputs: Sequence[Tensor]) -> int:
    return sum(output.numel() for output in outputs)


class BandObjective(RateTaskObjective):
    """The loss of a network on bands: that of the copy of the tail alone, from the first step to the last."""

    starts_usable = True

    def __init__(self, data: FitData, start: BandStart, network: Network, rate_weight: float) -> None:
        has_copy = network.decoder.tail is not None
        teacher = RememberingTeacher(data.tail) if has_copy else Teacher(data.tail)
        # Of a `Start`, it reads the tiling and the limits, which a `BandStart` has as well.
        super().__init__(data, start, network, teacher, rate_weight)  # type: ignore[arg-type]
        self.copy_alone = has_copy

    def loss(self, xs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the task's loss plus the weighted rate of the symbols themselves, whose gradient is that of latents.

        Noise in place of rounding, as for denser latents, would make thousands of zeros cost more than all the rest.
        """
        geometry = self._geometry(xs)
        sent = straight_through(self.network.encoder(xs, geometry))
        bits = laplace_bits(sent, self.network.context(sent.detach())).sum() / len(xs)
        task, figures = self.task_loss(sent, geometry, xs)
        return task + self.rate_weight * bits, {**figures, "bytes": float(bits.detach()) / 8}

    def advance(self, share: float) -> bool:
        """Return False: nothing changes during the training."""
        return False

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters of the context, of the matrices, and of the copy of the tail, each with its rate."""
        decoder, encoder = self.network.decoder, self.network.encoder
        copied = [] if decoder.tail is None else [p for p in decoder.tail.parameters() if p.requires_grad]
        groups = [
            ([*self.network.context.parameters()], 1.0),
            ([*encoder.bands.parameters(), *decoder.bands.parameters()], MATRIX_RATE),
            ([decoder.mean, *copied], COPY_RATE),
        ]
        return [{"params": parameters, "rate_factor": factor} for parameters, factor in groups]

    def validate(self, batches: Iterator[Tensor]) -> ValidationResult:
        """Return the result on the first VALIDATED held-out samples."""
        first = next(batches)
        count = math.ceil(VALIDATED / len(first)) - 1
        return super().validate(iter([first, *islice(batches, count)]))


def fit(data: FitData, step: float, begun: Begun | None) -> dict[Side, bytes]:
    """Return the states for a fit's data: the start on frequency bands, then training.

    With what another point's fit has `begun`, a third of the samples suffices.
    """
    tiling = banded_tiling(data.spec)
    start = BandStart.of(data, step, tiling) if begun is None else begun.start(data, tiling)
    tail = TailCopy.of(data.tail, next(as_tensors(data.held_out(2))))
    if tail is not None and is_large(tail):
        tail = adapted(tail)
    cosines, matrices = cosines_of(start.geometry), [band.matrix for band in start.bands]
    inverses = [band.inverse for band in start.bands]
    encoder = BandEncoder(cosines, matrices, start.mean, start.kept)
    decoder = BandDecoder(cosines, inverses, start.mean, start.kept, start.limits, tail)
    if begun is not None:
        decoder.take_over(begun.decoder)
    network = Network(encoder, start.context(), decoder)
    objective = BandObjective(data, start, network, 0.0)
    objective.rate_weight = RELATIVE_RATE_WEIGHT * objective.slope()
    train(objective, data, Schedule(SAMPLES if begun is None else SAMPLES // 3, batch=16, rate=RATE))
    return _states(objective, start, step)


@torch.no_grad()
def merge_features(context: ScaleContext) -> None:
    """Give the weights of all three kinds of magnitudes to the first kind: in a grid of one position they are equal.

    So a state holds a third of them.
    """
    factors = softplus(context.slopes)
    kinds = factors.reshape(len(factors), 3, -1)
    merged = torch.stack([kinds.sum(1), *[torch.zeros_like(kinds[:, 0])] * 2], 1).flatten(1)
    context.slopes.copy_(inverse_softplus(merged))


@torch.no_grad()
def _states(objective: BandObjective, start: BandStart, step: float) -> dict[Side, bytes]:
    network = objective.network.cpu()
    encoder, decoder = network.encoder, network.decoder
    transform = BandTransform.of(
        encoder.cosines, encoder.bands.matrices(), encoder.mean, encoder.kept, image=start.spec.image,
        max_magnitude=start.max_magnitude,
    )  # fmt: skip
    weights = halved(decoder)
    if start.geometry.grid == (1, 1):
        merge_features(network.context)

    def symbols(xs: Tensor, geometry: Geometry) -> Tensor:
        return torch.stack([quantise_dead_zone(transform.components(x, geometry, start.spec.image)) for x in xs])

    prior = objective.prior(symbols)
    tables = {"prior": bytes_tensor(prior.to_bytes())}
    about = {"tiling": tiling_to_json(start.tiling)}
    tail, counts = decoder.tail, [matrix.shape[1] for matrix in decoder.bands.matrices()]
    edge = {**about, "bands": counts, "limits": start.limits, "tail": tail.to_json() if tail else None}
    kept = {"kept": encoder.kept.to(torch.int32)}
    return {
        "device": State({**about, "step": step}, {**tables, **transform.tensors()}).to_bytes(),
        "edge": State(edge, {**tables, **kept, **weights, **frozen_weights(tail)}).to_bytes(),
    }


def frozen_weights(tail: TailCopy | None) -> dict[str, Tensor]:
    """Return the weights of a large copy that a fit leaves as they are, for a state; none of a small copy."""
    if tail is None or not is_large(tail):
        return {}
    return {f"{FROZEN}{name}": tensor.detach().half() for name, tensor in tail.weights.items()}


def without_frozen(state: bytes) -> bytes:
    """Return an edge's state without `frozen_weights`."""
    full = State.from_bytes(state)
    return State(full.about, {k: v for k, v in full.tensors.items() if not k.startswith(FROZEN)}).to_bytes()


def with_frozen(state: bytes, tail: nn.Module, shape: Sequence[int]) -> bytes:
    """Return an edge's state with `frozen_weights` of this tail, for a tensor of this shape at the split."""
    compact = State.from_bytes(state)
    if not compact.about.get("tail"):
        return state
    tensors = {**compact.tensors, **frozen_weights(TailCopy.of(tail, torch.zeros(2, *shape)))}
    return State(compact.about, tensors).to_bytes()


def empty_decoder(geometry: Geometry, state: State) -> BandDecoder:
    """Return a decoder for the weights of a state. Raises KeyError if part of the state is missing."""
    about, (rows, columns) = state.about, geometry.block
    cosines, tail = cosines_of(geometry), None
    if about["tail"]:
        tail = TailCopy.empty(about["tail"])
        if is_large(tail):
            tail = adapted(tail, {name: state.tensors[f"{FROZEN}{name}"].float() for name in about["tail"]["shapes"]})
    matrices = [torch.zeros(geometry.channels, count) for count in about["bands"]]
    mean = torch.zeros(geometry.channels, rows * columns)
    low, high = about["limits"]
    return BandDecoder(cosines, matrices, mean, state.tensors["kept"].long(), (low, high), tail)
