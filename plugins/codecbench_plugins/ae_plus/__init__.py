"""`ae-plus`: a symmetric convolutional autoencoder whose encoder is pruned and rounded to 8 bits.

The paper's Offload-AE+ (Yao et al., SenSys 2020, section 6): an autoencoder of similar cost on device and edge,
improved by compressing the model of its encoder.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from codecbench import Codec, FitData, Side, TensorSpec, hookimpl
from codecbench.toolbox.codecs import LatentCodec, Points, TensorKind, kind_of, steps, suited_steps

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from codecbench.toolbox.learning import Geometry, Network, RateTaskObjective, Start, State, Teacher
    from codecbench_plugins.ae_plus.network import IntegerEncoder

LATENTS = 48
"""Output channels of the encoder."""

FIRST_WIDTH = 48
"""Channels after the encoder's first layer, before pruning; each further layer doubles them."""

KEPT_SHARE = 0.75
"""The share of hidden channels kept after half of the training; the second half is fine-tuning with 8-bit values."""

RELATIVE_RATE_WEIGHT = 0.7
"""The rate weight, as a share of `RateTaskObjective.slope` at the linear start of `deepcod-rd` at the same step."""

SHARE_TENSOR = 0.3
"""The share of the training in which only the tensor's squared error counts. The tail's output for the noise of an
untrained decoder gives no useful gradient and costs most of a step. Then the rate weight rises, to its full value at
half of the training."""

SAMPLES: Mapping[TensorKind, int] = {"image": 1_200_000, "large": 500_000, "middle": 800_000, "small": 1_000_000}
"""Training samples of a fit from scratch, unless the time limit ends it."""

RATE = 1e-3


class AePlus(LatentCodec):
    """Strided convolutions on the device, mirrored on the edge; quantiser, prior and loss of `deepcod-rd`.

    Training begins with the squared error alone. The encoder is trained in floating point for half of the time. Then a
    quarter of its hidden channels are removed (structured pruning by norms), weights and hidden values are rounded to 8
    bits, and training continues. The device computes with these integers. `step` sets the rate weight, as in
    `deepcod-rd`.

    Payload: the length of a varying axis; the symbols as coded by `ContextPrior`; no header.
    """

    name = "ae-plus"
    version = 2
    checkpoints = "codecbench_plugins:checkpoints/ae-plus"
    needs_differentiable_tail = True

    step: float

    _points: ClassVar[Mapping[TensorKind, Points]] = {
        "image": steps(0.7, 0.35),
        "large": steps(1.4, 1.0),
        "middle": steps(2.8, 2.0),
        "small": steps(0.7, 0.5),
    }
    points = _points["small"]

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._encoder: IntegerEncoder | None = None

    @classmethod
    def points_for(cls, spec: TensorSpec) -> Points:
        """Return two steps, finer for an image, and where the statistics ask for it."""
        points = cls._points[kind_of(spec)]
        return suited_steps(spec, points, points[-1]["step"])

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> Points:
        """Return the finer point."""
        return cls.points_for(spec)[-1:]

    @classmethod
    def starts_from(cls, spec: TensorSpec, **point: Any) -> Mapping[str, Any] | None:
        """Return None for the coarser point, which is fitted from scratch, and the coarser point for the finer one."""
        coarser = cls.points_for(spec)[0]
        return None if point["step"] == coarser["step"] else coarser

    def fit(self, data: FitData) -> None:
        """Compute statistics, then train, prune and fine-tune. Without time left the encoder is random, but usable.

        If states of another point, or of this one, are given, training continues from their compressed networks.
        """
        from codecbench.toolbox.learning import (
            MatrixEncoder,
            Network,
            RateTaskObjective,
            ScaleContext,
            Schedule,
            Start,
            Teacher,
            train,
        )

        start = Start.of(data, self.step, LATENTS)
        teacher = Teacher(data.tail)
        linear = Network(MatrixEncoder(start), ScaleContext(start.deviations), _transposed(start))
        rate_weight = RELATIVE_RATE_WEIGHT * RateTaskObjective(data, start, linear, teacher, 0.0).slope()
        samples = SAMPLES[kind_of(data.spec)]
        if data.start is None:
            network, schedule = self._random(data, start), Schedule(samples, rate=RATE)
        else:
            network, schedule = self._network_of(data.start, start), Schedule(samples // 3, rate=RATE / 2)
        objective = _compressing(data, start, network, teacher, rate_weight)
        train(objective, data, schedule)
        objective.advance(1.0)  # compress the encoder if time ran out before half of the training
        for side, state in _states(objective).items():
            self.restore(side, state)
        data.progress(1.0, "fitted")

    def _random(self, data: FitData, start: Start) -> Network:
        import torch

        from codecbench.toolbox.learning import Geometry, Network, ScaleContext, as_tensors, batch_size
        from codecbench_plugins.ae_plus.network import START_DEVIATION, Decoder, Encoder, widths

        mean, deviation = _moments(start)
        channels = widths(start.geometry, FIRST_WIDTH, LATENTS)
        encoder = Encoder(start.geometry, channels, mean, deviation)
        decoder = Decoder(start.geometry, FIRST_WIDTH, LATENTS, mean, deviation)
        first = next(as_tensors(data.held_out(batch_size(data.spec, 64))))
        encoder.scale_output(first, Geometry(start.tiling, first.shape[1:]))
        return Network(encoder, ScaleContext(torch.full((LATENTS,), START_DEVIATION)), decoder)

    def _network_of(self, states: tuple[bytes, bytes], start: Start) -> Network:
        """Return a fitted network.

        It fits all steps, because the step sets the rate weight and not the unit of the latents.
        """
        from codecbench.toolbox.learning import Network, ScaleContext

        other = self._restored(states)
        assert other._encoder is not None
        encoder = other._encoder.trainable(start.geometry, _moments(start)[1])
        context = ScaleContext.of_weights(other._fitted_prior().floating_weights(), 1.0)
        return Network(encoder, context, other._fitted_decoder())

    def _symbols(self, x: Tensor) -> Tensor:
        if self._encoder is None:
            raise RuntimeError(f"{self.name} has to be fitted, or restored, before it encodes")
        symbols: Tensor = self._encoder(x[None], self._geometry(x.shape), self.spec.image)[0]
        return symbols

    def _restore_encoder(self, state: State) -> None:
        from codecbench_plugins.ae_plus.network import IntegerEncoder

        self._encoder = IntegerEncoder.from_tensors(state.tensors)

    def _empty_decoder(self, geometry: Geometry, latents: int, state: State) -> nn.Module:
        from codecbench_plugins.ae_plus.network import Decoder

        return Decoder(geometry, FIRST_WIDTH, latents, 0.0, 1.0)


def _transposed(start: Start) -> nn.Module:
    """Return the decoder of the start: only its inverse transform."""
    from codecbench.toolbox.learning import SynthesisNetwork

    return SynthesisNetwork(start.geometry, start.inverse, start.restored, 1, 0)


def _moments(start: Start) -> tuple[float, float]:
    """Return mean and standard deviation of the training values, over all channels together."""
    within = (start.inverse * start.deviations).square().sum(1).mean()
    mean = float(start.mean.mean())
    if start.spec.image:  # an image's integers are pixel values
        mean = round(mean * 255) / 255
    return mean, math.sqrt(float(within + start.mean.var(correction=0))) or 1.0


def _compressing(
    data: FitData, start: Start, network: Network, teacher: Teacher, rate_weight: float
) -> RateTaskObjective:
    """Return an objective whose rate weight rises slowly, and which compresses the encoder at half of the training.

    An encoder that is compressed already stays as it is.
    """
    from codecbench.toolbox.learning import Geometry, RateTaskObjective, straight_through

    class Compressing(RateTaskObjective):
        share = 1.0 if network.encoder.compressed else 0.0

        def loss(self, xs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
            """Return the squared error in units of the variance at first, then the loss of `RateTaskObjective`."""
            if self.share >= SHARE_TENSOR:
                return super().loss(xs, generator)
            geometry = Geometry(start.tiling, xs.shape[1:])
            grid = straight_through(self.network.encoder(xs, geometry))
            decoded, _ = self.decoded(grid, geometry)
            error = (decoded - xs).square().mean() / xs.var().clamp(min=1e-12)
            return error, {"error": float(error.detach())}

        def advance(self, share: float) -> bool:
            """Return True if the tail loss starts to count, or the encoder was compressed, in this step."""
            if self.share >= 1:
                return False
            before, self.share = self.share, share
            self.rate_weight = rate_weight * min(1.0, max(0.0, share - SHARE_TENSOR) / (0.5 - SHARE_TENSOR))
            encoder = self.network.encoder
            if share >= 0.5 and not encoder.compressed:
                encoder.compress(KEPT_SHARE)
                return True
            return before < SHARE_TENSOR <= share

    return Compressing(data, start, network, teacher, rate_weight)


def _states(objective: RateTaskObjective) -> dict[Side, bytes]:
    from codecbench.toolbox.learning import State, bytes_tensor, halved, tiling_to_json

    network, start = objective.network.cpu(), objective.start
    weights = halved(network.decoder)
    image = start.spec.image
    encoder = network.encoder.integers(image, start.max_magnitude)
    prior = objective.prior(lambda xs, geometry: encoder(xs, geometry, image))
    tables = {"prior": bytes_tensor(prior.to_bytes())}
    about = {"tiling": tiling_to_json(start.tiling)}
    return {
        "device": State(about, {**tables, **encoder.tensors()}).to_bytes(),
        "edge": State({**about, "limits": start.limits}, {**tables, **weights}).to_bytes(),
    }


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [AePlus]
