"""`zstd`: uniform quantisation, with the levels compressed by Zstandard."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from codecbench import Codec, FitData, RateKnob, Side, TensorSpec, hookimpl
from codecbench.toolbox.codecs import steps, suited_steps
from codecbench.toolbox.coding import pack_bits, read_shape, unpack_bits, write_shape, zstd_compress, zstd_decompress
from codecbench.toolbox.transforms import from_pixels, neighbours_mean, restore_from_differences, to_pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

LEVEL = 12
"""Zstandard's level. Level 19 takes 1 to 2 % fewer bytes for a network's features, and two to four times as long."""
TRAINING_VALUES = 1 << 22
MAX_LEVELS = 256
MAX_LATE_VALUES = 64
"""A tensor with at most this number of values a channel counts as late, from the end of a network."""

STATE = struct.Struct("<fii")


class Zstd(Codec):
    """Levels of a trained step, a byte each, or half a byte if 16 levels suffice, in a Zstandard frame without header.

    `step` is in pixel values for an image, otherwise in standard deviations of the training activations. The lowest and
    highest training level limit what is sent, so no range is sent. For an image, each level is sent as its difference
    from the mean of its left and upper neighbours, and red and blue of these less green, which takes a third fewer
    bytes; for features, plain levels take fewer.

    Half bytes take 1 to 6 % fewer bytes than whole ones. A dictionary trained on the activations took up to 7 % more,
    and 2 % fewer at best, so none is used.
    """

    name = "zstd"
    version = 2
    points = tuple({"step": step} for step in (2.0, 1.4, 1.0, 0.7, 0.5, 0.35, 0.25))
    checkpoints = "codecbench_plugins:checkpoints/zstd"

    step: float

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._use(self.step / 255 if spec.image else 1.0, 0, int(255 / self.step + 0.5) if spec.image else 0)

    @classmethod
    def points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return whole pixel values for an image; small planes come late and tolerate coarser steps."""
        if spec.image:
            return steps(40.0, 32.0, 24.0, 16.0, 12.0, 8.0, 6.0, 4.0)
        return suited_steps(
            spec, steps(8.0, 5.6, 4.0, 2.8, 2.0, 1.4) if _is_late(spec) else cls.points, _tuned_step(spec)
        )

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return a point that a budget of about one percentage point would choose."""
        step = _tuned_step(spec)
        return suited_steps(spec, steps(step), step)

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why this codec cannot run: it needs zstandard."""
        return None if find_spec("zstandard") else "needs zstandard: pip install 'codecbench[codecs]'"

    @classmethod
    def rate_knob(cls, spec: TensorSpec) -> RateKnob:
        """Return the step, for images in pixel values."""
        return RateKnob("step", 128.0, 1.0) if spec.image else RateKnob("step", 16.0, 0.05)

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot run: no floats, or a step that is not over 0, or below 1 for an image."""
        step = point.get("step", 1.0)
        if not isinstance(step, int | float) or not 0 < step < math.inf:
            return f"step is a number over 0, not {step!r}"
        if spec.image and step < 1:
            return f"step is a pixel value at least, not {step!r}"
        return None if spec.dtype.startswith("float") else f"needs floating-point values, got {spec.dtype}"

    @classmethod
    def needs_fit(cls, spec: TensorSpec, **point: Any) -> bool:
        """Return False for an image, whose range is known."""
        return not spec.image

    def fit(self, data: FitData) -> None:
        """Learn the scale, and the lowest and highest level. Uses at least one batch, however short the time."""
        import numpy as np

        parts: list[NDArray[np.float64]] = []
        for batch, _targets in data.batches(32):
            parts += [x.numpy().astype(np.float64).reshape(-1) for x in batch]
            if sum(part.size for part in parts) >= TRAINING_VALUES or not data.remaining_s():
                break
        values = np.concatenate(parts)
        step = float(np.float32(self.step * float(values.std() if values.size else 0.0))) or 1.0
        levels = np.rint(values / step)
        lowest = max(int(levels.min(initial=0)), -MAX_LEVELS // 2)
        self._use(step, lowest, min(int(levels.max(initial=0)) - lowest, MAX_LEVELS - 1))

    def export(self, side: Side) -> bytes:
        """Return the step, the lowest level, and the highest less the lowest; empty for an image."""
        return b"" if self.spec.image else STATE.pack(self._step, self._lowest, self._max_level)

    def restore(self, side: Side, state: bytes) -> None:
        """Load a state made by `export`."""
        if self.spec.image:
            super().restore(side, state)
        else:
            self._use(*STATE.unpack(state))

    def encode(self, x: Tensor) -> bytes:
        """Return packed and compressed levels. Raises ValueError for a NaN."""
        import numpy as np

        header = write_shape(self.spec, x.shape)
        values = x.numpy()
        if not values.size:
            return header
        if np.isnan(values).any():
            raise ValueError("the tensor holds values that are not numbers; they cannot be quantised")
        scaled = to_pixels(values) / self.step if self.spec.image else values.astype(np.float64) / self._step
        levels = (np.rint(scaled).clip(self._lowest, self._lowest + self._max_level) - self._lowest).astype(np.int32)
        if self.spec.image:
            levels -= neighbours_mean(levels)
            if len(levels) == 3:
                levels[::2] -= levels[1]
            levels &= self._mask
        return header + zstd_compress(self._pack(levels.reshape(-1)), LEVEL)

    def decode(self, payload: bytes) -> Tensor:
        """Return the values of the levels."""
        import numpy as np
        import torch

        shape, body = read_shape(self.spec, payload)
        levels = self._unpack(body, math.prod(shape)).reshape(shape)
        if not self.spec.image:
            highest = float(np.finfo(self.spec.dtype).max)
            values = ((levels + self._lowest) * self._step).clip(-highest, highest)
            return torch.from_numpy(np.asarray(values, dtype=self.spec.dtype))
        if len(levels) == 3:
            levels[::2] += levels[1]
        levels = restore_from_differences(levels, self._mask)
        return torch.from_numpy(from_pixels(np.rint(levels * self.step).clip(0, 255).astype(np.uint8)))

    def _use(self, step: float, lowest: int, highest: int) -> None:
        self._step, self._lowest, self._max_level = step, lowest, highest
        self._mask = 15 if highest < 16 else 255

    def _pack(self, symbols: NDArray[np.int32]) -> bytes:
        import numpy as np

        return pack_bits(symbols, 4) if self._mask == 15 else symbols.astype(np.uint8).tobytes()

    def _unpack(self, frame: memoryview, count: int) -> NDArray[np.int32]:
        import numpy as np

        if not count:
            return np.zeros(0, np.int32)
        size = (count + 1) // 2 if self._mask == 15 else count
        packed = zstd_decompress(frame, size)
        symbols = unpack_bits(packed, 4, count) if self._mask == 15 else np.frombuffer(packed, np.uint8)
        return symbols.astype(np.int32)


def _tuned_step(spec: TensorSpec) -> float:
    """Return a step that loses about a point of top-1 on a ResNet-20."""
    return 6.0 if spec.image else 4.0 if _is_late(spec) else 0.7


def _is_late(spec: TensorSpec) -> bool:
    return math.prod(spec.max_shape[1:]) <= MAX_LATE_VALUES


@hookimpl
def codecbench_register_codecs() -> Iterable[type[Codec]]:
    """Register the codec."""
    return [Zstd]
