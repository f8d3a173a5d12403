"""`klt` and `klt-task`: a linear transform learned from training data, one step for all components, a trained prior."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from codecbench import Codec, FitData, PayloadError, RateKnob, Side, TensorSpec, hookimpl
from codecbench.toolbox.codecs import Points, Steerable, TensorKind, kind_of, steps, suited_steps
from codecbench.toolbox.coding import read_shape, write_shape
from codecbench.toolbox.transforms import (
    MAX_CHANNELS,
    Analysis,
    Sensitivity,
    Synthesis,
    Tiling,
    from_pixels,
    learn_transform,
    possible_tilings,
    suited_tiling,
    to_pixels,
    told_by,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class PlainKlt(Codec):
    """`Klt` without its steered points."""

    name = "klt"
    checkpoints = "codecbench_plugins:checkpoints/klt"

    step: float

    _points: ClassVar[Mapping[TensorKind, Points]] = {
        "image": steps(0.5, 0.42, 0.35, 0.3, 0.25, 0.2, 0.15, 0.12),
        "large": steps(4.0, 2.8, 2.4, 2.0, 1.7, 1.4, 1.2, 1.0),
        "middle": steps(4.0, 2.8, 2.4, 2.0, 1.7, 1.4, 1.2),
        "small": steps(5.6, 4.6, 4.0, 3.3, 2.8, 2.0, 1.4),
    }
    points = _points["small"]
    _quick_step: ClassVar[Mapping[TensorKind, float]] = {"image": 0.15, "large": 1.2, "middle": 1.4, "small": 2.8}

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._device: Analysis | None = None
        self._edge: Synthesis | None = None

    @classmethod
    def points_for(cls, spec: TensorSpec) -> Points:
        """Return finer steps for an image, coarser ones for small tensors, as far as the statistics allow them."""
        return suited_steps(spec, cls._points[kind_of(spec)], cls._quick_step[kind_of(spec)])

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> Points:
        """Return a step that loses about a point of top-1 on a ResNet-20, or less."""
        step = cls._quick_step[kind_of(spec)]
        return suited_steps(spec, steps(step), step)

    @classmethod
    def rate_knob(cls, spec: TensorSpec) -> RateKnob:
        """Return the step, for every kind of tensor."""
        return RateKnob("step", 16.0, 0.02)

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: a bad step, no floats, no values, or over MAX_CHANNELS channels."""
        step = point.get("step", 1.0)
        if not isinstance(step, int | float) or not 1e-3 <= step <= 1e3:
            return f"step is a number from 0.001 to 1000, not {step!r}"
        if not spec.dtype.startswith("float"):
            return f"needs floating-point values, got {spec.dtype}"
        if not spec.ndim or 0 in spec.max_shape:
            return f"needs a tensor that is not empty and has an axis, got {spec.shape}"
        channels = Tiling.of(spec).channels(spec.max_shape)
        return None if possible_tilings(spec) else f"needs at most {MAX_CHANNELS} channels, got {channels}"

    def fit(self, data: FitData) -> None:
        """Compute covariances, then quantisers. Without time left it uses one batch."""
        self._device, self._edge = learn_transform(data.spec, self.step, *told_by(data, self._sensitivity(data)))
        data.progress(1.0, "fitted")

    def export(self, side: Side) -> bytes:
        """Return matrix, quantisers and prior of this side; empty before a fit."""
        half = self._device if side == "device" else self._edge
        return half.to_bytes() if half else b""

    def restore(self, side: Side, state: bytes) -> None:
        """Load a state made by `export`. Raises ValueError if it is invalid."""
        if side == "device":
            self._device = Analysis.from_bytes(state)
        else:
            self._edge = Synthesis.from_bytes(state)

    def encode(self, x: Tensor) -> bytes:
        """Return shape and bitstream. Raises ValueError for values that are not finite."""
        return self.encode_batch([x])[0]

    def encode_batch(self, xs: Sequence[Tensor]) -> list[bytes]:
        """Return the payloads, from one matrix product for all samples; it is exact, so batches change no symbol."""
        device = self._fitted_device()
        rows = zip(xs, self._symbols(device, xs), strict=True)
        return [write_shape(self.spec, x.shape) + device.prior.encode(symbols) for x, symbols in rows]

    def bound_bytes(self, x: Tensor) -> float:
        """Return the Shannon bound of the symbols under the prior, in bytes, without the length of a varying axis."""
        device = self._fitted_device()
        return device.prior.bound_bytes(self._symbols(device, [x])[0])

    def decode(self, payload: bytes) -> Tensor:
        """Return the inverse transform of the centroids; an image is rounded to its 256 levels."""
        import torch

        edge = self._fitted_edge()
        shape, bitstream = read_shape(self.spec, payload)
        if not math.prod(shape):
            if bitstream:
                raise PayloadError("payload goes on behind an empty tensor")
            return torch.zeros(shape, dtype=getattr(torch, self.spec.dtype))
        values = edge.restore(edge.prior.decode(bitstream, edge.count(shape)), shape)
        if self.spec.image:
            return torch.from_numpy(from_pixels(to_pixels(values.astype("float32"))))
        return torch.from_numpy(values.astype(self.spec.dtype))

    def _sensitivity(self, data: FitData) -> Sensitivity:
        return Sensitivity.plain(data.spec, suited_tiling(data))

    def _symbols(self, device: Analysis, xs: Sequence[Tensor]) -> list[NDArray[np.int32]]:
        return device.symbols([x.numpy() for x in xs], self.spec.image)

    def _fitted_device(self) -> Analysis:
        if self._device is None:
            raise RuntimeError(f"{self.name} has to be fitted, or restored, before it encodes")
        return self._device

    def _fitted_edge(self) -> Synthesis:
        if self._edge is None:
            raise RuntimeError(f"{self.name} has to be fitted, or restored, before it decodes")
        return self._edge


class Klt(Steerable, PlainKlt):
    """Karhunen-Loève transform of blocks over all channels, then uniform quantisation with one step for all components.

    One step for all is reverse water-filling. Within a component, learned thresholds save bits where these gain little,
    and values are restored at the centroids (`codecbench.toolbox.transforms.linear`,
    `codecbench.toolbox.transforms.scalar`).

    `step` is in units of the values' root-mean-square deviation. Blocks are up to 8 wide along the last two axes (16
    along a single one); a varying axis is always one of them, and a vector of fixed length is one block
    (`codecbench.toolbox.transforms.tiling`). Of a matrix, the training data tells which axis has the channels
    (`codecbench.toolbox.transforms.orientation`), and with few samples how far the transform may be trusted
    (`codecbench.toolbox.transforms.axes`). Payload: the length of the varying axis; the symbols as coded by
    `Prior`; no header.
    """


class KltTask(Klt):
    """`klt` of values weighted by the sensitivity of the tail to them.

    The weights are the square root of E[J^T J] on training data, with J the Jacobian of the tail's outputs, so errors
    go where they hardly affect the tail. If E[J^T J] has low rank (as when only pooling and a linear layer follow), the
    tensor is one block, and only the directions of that rank are coded: the restored tensor is then correct for the
    tail only (`codecbench.toolbox.transforms.sensitivity`). A tail that sees each channel only as one sum over
    positions (global average pooling, one token of a sequence) gets these sums and nothing else
    (`codecbench.toolbox.transforms.pooling`).

    `step` is in units of the weighted values' root-mean-square deviation.
    """

    name = "klt-task"
    checkpoints = "codecbench_plugins:checkpoints/klt-task"
    needs_differentiable_tail = True

    _points: ClassVar[Mapping[TensorKind, Points]] = {
        "image": steps(0.8, 0.7, 0.6, 0.5, 0.42, 0.35, 0.25, 0.2),
        "large": steps(2.8, 2.4, 2.0, 1.7, 1.4, 1.2, 1.0, 0.7),
        "middle": steps(2.8, 2.4, 2.0, 1.7, 1.4, 1.2, 1.0, 0.7),
        "small": steps(1.0, 0.7, 0.6, 0.5, 0.42, 0.35, 0.25),
    }
    points = _points["small"]
    _quick_step: ClassVar[Mapping[TensorKind, float]] = {"image": 0.42, "large": 1.0, "middle": 1.0, "small": 0.5}

    def _sensitivity(self, data: FitData) -> Sensitivity:
        tiling = suited_tiling(data)
        return Sensitivity.of_tail(data, tiling, pools=True) or Sensitivity.plain(data.spec, tiling)


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codecs."""
    return [Klt, KltTask]
