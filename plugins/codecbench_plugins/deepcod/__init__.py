"""`deepcod`: a learned measurement on the device and a deep decoder on the edge, as DeepCOD was published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from codecbench import Codec, FitData, Side, TensorSpec, hookimpl
from codecbench.toolbox.codecs import Points, TensorKind, decode_by_shape, kind_of, unsuited
from codecbench.toolbox.coding import write_shape
from codecbench.toolbox.transforms import Tiling
from codecbench_plugins.deepcod.coding import SymbolPrior, pack, symbols_of, unpack

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from codecbench.toolbox.learning import Geometry, IntegerTransform, State
    from codecbench_plugins.deepcod.network import Decoder

ThinOrTensorKind: TypeAlias = Literal["thin"] | TensorKind

RATIOS: Mapping[ThinOrTensorKind, float] = {"image": 0.5, "thin": 0.5, "large": 0.12, "middle": 0.08, "small": 0.02}
"""Output channels of the convolution, as shares of the values of a block. More channels cost the device more."""

SAMPLES: Mapping[ThinOrTensorKind, int] = {
    "image": 300_000, "thin": 150_000, "large": 200_000, "middle": 150_000, "small": 150_000,
}  # fmt: skip
"""Training samples seen in a fit."""

LEVELS, MAX_LEVELS = (8, 32), 64
"""Numbers of centres of a symbol: those of the two points for each kind of tensor, and the maximum."""

BLOCK_SIDE, BLOCK_VALUES = 4, 1024
"""The largest side of a block, and the number of values above which its side is halved: sums of up to 1024 values are
exact in float32."""

THIN_BLOCK = 64
"""Blocks of up to this number of values use the ratio of an image."""

FEW_VALUES = 512
"""Blocks of a small tensor with up to this number of values need a larger ratio than those of a ResNet-20's last stage.
"""

RATE, BETAS = 2e-3, (0.9, 0.98)
PRIOR_SAMPLES, PRIOR_SYMBOLS = 4000, 20_000_000
MAX_VALUE = 3e38


class Deepcod(Codec):
    """DeepCOD (Yao et al., SenSys 2020): one strided convolution, learned scalar centres, a decoder with attention.

    As published: the convolution's kernel equals its stride, 4 x 4, without bias and activation, with int(values *
    `ratio`) output channels and at least one. Each output is sent as the nearest of `levels` learned scalar centres,
    trained by a soft assignment whose gradient replaces that of the hard one. The decoder is a full self-attention,
    residual blocks of transposed convolutions with a reduced self-attention between, and a last convolution; every
    kernel is under spectral norm. The loss is 10 times the squared error of the tensor, scaled to [-1, 1], plus that of
    the model's outputs, whose gradient with respect to the reconstruction has a norm of at most 1. The published sizes
    are those of `coding` "fixed"; "entropy" codes the same symbols with a prior of training symbols.

    Differences from the published method, with reasons:

    - Tensors of all kinds. Blocks have sides of up to 4 along the axes that `Tiling.of` tiles, smaller ones if a block
      would have more than 1024 values. The decoder has a block for every halving of the side, or one without stride if
      the side is 1. Features are measured less their mean by channel and divided by their deviation; the decoder's
      output is clipped to the range of training, while that of an image goes through tanh.
    - The orthogonality penalty of every kernel is part of the loss; the published training never collects it.
    - The measurement starts as the leading principal axes in a random rotation, so that it loses little from the first
      step on and all its outputs have about the same deviation, which one set of centres needs. Centres start evenly
      spaced from -sqrt(2 ln levels) to sqrt(2 ln levels) of these deviations, about where those of a normal
      distribution lie (Max 1960, table II); the published interval (-16, 16) is several times wider than the output of
      4 x 4 pixels.
    - The soft assignment has a temperature of a quarter of the squared distance of neighbouring centres (published:
      1/21), so its gradient vanishes less between the thresholds.
    - The squared error of features of later stages, relative to their mean square, is added to that of the outputs.
    - Adam with rate 2e-3, decaying, with momentum, for a few hundred thousand samples; published is 1e-4 with beta (0,
      0.9) for hours on ImageNet. Points with more levels start from the networks of fewer, other ratios from their
      decoder.
    - Inputs and weights of the convolution are integers, and symbols come from exact sums.

    Payload: the length of a varying axis; the symbols, channel by channel, each of ceil(log2 `levels`) bits, or the
    prior's bitstream; no header.
    """

    name = "deepcod"
    version = 2
    tags = frozenset({"learned"})
    long_fit = True
    rows_by = ("coding",)
    checkpoints = "codecbench_plugins:checkpoints/deepcod"
    fit_samples = None
    needs_differentiable_tail = True

    ratio: float
    levels: int
    coding: str

    _points: ClassVar[Mapping[ThinOrTensorKind, Points]] = {
        kind: tuple(
            {"ratio": ratio, "levels": levels, "coding": coding} for levels in LEVELS for coding in ("fixed", "entropy")
        )
        for kind, ratio in RATIOS.items()
    }
    points = _points["image"]

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._states: dict[Side, bytes] = {}
        tiling = tiling_of(spec)
        self._tiling = Tiling(tuple(axis + 1 for axis in tiling.axes), tiling.sizes)
        self._transform: IntegerTransform | None = None
        self._thresholds: Tensor | None = None
        self._decoder: Decoder | None = None
        self._centres: Tensor | None = None
        self._limits = (-MAX_VALUE, MAX_VALUE)
        self._prior: SymbolPrior | None = None

    @classmethod
    def points_for(cls, spec: TensorSpec) -> Points:
        """Return points of few and of more levels, each at a fixed rate and entropy-coded.

        A small tensor of few values a block, of which statistics are known, gets the ratio of a large tensor: the share
        that suits 1024 values leaves a few of a hundred with none.
        """
        kind = _kind(spec)
        few = kind == "small" and tiling_of(spec).values(spec.max_shape) <= FEW_VALUES
        return cls._points["large" if few and spec.statistics else kind]

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> Points:
        """Return the points of more levels, in both codings."""
        return cls.points_for(spec)[2:4]

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: a bad ratio, levels or coding, or a tensor that `unsuited` rejects."""
        ratio, levels = point.get("ratio", 1.0), point.get("levels", LEVELS[0])
        coding = point.get("coding", "fixed")
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio <= 1:
            return f"ratio is a number over 0 and up to 1, not {ratio!r}"
        if type(levels) is not int or not 2 <= levels <= MAX_LEVELS:
            return f"levels is a whole number from 2 to {MAX_LEVELS}, not {levels!r}"
        if coding not in ("fixed", "entropy"):
            return f"coding is 'fixed' or 'entropy', not {coding!r}"
        return unsuited(spec)

    @classmethod
    def starts_from(cls, spec: TensorSpec, **point: Any) -> Mapping[str, Any] | None:
        """Return the point to start from: for an entropy-coded point the fixed one; for that, the one of fewest levels.

        The fixed point has the networks of the entropy-coded one. The point of fewest levels starts from none.
        """
        full = {**cls.point_defaults(spec), **point}
        if full["coding"] == "entropy":
            return {**full, "coding": "fixed"}
        coarser = cls.points_for(spec)[0]
        return None if full == coarser else coarser

    def fit(self, data: FitData) -> None:
        """Train the networks, then count symbols for the prior.

        An entropy-coded point takes the networks from `data.start` if they are there.
        """
        from codecbench.toolbox.learning import Schedule, State, train
        from codecbench_plugins.deepcod.network import batch_for
        from codecbench_plugins.deepcod.objective import DeepcodObjective, learned_prior

        states = _start_states(data)
        if self.coding == "fixed" or not states or states["device"].about != self._about():
            objective = DeepcodObjective(data, self._geometry, self._latents(), self.levels, states)
            batch, held_out_batch = (batch_for(self._geometry(data.spec.max_shape), limit) for limit in (32, 64))
            train(objective, data, Schedule(SAMPLES[_kind(data.spec)], batch, held_out_batch, RATE, betas=BETAS))
            states = objective.states()
        for side, state in states.items():
            self._load(side, state)
        prior: dict[str, Tensor] = {}
        if self.coding == "entropy":
            symbols, held_out = self._gathered(data.batches), self._gathered(data.held_out)
            prior = learned_prior(symbols, held_out, self.levels, data.seed).tensors()
        for side, state in states.items():
            self.restore(side, State(self._about(), {**state.tensors, **prior}).to_bytes())
        data.progress(1.0, "fitted")

    def export(self, side: Side) -> bytes:
        """Return matrix, thresholds and prior, or decoder, centres and prior; empty before a fit."""
        return self._states.get(side, b"")

    def restore(self, side: Side, state: bytes) -> None:
        """Load a state made by `export`. Raises ValueError if it is invalid, or has another ratio or other levels."""
        from codecbench.toolbox.learning import State

        parsed = State.from_bytes(state)
        if parsed.about != self._about():
            raise ValueError(f"a state of {parsed.about}, not of {self._about()}")
        self._load(side, parsed)
        if self.coding == "entropy":
            try:
                self._prior = SymbolPrior.from_tensors(parsed.tensors, self.levels)
            except KeyError as error:
                raise ValueError(f"the state has no prior: {error}") from error
        self._states[side] = state

    def encode(self, x: Tensor) -> bytes:
        """Return shape, and packed or entropy-coded symbols. Raises ValueError for values that are not finite."""
        header = write_shape(self.spec, x.shape)
        if not x.numel():
            return header
        symbols = self._symbols(x)
        if self.coding == "fixed":
            return header + pack(symbols.reshape(-1), self.levels)
        return header + self._fitted_prior().encode(symbols)

    def bound_bytes(self, x: Tensor) -> float | None:
        """Return the Shannon bound of the symbols in bytes, without a varying axis's length; None if fixed-rate."""
        if self.coding == "fixed":
            return None
        if not x.numel():
            return 0.0
        return self._fitted_prior().bound_bytes(self._symbols(x))

    def decode(self, payload: bytes) -> Tensor:
        """Return the sample that the decoder makes of the symbols."""
        return self.decode_batch([payload])[0]

    def decode_batch(self, payloads: Sequence[bytes]) -> list[Tensor]:
        """Return the samples of all payloads; the decoder runs once for all payloads of equal shape."""
        import torch

        if self._decoder is None or self._centres is None:
            raise RuntimeError(f"{self.name} has to be fitted, or restored, before it decodes")
        decoder, centres = self._decoder, self._centres

        def run(symbols: Tensor, shape: tuple[int, ...]) -> Tensor:
            return self._geometry(shape).samples(decoder(centres[symbols]))[:, 0].clamp(*self._limits)

        return decode_by_shape(self.spec, payloads, lambda body, shape: torch.from_numpy(self._read(body, shape)), run)

    # --- symbols ------------------------------------------------------------------------------------------------

    def _symbols(self, x: Tensor) -> NDArray[np.int32]:
        """Return the index of the nearest centre of each component, (latents, height, width), from 0 to levels - 1."""
        if self._transform is None or self._thresholds is None:
            raise RuntimeError(f"{self.name} has to be fitted, or restored, before it encodes")
        components = self._transform.components(x[None], self._geometry(x.shape), self.spec.image)
        return symbols_of(components, self._thresholds)

    def _read(self, body: memoryview, shape: Sequence[int]) -> NDArray[np.int64]:
        """Return the symbols (latents, height, width) after a payload's shape. Raises PayloadError if invalid."""
        height, width = self._geometry(shape).grid
        count, latents = height * width, self._latents()
        if self.coding == "fixed":
            return unpack(body, self.levels, latents * count).reshape(latents, height, width).astype("int64")
        return self._fitted_prior().decode(body, (height, width))

    def _fitted_prior(self) -> SymbolPrior:
        if self._prior is None:
            raise RuntimeError(f"{self.name} has to be fitted, or restored, before it is used")
        return self._prior

    def _geometry(self, shape: Sequence[int]) -> Geometry:
        """Return the layout of samples with a first axis of one channel, so that one axis remains if all are tiled."""
        from codecbench.toolbox.learning import geometry_of

        return geometry_of(self._tiling, (1, *shape))

    def _latents(self) -> int:
        return max(int(tiling_of(self.spec).values(self.spec.max_shape) * self.ratio), 1)

    # --- states -------------------------------------------------------------------------------------------------

    def _about(self) -> dict[str, Any]:
        """Return the sizes of the networks; a state with other sizes is of another point."""
        return {"latents": self._latents(), "levels": self.levels}

    def _load(self, side: Side, state: State) -> None:
        """Load all of a state but the prior. Raises ValueError if something is missing."""
        from codecbench.toolbox.learning import IntegerTransform, load_halved
        from codecbench_plugins.deepcod.network import decoder_for

        try:
            if side == "device":
                self._transform = IntegerTransform.from_tensors(state.tensors)
                self._thresholds = rounded_down(state.tensors["thresholds"], self._transform.weight.dtype)
            else:
                self._centres = state.tensors["centres"]
                low, high = state.tensors["limits"].tolist()
                geometry = self._geometry(self.spec.max_shape)
                decoder = decoder_for(geometry, self._latents(), bounded=self.spec.image).fix_norm()
                load_halved(decoder, state.tensors)
                self._decoder, self._limits = decoder, (low, high)
        except KeyError as error:
            raise ValueError(f"the {side} state lacks {error}") from error

    def _gathered(self, batches: Callable[[int], Iterator[Any]]) -> list[NDArray[np.int32]]:
        found: list[NDArray[np.int32]] = []
        from codecbench.toolbox.learning import batch_size

        for xs, _ in batches(batch_size(self.spec, 100)):
            found += [self._symbols(x.cpu()) for x in xs if x.numel()]
            if len(found) >= min(PRIOR_SAMPLES, PRIOR_SYMBOLS // max(1, found[0].size if found else 1)):
                break
        return found


def _start_states(data: FitData) -> dict[Side, State]:
    """Return the states of the point that a fit starts from; empty if there are none, or they cannot be read."""
    from codecbench.toolbox.learning import State

    if data.start is None:
        return {}
    try:
        device, edge = (State.from_bytes(state) for state in data.start)
    except ValueError:
        return {}
    return {"device": device, "edge": edge}


def rounded_down(thresholds: Tensor, dtype: torch.dtype) -> Tensor:
    """Return float64 thresholds in another type, such that each of its numbers compares with both in the same way."""
    import torch

    near = thresholds.to(dtype)
    return torch.where(near.double() > thresholds, torch.nextafter(near, torch.full_like(near, -torch.inf)), near)


def tiling_of(spec: TensorSpec) -> Tiling:
    """Return blocks of side BLOCK_SIDE along the axes that `Tiling.of` tiles, halved while over BLOCK_VALUES."""
    axes = Tiling.of(spec).axes
    side, channels = BLOCK_SIDE, Tiling(axes, ()).channels(spec.max_shape)
    while side > 1 and channels * side ** len(axes) > BLOCK_VALUES:
        side //= 2
    return Tiling(axes, (side,) * len(axes))


def _kind(spec: TensorSpec) -> ThinOrTensorKind:
    is_thin = not spec.image and tiling_of(spec).values(spec.max_shape) <= THIN_BLOCK
    return "thin" if is_thin else kind_of(spec)


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [Deepcod]
