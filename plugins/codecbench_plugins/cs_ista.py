"""`cs-dct` and `cs-wavelet`: compressive sensing, with random measurements on the device and l1 recovery on the edge.

The paper's Offload-CS in two variants: `variant="faithful"` is what the paper compared with, `variant="best"` is the
best that the method achieves here.
"""

from __future__ import annotations

import math
import zlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from codecbench import Codec, FitData, RateKnob, Side, TensorSpec, hookimpl
from codecbench.toolbox.codecs import suited_steps
from codecbench.toolbox.coding import Prior, read_shape, write_shape
from codecbench.toolbox.sensing import (
    VALUE_BITS,
    Banded,
    Blocks,
    DenseGaussian,
    Sensing,
    dct_basis,
    fourier_basis,
    is_orthonormal_wavelet,
    to_integers,
    wavelet_basis,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Arrays: TypeAlias = dict[str, NDArray[Any]]
    Floats: TypeAlias = NDArray[np.float64]

MIN_LIMIT = 1e-30
"""The smallest range of values: of a tensor of zeros alone, or nearly so."""

FIT_BYTES = 1 << 27
"""The largest number of bytes of training activations, as float64, that a fit uses."""

SPARE_SYMBOLS = 16
"""Steps by which a measurement may exceed the range of training before it is clipped."""


PlaneKind: TypeAlias = Literal["image", "large", "middle", "small"]

LARGE_PLANE, SMALL_PLANE = 512, 100
"""A plane of more than 512 values is large, one of fewer than 100 small. Small ones represent the class rather than
positions, and tolerate coarse steps."""

STEPS: Mapping[PlaneKind, tuple[float, ...]] = {
    "image": (0.5, 0.35, 0.25, 0.18, 0.13, 0.09, 0.06),
    "large": (2.8, 2.0, 1.4, 1.0, 0.7, 0.5, 0.35),
    "middle": (2.8, 2.0, 1.4, 1.0, 0.7, 0.5, 0.35),
    "small": (8.0, 6.5, 5.2, 4.2, 3.4, 2.5, 1.8),
}
QUICK_STEP: Mapping[PlaneKind, float] = {"image": 0.18, "large": 0.7, "middle": 1.0, "small": 2.5}
"""Steps of the best variant that lose about a point of top-1 on a ResNet-20."""

FAITHFUL: Mapping[PlaneKind, tuple[float, tuple[float, ...]]] = {
    "image": (0.1, (0.5, 1.0, 1.5, 2.0)),
    "large": (0.3, (0.25, 0.5, 0.75, 1.0)),
    "middle": (0.3, (0.25, 0.5, 0.75, 1.0)),
    "small": (1.0, (0.125, 0.25, 0.5, 1.0)),
}
"""The step of the faithful variant, and its ratios. A ratio above 1 compresses nothing, but E is better conditioned, so
the same number of ISTA iterations ends nearer to the solution."""


class CompressiveSensing(Codec):
    """Measurements y = E x of blocks, rounded to steps and entropy-coded; x is recovered by l1 minimisation.

    `variant` is "faithful" (DenseGaussian) or "best" (Banded). `step` is the quantiser's step, as a share of the
    values' root-mean-square deviation. `ratio` is the number of measurements for each value: in "faithful" the number,
    in "best" the maximum. E comes from the seed of the fit. Blocks have at most 32 x 32 values.

    Payload: the length of the varying axis; the entropy-coded measurements. A block that is partly padding has
    proportionally fewer of them.
    """

    rows_by = ("variant",)

    variant: str
    ratio: float
    step: float

    _halvings: ClassVar[int]
    """The number of times that the sides of a block should be divisible by 2."""

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._blocks = Blocks(spec, self._halvings)
        self._arrays: Arrays = {}
        self._priors: dict[tuple[int, ...], Prior] = {}

    @classmethod
    def points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return finer steps for an image, coarser ones for small planes, as far as the statistics allow them."""
        kind = _kind(spec)
        step, ratios = FAITHFUL[kind]
        faithful = tuple({"variant": "faithful", "ratio": ratio, "step": step} for ratio in ratios)
        best = tuple(map(_best, STEPS[kind]))
        return (*suited_steps(spec, best, QUICK_STEP[kind]), *suited_steps(spec, faithful, step))

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return one point of the best variant that loses little accuracy."""
        step = QUICK_STEP[_kind(spec)]
        return suited_steps(spec, (_best(step),), step)

    @classmethod
    def rate_knob(cls, spec: TensorSpec) -> RateKnob:
        """Return the step of the quantiser."""
        return RateKnob("step", 16.0, 0.02)

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: an invalid setting, no floats, or no values."""
        if point.get("variant", "best") not in ("best", "faithful"):
            return f"variant is 'best' or 'faithful', not {point['variant']!r}"
        for name in ("ratio", "step"):
            value = point.get(name, 1.0)
            if not isinstance(value, int | float) or not 0 < value <= 100:
                return f"{name} is a number above 0, not {value!r}"
        if not spec.dtype.startswith("float"):
            return f"needs floating-point values, got {spec.dtype}"
        return None if spec.ndim and all(spec.max_shape) else f"needs an axis and values, got {spec.shape}"

    @abstractmethod
    def _basis(self) -> Floats:
        """Return the basis of a block, (n, n)."""

    def fit(self, data: FitData) -> None:
        """Learn the values' range, the statistics of `variant` and the prior."""
        import numpy as np
        import torch

        samples = _training_samples(data)
        low, high = min(float(x.min()) for x in samples), max(float(x.max()) for x in samples)
        limit = 2.0 ** math.ceil(math.log2(2 * max(-low, high, MIN_LIMIT)))
        units = torch.from_numpy(np.concatenate([self._blocks.cut(to_integers(x, limit)) for x in samples]))
        deviation = float((units - units.mean((0, 2))[:, None]).square().mean().sqrt())
        step, basis, seed = self.step * max(deviation, 1.0), self._basis(), data.seed % (1 << 32)
        if self.variant == "best":
            learned = Banded.learn(units, basis, step)
        else:
            learned = DenseGaussian.learn(units, basis, step, self.ratio, seed)
        self._use_arrays(
            {**learned, "range": np.array([low, high, limit]), "step": np.array(step), "seed": np.array(seed)}
        )
        symbols = self._sensing.symbols(units, self._step)
        prior = Prior.fitted(symbols.swapaxes(0, 1).reshape(self._sensing.tables, -1), margin=SPARE_SYMBOLS)
        self._use_arrays({**self._arrays, "prior": np.frombuffer(prior.to_bytes(), np.uint8)})

    def export(self, side: Side) -> bytes:
        """Return the state, the same for both sides: the device needs all but a few numbers of it to measure."""
        from safetensors.numpy import save

        return zlib.compress(save(self._arrays), 9)

    def restore(self, side: Side, state: bytes) -> None:
        """Load a state made by `export`, and make all matrices."""
        from safetensors.numpy import load

        self._use_arrays(load(zlib.decompress(state)))

    def _use_arrays(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._low, self._high, self._limit = map(float, arrays["range"])
        self._step, seed = float(arrays["step"]), int(arrays["seed"])
        blocks, basis = self._blocks, self._basis()
        if self.variant == "best":
            max_measurements = math.floor(self.ratio * blocks.groups * blocks.length)
            self._sensing: Sensing = Banded(basis, arrays, max_measurements, seed)
        else:
            self._sensing = DenseGaussian(basis, blocks.groups, arrays, self.ratio, seed)
        if "prior" in arrays:
            self._prior = Prior.from_bytes(arrays["prior"].tobytes())

    def encode(self, x: Tensor) -> bytes:
        """Return shape and measurements. Raises ValueError for values that are not finite."""
        return self.encode_batch([x])[0]

    def encode_batch(self, xs: Sequence[Tensor]) -> list[bytes]:
        """Return the payloads; samples are measured together, which changes no symbol, because sums are exact."""
        return [
            write_shape(self.spec, x.shape) + self._prior_for(tables).encode(symbols)
            for x, (tables, symbols) in zip(xs, self._measured(xs), strict=True)
        ]

    def bound_bytes(self, x: Tensor) -> float:
        """Return the Shannon bound of the measurements under the prior, in bytes."""
        ((tables, symbols),) = self._measured([x])
        return self._prior_for(tables).bound_bytes(symbols)

    def decode(self, payload: bytes) -> Tensor:
        """Return the most probable values, clipped to the range of training values."""
        return self.decode_batch([payload])[0]

    def decode_batch(self, payloads: Sequence[bytes]) -> list[Tensor]:
        """Return the samples; units with the same number of measurements are recovered together."""
        import numpy as np
        import torch

        shapes, symbols = [], []
        for payload in payloads:
            shape, body = read_shape(self.spec, payload)
            tables = self._tables(shape)
            decoded = torch.from_numpy(self._prior_for(tables).decode(body, self._sensing.table_symbols)).float()
            shapes.append(shape)
            ends = np.cumsum([0, *tables])
            symbols += [decoded[start:end].flatten() for start, end in pairwise(ends)]
        units = self._sensing.recover_all(symbols, self._step)
        values = (units * (self._limit / (1 << VALUE_BITS))).clamp_(self._low, self._high)
        dtype = getattr(torch, self.spec.dtype)
        ends = np.cumsum([0, *(len(self._tables(shape)) for shape in shapes)])
        return [
            self._blocks.join(values[start:end], shape).to(dtype).clone(memory_format=torch.contiguous_format)
            for (start, end), shape in zip(pairwise(ends), shapes, strict=True)
        ]

    def _measured(self, xs: Sequence[Tensor]) -> Iterator[tuple[tuple[int, ...], NDArray[np.int32]]]:
        """Yield, for each sample, the number of tables that each unit sends, and their symbols."""
        import numpy as np
        import torch

        if not xs:
            return
        units = [self._blocks.cut(to_integers(x.numpy(), self._limit)) for x in xs]
        ends = np.cumsum([0, *map(len, units)])
        symbols = self._sensing.symbols(torch.from_numpy(np.concatenate(units)), self._step)
        for x, start, end in zip(xs, ends[:-1], ends[1:], strict=True):
            tables = self._tables(tuple(x.shape))
            sent = [np.zeros((0, self._sensing.table_symbols))]
            sent += [unit[:count] for unit, count in zip(symbols[start:end], tables, strict=True)]
            yield tables, self._prior_for(tables).clip(np.concatenate(sent))

    def _tables(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the number of tables that each unit of a tensor of this shape sends; fewer if it is partly padding."""
        return tuple(math.ceil(share * self._sensing.tables) for share in self._blocks.shares(shape))

    def _prior_for(self, tables: tuple[int, ...]) -> Prior:
        """Return the prior of consecutive units that send these numbers of tables."""
        if tables == (len(self._prior),):
            return self._prior
        if tables not in self._priors:
            prior = self._prior
            lowest = [lowest_symbol for count in tables for lowest_symbol in prior.lowest[:count]]
            self._priors = {tables: Prior(lowest, [table for count in tables for table in prior.tables[:count]])}
        return self._priors[tables]


def _best(step: float) -> Mapping[str, Any]:
    return {"variant": "best", "ratio": 1.0, "step": step}


def _kind(spec: TensorSpec) -> PlaneKind:
    if spec.image:
        return "image"
    plane = math.prod(spec.max_shape[-2:])
    return "small" if plane < SMALL_PLANE else "large" if plane > LARGE_PLANE else "middle"


def _training_samples(data: FitData) -> list[Floats]:
    """Return training samples of up to about FIT_BYTES: at least one batch, more while there is time."""
    samples: list[Floats] = []
    for xs, _ in data.batches(64):
        samples += [x.numpy().astype("float64") for x in xs]
        if data.remaining_s() <= 0 or sum(x.nbytes for x in samples) >= FIT_BYTES:
            break
    return samples


class CsDct(CompressiveSensing):
    """Compressive sensing of blocks that are sparse in the DCT, or with `basis="fourier"` in the real Fourier basis."""

    name = "cs-dct"
    points = tuple({**_best(step), "basis": "dct"} for step in STEPS["middle"])
    checkpoints = "codecbench_plugins:checkpoints/cs-dct"

    basis: str
    _halvings = 0

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: an unknown basis, or a reason of `CompressiveSensing`."""
        if point.get("basis", "dct") not in ("dct", "fourier"):
            return f"basis is 'dct' or 'fourier', not {point['basis']!r}"
        return super().skip_reason(spec, **point)

    def _basis(self) -> Floats:
        return (dct_basis if self.basis == "dct" else fourier_basis)(self._blocks.shape)


class CsWavelet(CompressiveSensing):
    """Compressive sensing of blocks that are sparse in an orthonormal wavelet basis, named as by PyWavelets."""

    name = "cs-wavelet"
    points = tuple({**_best(step), "wavelet": "sym4"} for step in STEPS["middle"])
    checkpoints = "codecbench_plugins:checkpoints/cs-wavelet"

    wavelet: str
    _halvings = 3

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: an unknown wavelet, or a reason of `CompressiveSensing`."""
        if not is_orthonormal_wavelet(point.get("wavelet", "haar")):
            return f"wavelet is one of haar, db1 to db38, sym2 to sym20 and coif1 to coif17, not {point['wavelet']!r}"
        return super().skip_reason(spec, **point)

    def _basis(self) -> Floats:
        return wavelet_basis(self._blocks.shape, self.wavelet)


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codecs."""
    return [CsDct, CsWavelet]
