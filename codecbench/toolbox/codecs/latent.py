"""`LatentCodec`: the base class of learned codecs that send a grid of integer symbols coded by a `ContextPrior`.

A subclass implements `fit`, `_symbols` for the device, and `_empty_decoder` for the edge. Importing this module does
not import torch.
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
    """Return the reason why a learned codec cannot code this tensor, or None if it can.

    It needs float32 values, at least one axis, no axis of length 0, and at most MAX_CHANNELS channels.
    """
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
    """Decode payloads into samples, in the order of the payloads; samples of equal shape are decoded as one batch.

    `read` turns the bytes after a payload's shape header into a grid. `run` turns a batch of grids into a batch of
    samples; it is called without gradients. Raises PayloadError for a malformed payload.
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
    """A base class that restores states, codes symbols and runs the decoder, for any tensor of float32 values.

    A state is a `codecbench.toolbox.learning.state.State`. It holds the tiling and the prior; for the device, also
    whatever `_restore_encoder` reads; for the edge, also the decoder's weights and the limits of decoded values.
    """

    tags = frozenset({"learned"})
    long_fit = True
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
        """Return why this point cannot run: a bad step, or a tensor that `unsuited` rejects."""
        step = point.get("step", 1.0)
        if not isinstance(step, int | float) or not 1e-3 <= step <= 1e3:
            return f"step is a number from 0.001 to 1000, not {step!r}"
        return unsuited(spec)

    @abstractmethod
    def _symbols(self, x: Tensor) -> Tensor:
        """Return the symbols of a non-empty sample as a grid (latents, height, width). Runs on the device."""

    @abstractmethod
    def _restore_encoder(self, state: State) -> None:
        """Read the rest of the device's state, besides tiling and prior. May raise KeyError or ValueError."""

    @abstractmethod
    def _empty_decoder(self, geometry: Geometry, latents: int, state: State) -> nn.Module:
        """Return a decoder with any weights; they are loaded afterwards.

        It is called like the decoder of `codecbench.toolbox.learning.objective.Network`.
        """

    def export(self, side: Side) -> bytes:
        """Return the state that `fit` made for this side; empty before a fit."""
        return self._states.get(side, b"")

    def restore(self, side: Side, state: bytes) -> None:
        """Load a state made by `export`. Raises ValueError if it is invalid."""
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
        """Return the shape header and the bitstream. Raises ValueError for values that are not finite."""
        prior = self._fitted_prior()
        if not x.numel():
            return write_shape(self.spec, x.shape)
        return write_shape(self.spec, x.shape) + prior.encode(self._symbols(x).numpy())

    def bound_bytes(self, x: Tensor) -> float:
        """Return the Shannon bound of the symbols under the prior, in bytes, without the length of a varying axis."""
        prior = self._fitted_prior()
        return prior.bound_bytes(self._symbols(x).numpy()) if x.numel() else 0.0

    def decode(self, payload: bytes) -> Tensor:
        """Return the sample that the decoder makes of the symbols."""
        return self.decode_batch([payload])[0]

    def decode_batch(self, payloads: Sequence[bytes]) -> list[Tensor]:
        """Return the samples of all payloads; the decoder runs once for all payloads of equal shape."""
        decoder = self._fitted_decoder()
        return decode_by_shape(
            self.spec, payloads, self._read, lambda grids, shape: self._samples(decoder, grids, self._geometry(shape))
        )

    def _samples(self, decoder: nn.Module, grids: Tensor, geometry: Geometry) -> Tensor:
        """Run the decoder on a batch of grids and clamp the samples to the limits."""
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
        """Return another codec, restored from these states, for a fit to continue from.

        `point` holds the arguments in which its operating point differs from this one's.
        """
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
