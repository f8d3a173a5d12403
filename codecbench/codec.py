"""The codec contract: TensorSpec, FitData, Codec and the exceptions.

A codec carries the tensor that crosses a split point. Its life has four steps, in three processes:

1. *fit*, offline, once, on training data: `Codec(spec, **point).fit(data)`. Most codecs need none.
2. *export* and *restore*: `export("device")` and `export("edge")` give two byte strings, and two fresh instances
   restore them, one in the device process and one in the edge process. This side state is free on the link and
   reported in columns of its own.
3. *encode*, on the device: one activation to one payload. Every byte of it is billed.
4. *decode*, on the edge, in a process that never saw the sample: the payload back to an activation.

Both sides know the `TensorSpec` and the operating point, so neither travels. Nothing else is shared. A codec never sees
a label outside `fit`, nor a test sample before `encode`.

Importing this module does not import torch, and a plugin module must not either: import it inside methods.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from codecbench.errors import PayloadError

if TYPE_CHECKING:
    from torch import Tensor, nn

Side: TypeAlias = Literal["device", "edge"]

DTYPE_BYTES: Mapping[str, int] = {
    "float16": 2, "float32": 4, "float64": 8, "int16": 2, "int32": 4, "int64": 8, "int8": 1, "uint8": 1,
}  # fmt: skip


@dataclass(frozen=True)
class TensorSpec:
    """Shape, type and kind of a tensor: known to both sides before the first request, and free on the link.

    `shape` is the shape of one sample, without a batch axis. One axis may be None (time in speech, say): its length
    differs from sample to sample, travels in the payload, and never exceeds `max_length`. `image` says that the
    tensor is a picture: shape (channels, height, width), float32 values k/255 with k in 0..255.
    """

    shape: tuple[int | None, ...]
    dtype: str = "float32"
    image: bool = False
    max_length: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPE_BYTES:
            raise ValueError(f"dtype {self.dtype!r} is not one of {', '.join(DTYPE_BYTES)}")
        if any(n is not None and n < 0 for n in self.shape) or self.shape.count(None) > 1:
            raise ValueError(f"shape {self.shape} needs lengths of at least 0 and at most one None")
        if (None in self.shape) != (self.max_length is not None):
            raise ValueError("max_length belongs to a shape with a None axis, and only there")
        if self.image and (len(self.shape) != 3 or self.dtype != "float32" or None in self.shape):
            raise ValueError(f"an image is float32 (channels, height, width), not {self.dtype} {self.shape}")

    @property
    def ndim(self) -> int:
        """Number of axes of one sample."""
        return len(self.shape)

    @property
    def max_shape(self) -> tuple[int, ...]:
        """The shape with the None axis at its greatest length."""
        return tuple(self.max_length or 0 if n is None else n for n in self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the largest tensor of this spec, as plain values: exact where no axis is None."""
        return self.shape_bytes(self.max_shape)

    def shape_bytes(self, shape: Sequence[int]) -> int:
        """Bytes of a tensor of this dtype and the given shape."""
        return math.prod(shape) * DTYPE_BYTES[self.dtype]

    def mismatch(self, shape: Sequence[int], dtype: str) -> str | None:
        """The reason why a tensor of this shape and dtype does not fit the spec; None where it fits."""
        if dtype != self.dtype:
            return f"dtype is {dtype}, the spec says {self.dtype}"
        fits = len(shape) == self.ndim and all(
            n == want if want is not None else n <= (self.max_length or 0)
            for n, want in zip(shape, self.shape, strict=True)
        )
        return None if fits else f"shape is {tuple(shape)}, the spec says {self.shape}"

    def from_buffer(self, buffer: bytes | bytearray | memoryview, shape: Sequence[int] | None = None) -> Tensor:
        """A new tensor from its row-major little-endian values.

        Without `shape`, a None axis takes the length that the buffer's size implies. Raises PayloadError where the
        size fits no tensor of this spec.
        """
        import numpy as np
        import torch

        if shape is None:
            shape = self._implied_shape(len(buffer))
        if self.mismatch(shape, self.dtype) or self.shape_bytes(shape) != len(buffer):
            raise PayloadError(f"{len(buffer)} bytes are no {self.dtype} tensor of shape {self.shape}")
        values = np.frombuffer(buffer, dtype=np.dtype(self.dtype).newbyteorder("<")).reshape(tuple(shape))
        return torch.from_numpy(values.astype(self.dtype, copy=True))

    def _implied_shape(self, buffer_bytes: int) -> tuple[int, ...]:
        known = math.prod(n for n in self.shape if n is not None)
        row_bytes = known * DTYPE_BYTES[self.dtype]
        length = buffer_bytes // row_bytes if row_bytes else 0
        return tuple(length if n is None else n for n in self.shape)

    def to_json(self) -> dict[str, Any]:
        """Plain values from which `from_json` makes an equal spec."""
        return {
            "shape": list(self.shape), "dtype": self.dtype, "image": self.image, "max_length": self.max_length,
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TensorSpec:
        """The inverse of `to_json`."""
        return cls(tuple(values["shape"]), values["dtype"], values["image"], values["max_length"])


Batch: TypeAlias = "tuple[Tensor | list[Tensor], list[Any]]"


def _keep_nothing(_saved: bytes) -> None:
    """The default of `FitData.save`: keeps nothing, since nobody could go on with an interrupted fit."""


@dataclass(frozen=True)
class FitData:
    """Training data for `fit`: activations at the split, and the frozen tail behind it.

    `batches(size)` and `held_out(size)` each start a pass and yield (activations, targets): a (size, *shape) tensor,
    or a list of tensors where an axis is None, with the task's targets (class labels, transcripts). The held-out
    samples are training samples kept apart for choosing settings; the samples on which the benchmark chooses operating
    points are neither. `batches` shuffles by the seed, differently on each pass.
    `tail` maps a batch of activations to the model's output and is differentiable in them. Work on `torch_device`.
    `progress(fraction, text)` shows how far the fit is; `remaining_s()` counts down from `max_s`, and a fit that stops
    at zero must leave a usable codec.

    `start` is the fitted state, (device, edge), of the point that `Codec.starts_from` named, or of this point itself
    where it is fitted further; None where there is none: begin from scratch then. A long fit calls `save` every few
    minutes with all that it needs to go on; where it is interrupted, the next fit of the same point finds the last of
    these bytes as `saved`. They are as safe to load as a state. Ignore what cannot be used, of an older layout say.
    `max_s` and `remaining_s` are of this fit alone, without what an interrupted one has spent.
    """

    spec: TensorSpec
    count: int
    held_out_count: int
    batches: Callable[[int], Iterator[Batch]]
    held_out: Callable[[int], Iterator[Batch]]
    tail: nn.Module
    torch_device: str
    seed: int
    max_s: float
    progress: Callable[[float, str], None]
    remaining_s: Callable[[], float]
    start: tuple[bytes, bytes] | None = None
    saved: bytes | None = None
    save: Callable[[bytes], None] = _keep_nothing


class Codec(ABC):
    """Activation -> bytes on the device; bytes -> activation on the edge.

    `fit` runs once, offline, on training data only. The harness then restores `export("device")` and
    `export("edge")` into two fresh instances in two processes. Only what `encode` returns crosses.

    A subclass sets the class attributes below, `encode` and `decode`. Its constructor arguments are those of its
    operating points: `Zlib(spec, level=3)` sets `self.level`; an argument left out takes its value from the first
    point that has it. The repr evaluates back to an equal instance.
    """

    name: ClassVar[str]
    """Unique among all loaded codecs; lower case, words joined by hyphens."""
    version: ClassVar[int] = 1
    """Raised when payloads or accuracy may change. It discards fitted states and golden bitstreams."""
    points: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    """Operating points: constructor arguments, coarse to fine. Values are JSON scalars."""
    tags: ClassVar[frozenset[str]] = frozenset()
    """"lossless": decode returns the input exactly, and the kit holds it to that. "learned": fit trains a network."""
    rows_by: ClassVar[tuple[str, ...]] = ()
    """Arguments by whose values tables part the points into rows, as in "raw (uint8)"; a row shows one point."""
    checkpoints: ClassVar[str | None] = None
    """Package resource folder with shipped fitted states, as "package:folder"."""
    fit_samples: ClassVar[int | None] = 4000
    """Training samples that a fit takes at most, held-out ones included; None takes all there are."""

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        defaults = self.point_defaults(spec)
        unknown = sorted(set(point) - set(defaults))
        if unknown:
            raise TypeError(
                f"{self.name} has no argument {', '.join(map(repr, unknown))}; it takes {sorted(defaults) or 'none'}"
            )
        self.spec = spec
        self.point: dict[str, Any] = {**defaults, **point}
        for key, value in self.point.items():
            setattr(self, key, value)

    def __repr__(self) -> str:
        arguments = "".join(f", {key}={value!r}" for key, value in self.point.items())
        return f"{type(self).__name__}({self.spec!r}{arguments})"

    @classmethod
    def points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Operating points that make sense for this tensor, coarse to fine. Default: `points`."""
        return cls.points

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """The two or three points that matter, for the quick preset. Default: the coarsest, middle and finest."""
        points = cls.points_for(spec)
        if len(points) <= 3:
            return points
        return (points[0], points[len(points) // 2], points[-1])

    @classmethod
    def point_defaults(cls, spec: TensorSpec) -> dict[str, Any]:
        """Every constructor argument with its default: the value in the first point that has it."""
        defaults: dict[str, Any] = {}
        for point in (*cls.points_for(spec), *cls.points):
            for key, value in point.items():
                defaults.setdefault(key, value)
        return defaults

    @classmethod
    def unavailable(cls) -> str | None:
        """The reason why the codec cannot run here ("needs imagecodecs: pip install ..."), or None where it can."""
        return None

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """The reason why this point cannot take this tensor ("needs an image, got (64,)"), or None where it can."""
        return None

    @classmethod
    def needs_fit(cls, spec: TensorSpec, **point: Any) -> bool:
        """True where this point has to be fitted. Default: where the class overrides `fit`."""
        return cls.fit is not Codec.fit

    @classmethod
    def starts_from(cls, spec: TensorSpec, **point: Any) -> Mapping[str, Any] | None:
        """The point whose fitted state a fit of this point starts from, as `FitData.start`. Default: None, no other.

        Fits of a codec at a split run in an order in which that point comes first. Where it has no state, it failed
        say, the fit starts from scratch.
        """
        return None

    def fit(self, data: FitData) -> None:
        """Learn from training data. Never timed; runs once for a point, in a process of its own. Default: nothing."""
        return

    def export(self, side: Side) -> bytes:
        """The fitted state that `side` needs, loadable without executing code (safetensors, JSON). Default: none."""
        return b""

    def restore(self, side: Side, state: bytes) -> None:
        """Take the state that `export(side)` gave, in a fresh instance. Default: accepts the empty state only."""
        if state:
            raise ValueError(f"{self.name} keeps no state, but was given {len(state)} bytes")

    @abstractmethod
    def encode(self, x: Tensor) -> bytes:
        """One sample, of the spec's shape and dtype, to one payload. Timed on the device. `x` is read-only."""

    @abstractmethod
    def decode(self, payload: bytes) -> Tensor:
        """One payload to a new tensor of the spec's shape and dtype. Timed on the edge.

        A damaged payload may raise anything; it must not crash, hang, or allocate far beyond a valid decode: check
        sizes found in the payload before use.
        """

    def bound_bytes(self, x: Tensor) -> float | None:
        """Shannon bound, in bytes, of what `encode` sends of `x`: the sum of -log2 of its symbols' probabilities.

        For codecs that code their symbols by a prior which both sides hold; what is sent beside the symbols counts in
        full. Never billed, never timed: it stands beside the payload's bytes and shows how good the entropy coder is.
        Default: None.
        """
        return None

    def encode_batch(self, xs: Sequence[Tensor]) -> list[bytes]:
        """Many samples to their payloads, the same bytes as one by one. Default: a loop; override for speed."""
        return [self.encode(x) for x in xs]

    def decode_batch(self, payloads: Sequence[bytes]) -> list[Tensor]:
        """Many payloads to their tensors, the same as one by one. Default: a loop; override for speed."""
        return [self.decode(payload) for payload in payloads]
