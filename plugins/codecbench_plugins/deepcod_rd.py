"""`deepcod-rd`: DeepCOD's one convolution on the device, trained end to end for rate and task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from codecbench import Codec, FitData, Side, TensorSpec, hookimpl
from codecbench.toolbox.codecs import LatentCodec, Points, TensorKind, kind_of, steps

if TYPE_CHECKING:
    from torch import Tensor, nn

    from codecbench.toolbox.learning import (
        Geometry,
        IntegerTransform,
        Network,
        RateTaskObjective,
        Start,
        State,
        SynthesisNetwork,
        TailCopy,
    )

COMPONENTS: Mapping[TensorKind, int] = {"image": 96, "large": 46, "middle": 36, "small": 48}
"""At most so many output channels of the convolution: at the stem of a ResNet-20 they are 1.9 % of its operations, and
nowhere more than a third of an auto-encoder's."""

EXCHANGE = 0.7
"""The worth of a bit to the loss, as a share of its worth at the start."""

WIDTH, DEPTH = 32, 2
"""The size of the residual network on the edge."""

SAMPLES: Mapping[TensorKind, int] = {"image": 1_200_000, "large": 500_000, "middle": 800_000, "small": 1_000_000}
"""Training samples seen by a fit from scratch that time does not end."""

RATE = 1e-3


class DeepcodRd(LatentCodec):
    """A matrix on blocks, quantisation to whole steps, and a prior of contexts; residual networks on the edge.

    The matrix starts as the Karhunen-Loève transform of values weighted by what the tail sees of them (`klt-task`), the
    decoder as its transpose, beside a residual network that starts at zero. That network holds a copy of the tail,
    which looks at what the transform gives and is trained as well: a network in front of a frozen tail learns slowly,
    while a tail soon learns to do with coarser values (`codecbench.toolbox.learning.tail_copy`). All is trained for
    rate and task (`codecbench.toolbox.learning.objective`). Copy and frozen tail then read the symbols in two ways, and
    the mean of what they say is better than either: decoding ends with a step of the tensor towards it
    (`TailCopy.steered`). Of an image, the copy reads the mirror image as well, as it has in training. All this makes
    decoding several times as costly as the tail.

    `step` is the step of the start, in root-mean-square deviations of the weighted values; what a bit is worth follows
    from it: a share of what it is worth at the start.

    Payload: the length of a varying axis; the symbols in the code of `ContextPrior`, no header.
    """

    name = "deepcod-rd"
    version = 2
    checkpoints = "codecbench_plugins:checkpoints/deepcod-rd"

    step: float

    _points: ClassVar[Mapping[TensorKind, Points]] = {
        "image": steps(0.87, 0.65, 0.5),
        "large": steps(2.8, 2.0, 1.6),
        "middle": steps(4.0, 2.8, 2.0),
        "small": steps(0.7, 0.5, 0.35),
    }
    _from_scratch: ClassVar[Mapping[TensorKind, float]] = {"image": 0.65, "large": 2.0, "middle": 4.0, "small": 0.7}
    points = _points["small"]

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._transform: IntegerTransform | None = None

    @classmethod
    def points_for(cls, spec: TensorSpec) -> Points:
        """Three steps, finer at an image."""
        return cls._points[kind_of(spec)]

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> Points:
        """The finest, which loses about a point of top-1 on a ResNet-20."""
        return cls.points_for(spec)[-1:]

    @classmethod
    def starts_from(cls, spec: TensorSpec, **point: Any) -> Mapping[str, Any] | None:
        """One point is fitted from scratch, and all others start from it."""
        step = cls._from_scratch[kind_of(spec)]
        return None if point["step"] == step else {"step": step}

    def fit(self, data: FitData) -> None:
        """Statistics, then training. With no time left, the start stands as it is.

        Where the states of the point that is fitted from scratch are there, they are the start, with their steps made
        finer or coarser, and a third of the training is enough.
        """
        from codecbench.toolbox.learning import (
            MatrixEncoder,
            Network,
            RateTaskObjective,
            ScaleContext,
            Schedule,
            Start,
            TailCopy,
            Teacher,
            as_tensors,
            train,
        )

        start = Start.of(data, self.step, COMPONENTS[kind_of(data.spec)])
        example = next(as_tensors(data.held_out(2)))
        tail = None if None in data.spec.shape else TailCopy.of(data.tail, example)
        decoder = _decoder(start.geometry, start.inverse, start.restored, tail)
        network = Network(MatrixEncoder(start), ScaleContext(start.deviations), decoder)
        objective = RateTaskObjective(data, start, network, Teacher(data.tail), 0.0)
        objective.exchange = EXCHANGE * objective.slope()
        samples = SAMPLES[kind_of(data.spec)]
        if data.start is not None:
            objective.use(self._network_of(data.start, start))
            samples //= 3
        train(objective, data, Schedule(samples, rate=RATE if data.start is None else RATE / 2))
        for side, state in _states(objective, self.step).items():
            self.restore(side, state)
        data.progress(1.0, "fitted")

    def _network_of(self, states: tuple[bytes, bytes], start: Start) -> Network:
        """A fitted network at this point's step: its latents and what reads them are scaled."""
        import dataclasses

        from codecbench.toolbox.learning import MatrixEncoder, Network, ScaleContext, State

        other = self._restored(states, step=State.from_bytes(states[0]).about["step"])
        assert other._transform is not None
        finer = other.step / self.step
        matrix = other._transform.matrix() * finer
        context = ScaleContext.of_weights(other._fitted_prior().floating_weights(), finer)
        decoder: Any = other._fitted_decoder()
        decoder.rescale(1 / finer)
        return Network(MatrixEncoder(dataclasses.replace(start, matrix=matrix)), context, decoder)

    def _symbols(self, x: Tensor) -> Tensor:
        if self._transform is None:
            raise RuntimeError(f"{self.name} has to be fitted, or restored, before it encodes")
        return _symbols(self._transform, x, self._geometry(x.shape), self.spec.image)

    def _restore_encoder(self, state: State) -> None:
        from codecbench.toolbox.learning import IntegerTransform

        self._transform = IntegerTransform.from_tensors(state.tensors)

    def _samples(self, decoder: Any, grids: Tensor, geometry: Geometry) -> Tensor:
        """One by one: gradients jump where an activation is near zero, and batches round in other ways."""
        import torch

        limits, mirrored = self._limits, self.spec.image
        return torch.cat([decoder.steered(grid[None], geometry, limits, mirrored=mirrored) for grid in grids])

    def _empty_decoder(self, geometry: Geometry, latents: int, state: State) -> nn.Module:
        import torch

        from codecbench.toolbox.learning import TailCopy

        tail = TailCopy.empty(state.about["tail"]) if state.about["tail"] else None
        return _decoder(geometry, torch.zeros(geometry.values, latents), torch.zeros(geometry.values), tail)


def _decoder(geometry: Geometry, matrix: Tensor, mean: Tensor, tail: TailCopy | None) -> SynthesisNetwork:
    from codecbench.toolbox.learning import SynthesisNetwork

    return SynthesisNetwork(geometry, matrix, mean, WIDTH, DEPTH, tail)


def _symbols(transform: IntegerTransform, x: Tensor, geometry: Geometry, image: bool) -> Tensor:
    """Symbols (latents, height, width) of a sample."""
    from codecbench.toolbox.learning import quantise_dead_zone

    return quantise_dead_zone(transform.components(x, geometry, image))


def _states(objective: RateTaskObjective, step: float) -> dict[Side, bytes]:
    import torch

    from codecbench.toolbox.learning import IntegerTransform, State, bytes_tensor, halved, tiling_to_json

    network, start = objective.network.cpu(), objective.start
    weights = halved(network.decoder)
    matrix = network.encoder.matrix.detach()
    transform = IntegerTransform.of(matrix, start.mean, start.spec, start.max_magnitude)
    prior = objective.prior(
        lambda xs, geometry: torch.stack([_symbols(transform, x, geometry, start.spec.image) for x in xs])
    )
    tables = {"prior": bytes_tensor(prior.to_bytes())}
    about = {"tiling": tiling_to_json(start.tiling)}
    tail = network.decoder.tail
    return {
        "device": State({**about, "step": step}, {**tables, **transform.tensors()}).to_bytes(),
        "edge": State(
            {**about, "limits": start.limits, "tail": tail.to_json() if tail else None}, {**tables, **weights}
        ).to_bytes(),
    }


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [DeepcodRd]
