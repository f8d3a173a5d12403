"""`deepcod-rd`: DeepCOD's one convolution on the device, trained end to end for rate and task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from codecbench import Codec, FitData, Side, TensorSpec, hookimpl
from codecbench.toolbox.codecs import (
    Edge,
    LatentCodec,
    Points,
    TensorKind,
    edge_fault,
    kind_of,
    steps,
    suited_steps,
)
from codecbench_plugins.deepcod_rd.sizes import banded_points, is_banded

if TYPE_CHECKING:
    from torch import Tensor, nn

    from codecbench.toolbox.bands import BandTransform
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
"""The largest number of output channels of the convolution. At the stem of a ResNet-20 they take 1.9 % of its
operations, and nowhere more than a third of those of an autoencoder."""

RELATIVE_RATE_WEIGHT = 0.7
"""The rate weight, as a share of `RateTaskObjective.slope` at the start."""

WIDTH, DEPTH = 32, 2
"""The size of the residual network on the edge."""

SAMPLES: Mapping[TensorKind, int] = {"image": 1_200_000, "large": 500_000, "middle": 800_000, "small": 1_000_000}
"""Training samples of a fit from scratch, unless the time limit ends it."""

RATE = 1e-3


class DeepcodRd(LatentCodec):
    """A matrix on blocks, rounding to whole steps, and a context model; residual networks on the edge.

    The matrix starts as the Karhunen-Loève transform of values weighted by the tail's sensitivity (`klt-task`), the
    decoder as its transpose plus a residual network that starts at zero. That network holds a copy of the tail, which
    runs on the transform's result and is trained as well: a network before a frozen tail learns slowly, while a tail
    quickly adapts to coarser values (`codecbench.toolbox.learning.tail_copy`). All is trained for rate and task
    (`codecbench.toolbox.learning.objective`). The copy and the frozen tail then evaluate the symbols in two ways, and
    the mean of their outputs is better than either, so decoding ends with a step of the tensor towards it
    (`TailCopy.steered`). For an image, the copy also evaluates the mirror image, as in training. In total, decoding
    costs several times as much as the tail. With `edge="plain"`, the tensor is the networks' result, without that step
    and without the mirror image; payloads and fitted states are the same.

    Pictures and feature maps of fixed size with more than BLOCK_VALUES values have another transform: cosines of
    blocks, and a matrix over channels for each band of frequencies, weighted by the sensitivity of the tail's
    probabilities (`codecbench.toolbox.bands`). Their decoder is the inverse transform and the copy of the tail, without
    networks; a large copy is trained by low-rank changes.

    `step` is the step at the start, in root-mean-square deviations of the weighted values. It sets the rate weight: a
    fixed share of the tail loss that a further bit saves at the start.

    Payload: the length of a varying axis; the symbols as coded by `ContextPrior`; no header.
    """

    name = "deepcod-rd"
    version = 2
    checkpoints = "codecbench_plugins:checkpoints/deepcod-rd"
    needs_differentiable_tail = True
    rows_by = ("edge",)
    implied: ClassVar[Mapping[str, Any]] = {"edge": "steered"}
    unfitted = frozenset({"edge"})

    step: float
    edge: Edge

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
        self._transform: IntegerTransform | BandTransform | None = None

    @classmethod
    def points_for(cls, spec: TensorSpec) -> Points:
        """Return three steps, finer for an image, and where the statistics ask for it; two of a large tensor."""
        if is_banded(spec):
            return banded_points(spec)
        return cls._suited(spec, cls._points[kind_of(spec)])

    @classmethod
    def further_points_for(cls, spec: TensorSpec) -> Points:
        """Return the same for a plain edge."""
        return tuple({**point, "edge": "plain"} for point in cls.points_for(spec))

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> Points:
        """Return the finest point, which loses about a point of top-1 on a ResNet-20."""
        return cls.points_for(spec)[-1:]

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: a bad `edge`, or a reason of `LatentCodec`."""
        return edge_fault(point) or super().skip_reason(spec, **point)

    @classmethod
    def starts_from(cls, spec: TensorSpec, **point: Any) -> Mapping[str, Any] | None:
        """Return None for the one point that is fitted from scratch, and that point for all others."""
        if is_banded(spec):
            first = banded_points(spec)[-1]
        else:
            (first,) = cls._suited(spec, steps(cls._from_scratch[kind_of(spec)]))
        return None if point["step"] == first["step"] else first

    @classmethod
    def _suited(cls, spec: TensorSpec, points: Points) -> Points:
        """Return points whose steps suit the tensor, as the finest of the tuned ones does a ResNet-20's."""
        return suited_steps(spec, points, cls._points[kind_of(spec)][-1]["step"])

    def fit(self, data: FitData) -> None:
        """Compute statistics, then train. Without time left, the start is the result.

        If the states of the point that is fitted from scratch are given, they are the start, with their steps scaled to
        this point's, and a third of the training suffices.
        """
        if is_banded(data.spec):
            self._fit_bands(data)
        else:
            self._fit_blocks(data)
        data.progress(1.0, "fitted")

    def _fit_bands(self, data: FitData) -> None:
        from codecbench.toolbox.bands import BandTransform
        from codecbench.toolbox.learning import State
        from codecbench_plugins.deepcod_rd import bands

        begun: bands.Begun | None = None
        if data.start is not None:
            other = self._restored(data.start, step=State.from_bytes(data.start[0]).about["step"])
            decoder: Any = other._fitted_decoder()
            assert isinstance(other._transform, BandTransform)
            begun = bands.Begun(other._transform.matrices(), decoder, other.step / self.step)
        for side, state in bands.fit(data, self.step, begun).items():
            self.restore(side, state)

    def _fit_blocks(self, data: FitData) -> None:
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
        objective.rate_weight = RELATIVE_RATE_WEIGHT * objective.slope()
        samples = SAMPLES[kind_of(data.spec)]
        if data.start is not None:
            objective.use(self._network_of(data.start, start))
            samples //= 3
        train(objective, data, Schedule(samples, rate=RATE if data.start is None else RATE / 2))
        for side, state in _states(objective, self.step).items():
            self.restore(side, state)

    def _network_of(self, states: tuple[bytes, bytes], start: Start) -> Network:
        """Return a fitted network at this point's step: its latents and the decoder's input are rescaled."""
        import dataclasses

        from codecbench.toolbox.learning import IntegerTransform, MatrixEncoder, Network, ScaleContext, State

        other = self._restored(states, step=State.from_bytes(states[0]).about["step"])
        assert isinstance(other._transform, IntegerTransform)
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
        from codecbench.toolbox.bands import BandTransform
        from codecbench.toolbox.learning import IntegerTransform

        kind = BandTransform if is_banded(self.spec) else IntegerTransform
        self._transform = kind.from_tensors(state.tensors)

    def compact(self) -> bytes:
        """Return the edge's state without the weights of a large tail, which `complete` adds."""
        from codecbench_plugins.deepcod_rd import bands

        state = self.export("edge")
        return bands.without_frozen(state) if is_banded(self.spec) else state

    def complete(self, state: bytes, tail: nn.Module) -> bytes:
        """Return the state with the weights of a large tail."""
        from codecbench_plugins.deepcod_rd import bands

        return bands.with_frozen(state, tail, self.spec.max_shape) if is_banded(self.spec) else state

    def _samples(self, decoder: Any, grids: Tensor, geometry: Geometry) -> Tensor:
        """Decode one by one, because gradients jump at activations near zero, and batches round differently.

        A plain edge decodes a batch.
        """
        import torch

        if self.edge == "plain":
            return super()._samples(decoder, grids, geometry)

        limits, mirrored = self._limits, self.spec.image
        return torch.cat([decoder.steered(grid[None], geometry, limits, mirrored=mirrored) for grid in grids])

    def _empty_decoder(self, geometry: Geometry, latents: int, state: State) -> nn.Module:
        import torch

        from codecbench.toolbox.learning import TailCopy

        if is_banded(self.spec):
            from codecbench_plugins.deepcod_rd import bands

            return bands.empty_decoder(geometry, state)
        tail = TailCopy.empty(state.about["tail"]) if state.about["tail"] else None
        return _decoder(geometry, torch.zeros(geometry.values, latents), torch.zeros(geometry.values), tail)


def _decoder(geometry: Geometry, matrix: Tensor, mean: Tensor, tail: TailCopy | None) -> SynthesisNetwork:
    from codecbench.toolbox.learning import SynthesisNetwork

    return SynthesisNetwork(geometry, matrix, mean, WIDTH, DEPTH, tail)


def _symbols(transform: IntegerTransform | BandTransform, x: Tensor, geometry: Geometry, image: bool) -> Tensor:
    """Return the symbols (latents, height, width) of a sample."""
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
