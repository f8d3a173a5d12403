"""`LatentCodec`: the base of learned codecs whose payload is a grid of whole symbols under a `ContextPrior`.

A subclass trains in `fit`, gives `_symbols` on the device and `_empty_decoder` on the edge. Importing this module
does not import torch.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from codecbench.codec import Codec, Side, TensorSpec
from codecbench.errors import PayloadError
from codecbench.toolbox.coding.context_prior import ContextPrior
from codecbench.toolbox.coding.headers import read_shape, write_shape
from codecbench.toolbox.transforms.tiling import MAX_CHANNELS, Tiling

if TYPE_CHECKING:
    from torch import Tensor, nn

    from codecbench.toolbox.learning.geometry import Geometry
    from codecbench.toolbox.learning.state import State


def unsuited(spec: TensorSpec) -> str | None:
    """A reason against learned codecs; None for float32 values, an axis, and at most MAX_CHANNELS channels."""
    if spec.dtype != "float32":
        return f"needs float32 values, got {spec.dtype}"
    if not spec.ndim or 0 in spec.max_shape:
        return f"needs a tensor that is not empty and has an axis, got {spec.shape}"
    channels = Tiling.of(spec).channels(spec.max_shape)
    return f"needs at most {MAX_CHANNELS} channels, got {channels}" if channels > MAX_CHANNELS else None


def decode_by_shape(
    spec: TensorSpec,
    payloads: Sequence[bytes],
    read: Callable[[memoryview, tuple[int, ...]], Tensor],
    run: Callable[[Tensor, tuple[int, ...]], Tensor],
) -> list[Tensor]:
    """The samples of payloads, in their order: all of equal shape go through `run` in one batch.

    `read` makes a grid of what follows a payload's shape; `run` makes samples of a batch of grids, without gradients.
    Raises PayloadError for a payload that is none.
    """
    import torch

    decoded: list[Tensor] = [torch.zeros(0)] * len(payloads)
    grids: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
    for at, payload in enumerate(payloads):
        shape, body = read_shape(spec, payload)
        if math.prod(shape):
            grids.setdefault(shape, []).append((at, read(body, shape)))
        elif body:
            raise PayloadError("payload goes on behind an empty tensor")
        else:
            decoded[at] = torch.zeros(shape)
    for shape, members in grids.items():
        with torch.no_grad():
            samples = run(torch.stack([grid for _, grid in members]), shape)
        for (at, _), sample in zip(members, samples, strict=True):
            decoded[at] = sample.contiguous()
    return decoded


class LatentCodec(Codec):
    """Restores states, codes symbols and runs the decoder, for any tensor of float32 values.

    States are those of `codecbench.toolbox.learning.state.State`: the tiling, the prior, and what the side
    needs: whatever `_restore_encoder` reads, or the decoder's weights and the limits of values.
    """

    tags = frozenset({"learned"})
    fit_samples = None

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        super().__init__(spec, **point)
        self._states: dict[Side, bytes] = {}
        self._tiling = Tiling((), ())
        self._prior: ContextPrior | None = None
        self._decoder: nn.Module | None = None
        self._limits: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Needs a step above 0, float32 values, an axis, and at most MAX_CHANNELS channels."""
        step = point.get("step", 1.0)
        if not isinstance(step, int | float) or not 1e-3 <= step <= 1e3:
            return f"step is a number from 0.001 to 1000, not {step!r}"
        return unsuited(spec)

    @abstractmethod
    def _symbols(self, x: Tensor) -> Tensor:
        """The symbols of a sample that is not empty, as a grid (latents, height, width), on the device."""

    @abstractmethod
    def _restore_encoder(self, state: State) -> None:
        """Take the rest of the device's state, beside tiling and prior. May raise KeyError or ValueError."""

    @abstractmethod
    def _empty_decoder(self, geometry: Geometry, latents: int, state: State) -> nn.Module:
        """A decoder as `codecbench.toolbox.learning.objective.Network` has it, whose weights are about to be loaded."""

    def export(self, side: Side) -> bytes:
        """The state that `fit` made for that side; nothing before."""
        return self._states.get(side, b"")

    def restore(self, side: Side, state: bytes) -> None:
        """Take a state of `export`. Raises ValueError for a state that is none."""
        from codecbench.toolbox.learning.state import State, load_halved, tensor_bytes, tiling_from_json

        parsed = State.from_bytes(state)
        try:
            self._tiling = tiling_from_json(parsed.about["tiling"])
            self._prior = ContextPrior.from_bytes(tensor_bytes(parsed.tensors["prior"]))
            if side == "device":
                self._restore_encoder(parsed)
            else:
                low, high = parsed.about["limits"]
                self._limits = (low, high)
                geometry = self._geometry(self.spec.max_shape)
                self._decoder = self._empty_decoder(geometry, self._prior.channels, parsed)
                load_halved(self._decoder, parsed.tensors)
        except KeyError as error:
            raise ValueError(f"no state of {self.name}: {error} is missing") from error
        self._states[side] = state

    def encode(self, x: Tensor) -> bytes:
        """Shape and bitstream. Raises ValueError for values that are not finite."""
        prior = self._fitted_prior()
        if not x.numel():
            return write_shape(self.spec, x.shape)
        return write_shape(self.spec, x.shape) + prior.encode(self._symbols(x).numpy())

    def bound_bytes(self, x: Tensor) -> float:
        """The bound of the symbols under the prior; the length of a varying axis comes on top."""
        prior = self._fitted_prior()
        return prior.bound_bytes(self._symbols(x).numpy()) if x.numel() else 0.0

    def decode(self, payload: bytes) -> Tensor:
        """The sample that the decoder makes of the symbols."""
        return self.decode_batch([payload])[0]

    def decode_batch(self, payloads: Sequence[bytes]) -> list[Tensor]:
        """One pass of the decoder for all payloads of equal shape."""
        decoder = self._fitted_decoder()
        return decode_by_shape(
            self.spec, payloads, self._read, lambda grids, shape: self._samples(decoder, grids, self._geometry(shape))
        )

    def _samples(self, decoder: nn.Module, grids: Tensor, geometry: Geometry) -> Tensor:
        """A batch of samples, within the limits of values."""
        samples, _ = decoder(grids, geometry)
        clamped: Tensor = samples.clamp(*self._limits)
        return clamped

    def _read(self, bitstream: memoryview, shape: tuple[int, ...]) -> Tensor:
        import torch

        height, width = self._geometry(shape).grid
        return torch.from_numpy(self._fitted_prior().decode(bitstream, (height, width))).float()

    def _geometry(self, shape: Sequence[int]) -> Geometry:
        from codecbench.toolbox.learning.geometry import geometry_of

        return geometry_of(self._tiling, tuple(shape))

    def _restored(self, states: tuple[bytes, bytes], **point: Any) -> Self:
        """Another codec of these states, for a fit to go on from; `point` is where its point differs from this one."""
        other = type(self)(self.spec, **{**self.point, **point})
        other.restore("device", states[0])
        other.restore("edge", states[1])
        return other

    def _fitted_prior(self) -> ContextPrior:
        if self._prior is None:
            raise RuntimeError(f"{self.name} has to be fitted, or restored, before it is used")
        return self._prior

    def _fitted_decoder(self) -> nn.Module:
        if self._decoder is None:
            raise RuntimeError(f"{self.name} has to be fitted, or restored, before it decodes")
        return self._decoder
