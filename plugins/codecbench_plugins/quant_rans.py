"""`quant-rans`: uniform quantisers chosen by channel on training data, entropy-coded with trained priors."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from codecbench import Codec, FitData, RateKnob, Side, TensorSpec, hookimpl
from codecbench.toolbox.codecs import Steerable, steps, suited_steps
from codecbench.toolbox.coding import Prior, read_shape, read_varint, write_shape, write_varint
from codecbench.toolbox.transforms import neighbours_mean, restore_from_differences, suited_channel_axis

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

TRAINING_VALUES = 1 << 23
"""About this number of values is used for the priors."""

CHOICE_VALUES = 1 << 16
"""About this number of a channel's values is used to choose its quantiser."""

COARSER = (1.0, 1.3, 1.7, 2.2, 4.0, 16.0)
OFFSETS = (0.5, 0.4, 0.3)
"""Choices for a channel: steps in units of the point's step, and offsets added before rounding towards zero."""

MAX_LATE_VALUES = 64
"""A tensor with at most this number of values a channel counts as late, from the end of a network."""

MAX_LEVEL = 1 << 14
CENTROIDS_A_STEP = 128
"""The mean of a level's training values is stored on the edge in units of 1/CENTROIDS_A_STEP of a step."""


class PlainQuantRans(Codec):
    """`QuantRans` without its steered points."""

    name = "quant-rans"
    points = tuple({"step": step} for step in (2.0, 1.4, 1.0, 0.7, 0.5, 0.35))
    checkpoints = "codecbench_plugins:checkpoints/quant-rans"

    step: float

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._first_axis = next((axis for axis, n in enumerate(spec.shape) if n is not None), None)
        self._use_axis(self._first_axis)
        self._coloured = spec.image and self._rows == 3

    def _use_axis(self, axis: int | None) -> None:
        """Take this axis for the channels; None for a tensor that is one channel."""
        self._axis = axis
        self._rows = 1 if axis is None else self.spec.max_shape[axis]

    @classmethod
    def points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return whole pixel values for an image; small planes come late and tolerate coarser steps."""
        if spec.image:
            return steps(40.0, 32.0, 24.0, 16.0, 12.0, 8.0, 6.0, 4.0)
        return suited_steps(
            spec, steps(5.6, 4.0, 2.8, 2.0, 1.4, 1.0, 0.7) if _is_late(spec) else cls.points, _tuned_step(spec)
        )

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return a point that a budget of about one percentage point would choose."""
        step = _tuned_step(spec)
        return suited_steps(spec, steps(step), step)

    @classmethod
    def rate_knob(cls, spec: TensorSpec) -> RateKnob:
        """Return the step, for images in pixel values."""
        return RateKnob("step", 128.0, 1.0) if spec.image else RateKnob("step", 16.0, 0.02)

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: a step that is not over 0, no values, or no floats."""
        step = point.get("step", 1.0)
        if not isinstance(step, int | float) or not 0 < step < math.inf:
            return f"step is a number over 0, not {step!r}"
        if 0 in spec.shape:
            return f"needs values, got shape {spec.shape}"
        return None if spec.dtype.startswith("float") else f"needs floating-point values, got {spec.dtype}"

    def fit(self, data: FitData) -> None:
        """Choose each channel's quantiser, then count symbols. Uses at least one batch, however short the time.

        Of a matrix of fixed size, the data tells first which axis has the channels.
        """
        import numpy as np

        if self.spec.ndim == 2 and None not in self.spec.shape:
            self._use_axis(suited_channel_axis(data))
        samples = self._training_planes(data)
        values = np.concatenate([planes.reshape(self._rows, -1) for planes in samples], axis=1)
        unit = self.step / 255 if self.spec.image else self.step * (float(values.std()) or 1.0)
        quantisers = np.zeros(self._rows, _quantiser_type())
        quantisers["step"], quantisers["offset"], quantisers["predicted"] = unit, 0.5, self.spec.image
        if not self.spec.image:
            for row in range(self._rows):
                data.progress(row / self._rows, "quantisers")
                if data.remaining_s() > 0:
                    quantisers[row] = _chosen([planes[row] for planes in samples], unit, self.spec.ndim > 2)
        levels = [_levels(planes, quantisers) for planes in samples]
        quantisers["lowest"] = np.min([level.min((1, 2)) for level in levels], axis=0) - 1
        quantisers["highest"] = np.max([level.max((1, 2)) for level in levels], axis=0) + 1
        flat = np.concatenate([level.reshape(self._rows, -1) for level in levels], axis=1)
        symbols = np.concatenate([self._symbols_of(level, quantisers).reshape(self._rows, -1) for level in levels], 1)
        self._use(quantisers, self._prior_of(symbols, quantisers), _centroids(values, flat, quantisers))

    def export(self, side: Side) -> bytes:
        """Return the quantisers and the prior; for the edge also the levels' means.

        A last byte names the axis of the channels, if it is not the first of known length.
        """
        prior = self._prior.to_bytes()
        arrays = self._quantisers.tobytes() + (self._centroids.tobytes() if side == "edge" else b"")
        axis = b"" if self._axis == self._first_axis else bytes([self._axis or 0])
        return write_varint(len(prior)) + prior + zlib.compress(arrays, 9) + axis

    def restore(self, side: Side, state: bytes) -> None:
        """Load a state made by `export`."""
        import numpy as np

        prior_bytes, start = read_varint(state)
        unpacker = zlib.decompressobj()
        arrays = unpacker.decompress(state[start + prior_bytes :])
        axis = unpacker.unused_data[0] if unpacker.unused_data else self._first_axis
        if not unpacker.eof or (axis is not None and axis >= self.spec.ndim):
            raise ValueError("the state of quant-rans is damaged")
        self._use_axis(axis)
        quantisers = np.frombuffer(arrays, _quantiser_type(), self._rows)
        centroids = np.frombuffer(arrays, np.int8, offset=quantisers.nbytes)
        self._use(quantisers, Prior.from_bytes(state[start : start + prior_bytes]), centroids)

    def bound_bytes(self, x: Tensor) -> float:
        """Return the Shannon bound of the symbols, in bytes."""
        return self._prior.bound_bytes(self._symbols(x))

    def encode(self, x: Tensor) -> bytes:
        """Return shape, and levels or their differences, as coded by the prior. Raises ValueError for a NaN."""
        return write_shape(self.spec, x.shape) + self._prior.encode(self._symbols(x))

    def decode(self, payload: bytes) -> Tensor:
        """Return the mean training value of each level."""
        import numpy as np
        import torch

        shape, body = read_shape(self.spec, payload)
        moved, planes = self._layout(shape)
        symbols = self._prior.decode(body, planes[1] * planes[2]).reshape(planes)
        values = self._values_of(self._levels_of(symbols)).reshape(moved)
        values = values if self._axis is None else np.moveaxis(values, 0, self._axis)
        return torch.from_numpy(np.array(values.reshape(shape), self.spec.dtype, order="C"))

    def _use(self, quantisers: NDArray[Any], prior: Prior, centroids: NDArray[np.int8]) -> None:
        self._quantisers, self._prior, self._centroids = quantisers, prior, centroids

    def _layout(self, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, int, int]]:
        """Return a sample's shape with the channels first, and its shape as planes, (channels, height, width)."""
        rest = tuple(n for axis, n in enumerate(shape) if axis != self._axis)
        return (self._rows, *rest), (self._rows, math.prod(rest[:-1]), rest[-1] if rest else 1)

    def _planes(self, x: Tensor) -> NDArray[np.float64]:
        import numpy as np

        values = x.numpy().astype(np.float64)
        if np.isnan(values).any():
            raise ValueError("the tensor holds values that are not numbers; they cannot be quantised")
        moved = values if self._axis is None else np.moveaxis(values, self._axis, 0)
        planes: NDArray[np.float64] = moved.reshape(self._layout(x.shape)[1])
        return planes

    def _training_planes(self, data: FitData) -> list[NDArray[np.float64]]:
        """Return planes of the first non-empty training samples, at least one batch."""
        samples: list[NDArray[np.float64]] = []
        for batch, _targets in data.batches(32):
            samples += [self._planes(x) for x in batch if x.numel()]
            if sum(planes.size for planes in samples) >= TRAINING_VALUES or not data.remaining_s():
                break
        return samples

    def _symbols(self, x: Tensor) -> NDArray[np.int32]:
        """Return the symbols of a sample, (channels, values)."""
        levels = _levels(self._planes(x), self._quantisers)
        return self._symbols_of(levels, self._quantisers).reshape(self._rows, -1)

    def _symbols_of(self, levels: NDArray[np.int32], quantisers: NDArray[Any]) -> NDArray[np.int32]:
        """Return the levels of planes, or their differences in predicted channels."""
        predicted = quantisers["predicted"]
        symbols = levels.copy()
        symbols[predicted] -= neighbours_mean(levels[predicted])
        if self._coloured:
            symbols[::2] -= symbols[1]
        return symbols

    def _levels_of(self, symbols: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the levels; the inverse of `_symbols_of`."""
        levels = symbols.copy()
        if self._coloured:
            levels[::2] += levels[1]
        predicted = self._quantisers["predicted"]
        levels[predicted] = restore_from_differences(levels[predicted])
        return levels

    def _values_of(self, levels: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return each level's mean training value. A level that no encoder sends becomes the nearest that one does."""
        import numpy as np

        lowest, highest, step = (self._quantisers[name][:, None, None] for name in ("lowest", "highest", "step"))
        levels = levels.clip(lowest, highest)
        sizes = 1 + highest - lowest
        centroids = self._centroids[levels - lowest + np.cumsum(sizes).reshape(sizes.shape) - sizes]
        high = 1.0 if self.spec.image else float(np.finfo(self.spec.dtype).max)
        values: NDArray[np.float64] = (levels + centroids / CENTROIDS_A_STEP) * step
        return values.clip(0.0 if self.spec.image else -high, high)

    def _prior_of(self, symbols: NDArray[np.int32], quantisers: NDArray[Any]) -> Prior:
        """Return the distributions of training symbols, over alphabets that hold every result of `_symbols_of`."""
        import numpy as np

        lowest, highest = quantisers["lowest"].astype(np.int64), quantisers["highest"].astype(np.int64)
        spans = highest - lowest
        if self._coloured:
            spans[::2] += spans[1]
        predicted = quantisers["predicted"]
        lowest, highest = np.where(predicted, -spans, lowest), np.where(predicted, spans, highest)
        counts = [
            np.bincount(row - low, minlength=high - low + 1) + 0.25
            for row, low, high in zip(symbols, lowest, highest, strict=True)
        ]
        return Prior.from_counts([int(low) for low in lowest], counts)


class QuantRans(Steerable, PlainQuantRans):
    """A uniform quantiser for each channel, and the distribution of its levels.

    Channels lie along the first axis of known length; of a matrix of fixed size, which may be tokens by channels, the
    training data tells which axis has them (`codecbench.toolbox.transforms.orientation`).

    `step` is in pixel values for an image, otherwise in standard deviations of the training activations. Payload: the
    length of a varying axis, and the levels as coded by `Prior`; no header.

    *Quantiser.* A channel takes the step (the point's, or a coarser one) and the dead zone that minimise squared error
    plus (ln 2 / 6) step^2 bits on training data. At high rates this is the point's step for all channels; at low rates
    it saves bits where these gain little. Levels decode to the mean of their training values. Steps weighted by the
    gradient of the task's loss gave no better accuracy for the bytes.

    *Prediction.* With three axes or more, a channel may send the difference of a level from the mean of its left and
    upper neighbours, if that takes fewer bits. For CIFAR-10 images it always does, and red and blue then send the
    difference of their difference from green's: 55 to 57 % fewer bytes for the same levels. For the features of a
    ResNet-20 it saves 27 to 36 % after the stem, and 13 to 20 %, 1 to 6 % and 0 to 2 % after the stages.
    """


def _tuned_step(spec: TensorSpec) -> float:
    """Return a step that loses about a point of top-1 on a ResNet-20."""
    return 12.0 if spec.image else 2.8 if _is_late(spec) else 0.7


def _is_late(spec: TensorSpec) -> bool:
    return math.prod(spec.max_shape[1:]) <= MAX_LATE_VALUES


def _quantiser_type() -> np.dtype[Any]:
    """Return the type of a channel's quantiser: level = sign(x) floor(|x| / step + offset), from lowest to highest."""
    import numpy as np

    return np.dtype([("step", "<f4"), ("offset", "<f4"), ("predicted", "?"), ("lowest", "<i2"), ("highest", "<i2")])


def _levels(planes: NDArray[np.float64], quantisers: NDArray[Any]) -> NDArray[np.int32]:
    """Return the levels of planes, each value quantised by itself."""
    import numpy as np

    step, offset, lowest, highest = (
        quantisers[name][:, None, None] for name in ("step", "offset", "lowest", "highest")
    )  # fmt: skip
    fitted = lowest < highest
    levels: NDArray[np.float64] = np.copysign(np.floor(np.abs(planes) / step + offset), planes)
    low, high = np.where(fitted, lowest, -MAX_LEVEL), np.where(fitted, highest, MAX_LEVEL)
    clipped: NDArray[np.int32] = levels.clip(low, high).astype(np.int32)
    return clipped


def _chosen(
    samples: Sequence[NDArray[np.float64]], unit: float, may_predict: bool
) -> tuple[float, float, bool, int, int]:
    """Return the quantiser of a channel that minimises squared error + (ln 2 / 6) unit^2 bits a value."""
    import numpy as np

    samples = samples[: max(1, CHOICE_VALUES // samples[0].size)]
    shapes = sorted({plane.shape for plane in samples})
    stacks = [np.stack([plane for plane in samples if plane.shape == shape]) for shape in shapes]
    values = np.concatenate([stack.reshape(-1) for stack in stacks])
    best = (math.inf, (unit, 0.5, False, 0, 0))
    for step, offset in product([coarser * unit for coarser in COARSER], OFFSETS):
        quantiser = np.array([(step, offset, False, 0, 0)], _quantiser_type())
        levels = [_levels(stack, quantiser) for stack in stacks]
        flat = np.concatenate([level.reshape(-1) for level in levels])
        bits, predicted = _entropy_bits(flat), False
        if may_predict:
            differences = np.concatenate([(level - neighbours_mean(level)).reshape(-1) for level in levels])
            bits, predicted = min((bits, False), (_entropy_bits(differences), True))
        cost = _squared_error(values, flat) + math.log(2) / 6 * unit**2 * bits
        best = min(best, (cost, (step, offset, predicted, 0, 0)))
    return best[1]


def _entropy_bits(symbols: NDArray[np.int32]) -> float:
    """Return the empirical entropy, in bits a symbol."""
    import numpy as np

    counts = np.bincount(symbols - symbols.min())
    shares = counts[counts > 0] / symbols.size
    return float(-(shares * np.log2(shares)).sum())


def _squared_error(values: NDArray[np.float64], levels: NDArray[np.int32]) -> float:
    """Mean squared distance of values from the mean of their level."""
    import numpy as np

    indices = levels - levels.min()
    counts, sums = np.bincount(indices), np.bincount(indices, values)
    return float((values @ values - (sums**2 / np.maximum(counts, 1)).sum()) / values.size)


def _centroids(values: NDArray[np.float64], levels: NDArray[np.int32], quantisers: NDArray[Any]) -> NDArray[np.int8]:
    """Return the mean of each level's training values less the level, in 1/CENTROIDS_A_STEP of a step, row by row."""
    import numpy as np

    made = []
    for row, level, quantiser in zip(values, levels, quantisers, strict=True):
        size = int(quantiser["highest"]) - int(quantiser["lowest"]) + 1
        indices = level - int(quantiser["lowest"])
        aside = np.bincount(indices, row / quantiser["step"] - level, size)
        mean = aside / np.maximum(np.bincount(indices, None, size), 1)
        made.append(np.rint(mean * CENTROIDS_A_STEP).clip(-127, 127).astype(np.int8))
    return np.concatenate(made)


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [QuantRans]
