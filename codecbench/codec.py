"""The codec contract: TensorSpec, FitData and Codec.

A codec carries the tensor that crosses a split point. It runs in four steps, in three processes:

1. *fit*, offline, once, on training data: `Codec(spec, **point).fit(data)`. Most codecs need none.
2. *export* and *restore*: `export("device")` and `export("edge")` give two byte strings, and two fresh instances
   restore them, one in the device process and one in the edge process. These states do not count as payload; their
   sizes are reported in columns of their own.
3. *encode*, on the device: one activation to one payload. Every byte of the payload counts.
4. *decode*, on the edge: the payload back to an activation, in a process that has no access to the sample.

Both sides know the `TensorSpec` and the operating point, so neither is sent. Nothing else is shared. A codec gets
labels in `fit` only, and test samples in `encode` only.

Importing this module does not import torch. A plugin module must not import torch either: import it inside methods.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from codecbench.errors import PayloadError
from codecbench.operating_points import RateKnob, TensorStatistics

if TYPE_CHECKING:
    from torch import Tensor, nn

Side: TypeAlias = Literal["device", "edge"]
"""Where half of a codec runs: `encode` on the device, `decode` on the edge."""

DTYPE_BYTES: Mapping[str, int] = {
    "float16": 2, "float32": 4, "float64": 8, "int16": 2, "int32": 4, "int64": 8, "int8": 1, "uint8": 1,
}  # fmt: skip

NARROW_DTYPES = ("float16", "bfloat16")
"""Types of two bytes that a model may compute in. A codec gets its values as float32."""


@dataclass(frozen=True)
class TensorSpec:
    """The shape, dtype and kind of a tensor. Both sides know it before the first request, so it is never sent.

    `shape` is the shape of one sample, without a batch axis. One axis may be None (time in speech, for example): its
    length differs from sample to sample, is part of the payload, and is at most `max_length`. `image` is True for a
    picture: shape (channels, height, width), float32 values k/255 with k in 0..255. `model_dtype` is "float16" or
    "bfloat16" if the model computes in that type: the tensor is float32, and has its values.

    `statistics` are those of the first training samples, where a run asks a codec for its points (`Codec.points_for`
    and the other class methods), and None where there are none, and wherever a codec is made. Specs that differ in them
    alone are equal.
    """

    shape: tuple[int | None, ...]
    dtype: str = "float32"
    image: bool = False
    max_length: int | None = None
    model_dtype: str | None = None
    statistics: TensorStatistics | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.dtype not in DTYPE_BYTES:
            raise ValueError(f"dtype {self.dtype!r} is not one of {', '.join(DTYPE_BYTES)}")
        if any(n is not None and n < 0 for n in self.shape) or self.shape.count(None) > 1:
            raise ValueError(f"shape {self.shape} needs lengths of at least 0 and at most one None")
        if (None in self.shape) != (self.max_length is not None):
            raise ValueError("max_length belongs to a shape with a None axis, and only there")
        if self.model_dtype is not None and (self.model_dtype not in NARROW_DTYPES or self.dtype != "float32"):
            raise ValueError(f"model_dtype is {' or '.join(NARROW_DTYPES)}, of a float32 tensor, or None")
        if self.image and (len(self.shape) != 3 or self.dtype != "float32" or None in self.shape):
            raise ValueError(f"an image is float32 (channels, height, width), not {self.dtype} {self.shape}")

    @property
    def ndim(self) -> int:
        """Number of axes of one sample."""
        return len(self.shape)

    @property
    def max_shape(self) -> tuple[int, ...]:
        """The shape with `max_length` in place of None."""
        return tuple(self.max_length or 0 if n is None else n for n in self.shape)

    @property
    def nbytes(self) -> int:
        """Uncompressed bytes of the largest tensor of this spec; of every tensor if no axis is None."""
        return self.shape_bytes(self.max_shape)

    def shape_bytes(self, shape: Sequence[int]) -> int:
        """Bytes of a tensor of this dtype and the given shape."""
        return math.prod(shape) * DTYPE_BYTES[self.dtype]

    def raw_bytes(self, shape: Sequence[int]) -> int:
        """Bytes of a tensor of the given shape in the model's own type: what a payload is compared with."""
        return self.shape_bytes(shape) if self.model_dtype is None else 2 * math.prod(shape)

    def mismatch(self, shape: Sequence[int], dtype: str) -> str | None:
        """Return why a tensor of this shape and dtype does not fit the spec, or None if it fits."""
        if dtype != self.dtype:
            return f"dtype is {dtype}, the spec says {self.dtype}"
        fits = len(shape) == self.ndim and all(
            n == want if want is not None else n <= (self.max_length or 0)
            for n, want in zip(shape, self.shape, strict=True)
        )
        return None if fits else f"shape is {tuple(shape)}, the spec says {self.shape}"

    def from_buffer(self, buffer: bytes | bytearray | memoryview, shape: Sequence[int] | None = None) -> Tensor:
        """Return a new tensor made from its row-major little-endian values.

        Without `shape`, the length of a None axis follows from the size of the buffer. Raises PayloadError if the size
        fits no tensor of this spec.
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
        """Return plain JSON values without the statistics, from which `from_json` makes an equal spec."""
        own = {} if self.model_dtype is None else {"model_dtype": self.model_dtype}
        return {
            "shape": list(self.shape), "dtype": self.dtype, "image": self.image, "max_length": self.max_length, **own,
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TensorSpec:
        """The inverse of `to_json`."""
        own = values.get("model_dtype")
        return cls(tuple(values["shape"]), values["dtype"], values["image"], values["max_length"], own)


Batch: TypeAlias = "tuple[Tensor | list[Tensor], list[Any]]"


def _keep_nothing(_saved: bytes) -> None:
    """The default of `FitData.save`: discards the bytes, so an interrupted fit starts again from scratch."""


@dataclass(frozen=True)
class FitData:
    """Training data for `fit`: activations at the split, and the frozen tail behind it.

    `batches(size)` and `held_out(size)` each run one epoch and yield (activations, targets): a (size, *shape) tensor,
    or a list of tensors if an axis is None, and the task's targets (class labels, transcripts). There are `count`
    training samples in `batches`, shuffled by the seed, differently in each epoch. The `held_out_count` held-out
    samples are for validation. Neither contains the samples on which the benchmark chooses operating points.
    `tail` maps a batch of activations to the model's output; `differentiable` is True if gradients flow through it. A
    codec that cannot be fitted without them sets `needs_differentiable_tail`, and is skipped. Work on `torch_device`.
    `progress(fraction, text)` reports progress to the user. `remaining_s()` counts down from `max_s`; a fit that stops
    at zero must leave a usable codec.

    `start` is the fitted state, (device, edge), of the point that `Codec.starts_from` names, or of this same point if
    it is fitted further. It is None if there is no such state: begin from scratch then. A long fit calls `save` every
    few minutes with all that it needs to resume; after an interruption the next fit of the same point gets the last
    saved bytes as `saved`. They are as safe to load as a state. Ignore `saved` if it cannot be used, for example if its
    layout is older. `max_s` and `remaining_s` count this fit only, not an interrupted one before it.
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
    differentiable: bool = True


class Codec(ABC):
    """A codec: `encode` maps an activation to bytes on the device, `decode` maps bytes to an activation on the edge.

    `fit` runs once, offline, on training data only. The harness then restores `export("device")` and
    `export("edge")` into two fresh instances in two processes. Only the bytes that `encode` returns are sent.

    A subclass sets the class attributes below and defines `encode` and `decode`. Its constructor arguments are those of
    its operating points: `Zlib(spec, level=3)` sets `self.level`; an argument left out takes its value from the first
    point that has it. The repr evaluates back to an equal instance.
    """

    name: ClassVar[str]
    """Unique among all loaded codecs; lower case, words joined by hyphens."""
    version: ClassVar[int] = 1
    """Raised by 1 when payloads or accuracy may change. Older fitted states and golden bitstreams are then ignored."""
    points: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    """Operating points: constructor arguments, from the coarsest to the finest. Values are JSON scalars."""
    tags: ClassVar[frozenset[str]] = frozenset()
    """"lossless": decode returns the input exactly, which the kit checks. "learned": fit trains a network."""
    rows_by: ClassVar[tuple[str, ...]] = ()
    """Arguments whose values divide the points into table rows, as in "raw (uint8)"; each row shows one point."""
    implied: ClassVar[Mapping[str, Any]] = {}
    """Arguments that a point names only if they differ from these values. One that a codec gains later is given here:
    the keys of its earlier records and states stay as they are."""
    unfitted: ClassVar[frozenset[str]] = frozenset()
    """Arguments that a fit does not depend on. Points that differ in these alone share a fitted state."""
    checkpoints: ClassVar[str | None] = None
    """The resource folder of shipped fitted states, as "package:folder", or None."""
    fit_samples: ClassVar[int | None] = 4000
    """The most training samples that a fit uses, held-out ones included; None for all."""
    long_fit: ClassVar[bool] = False
    """True if a fit takes minutes. A run skips points that have no state then, and says which command makes it."""
    needs_differentiable_tail: ClassVar[bool] = False
    """True if `fit` takes gradients through `FitData.tail`; the codec is skipped where the model has none. If this
    depends on the point, override `needs_gradients`."""

    def __init__(self, spec: TensorSpec, **point: Any) -> None:
        defaults = self.point_defaults(spec)
        unknown = sorted(set(point) - set(defaults))
        if unknown:
            raise TypeError(
                f"{self.name} has no argument {', '.join(map(repr, unknown))}; it takes {sorted(defaults) or 'none'}"
            )
        self.spec = spec
        complete = {**defaults, **point}
        for key, value in complete.items():
            setattr(self, key, value)
        self.point: dict[str, Any] = self.without_implied(complete)

    def __repr__(self) -> str:
        arguments = "".join(f", {key}={value!r}" for key, value in self.point.items())
        return f"{type(self).__name__}({self.spec!r}{arguments})"

    @classmethod
    def points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return the operating points that make sense for this tensor, coarse to fine. Default: `points`.

        `spec.statistics` say how its values are distributed, if training samples are there.
        """
        return cls.points

    @classmethod
    def quick_points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return one to three points for the quick preset. Default: the coarsest, middle and finest."""
        points = cls.points_for(spec)
        if len(points) <= 3:
            return points
        return (points[0], points[len(points) // 2], points[-1])

    @classmethod
    def rate_knob(cls, spec: TensorSpec) -> RateKnob | None:
        """Return the argument in which `--points auto` searches for this tensor. Default: None, `points_for` serves."""
        return None

    @classmethod
    def further_points_for(cls, spec: TensorSpec) -> tuple[Mapping[str, Any], ...]:
        """Return points of further rows that the full preset runs as well (see `rows_by`). Default: none."""
        return ()

    @classmethod
    def point_defaults(cls, spec: TensorSpec) -> dict[str, Any]:
        """Return each constructor argument with its default: implied, or the value in the first point that has it."""
        defaults: dict[str, Any] = {}
        for point in (*cls.points_for(spec), *cls.points):
            for key, value in point.items():
                defaults.setdefault(key, value)
        return {**{key: value for key, value in defaults.items() if key not in cls.implied}, **cls.implied}

    @classmethod
    def without_implied(cls, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return the point without the arguments that have their value of `implied`."""
        return {key: value for key, value in point.items() if key not in cls.implied or value != cls.implied[key]}

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why the codec cannot run here ("needs imagecodecs: pip install ..."), or None if it can."""
        return None

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        """Return why this point cannot take this tensor ("needs an image, got (64,)"), or None if it can."""
        return None

    @classmethod
    def needs_fit(cls, spec: TensorSpec, **point: Any) -> bool:
        """Return True if this point has to be fitted. Default: True if the class overrides `fit`."""
        return cls.fit is not Codec.fit

    @classmethod
    def works_unfitted(cls, spec: TensorSpec, **point: Any) -> bool:
        """Return True if a new instance of a point that needs a fit works without one, though not as well.

        Where a workload has no training samples, such a point runs unfitted; others are skipped. Default: False.
        """
        return False

    @classmethod
    def needs_gradients(cls, spec: TensorSpec, **point: Any) -> bool:
        """Return True if this point's fit takes gradients through the tail. Default: `needs_differentiable_tail`."""
        return cls.needs_differentiable_tail

    @classmethod
    def starts_from(cls, spec: TensorSpec, **point: Any) -> Mapping[str, Any] | None:
        """Return the point whose fitted state a fit of this point starts from (`FitData.start`). Default: None.

        The harness fits that point first. If it has no state, for example because its fit failed, this fit starts from
        scratch.
        """
        return None

    def fit(self, data: FitData) -> None:
        """Learn from training data. Runs once for each point, in a process of its own. Default: nothing to learn.

        Raise `codecbench.errors.UnsuitedModelError` for a model that the point is not made for: it is skipped then.
        """
        return

    def export(self, side: Side) -> bytes:
        """Return the fitted state of one side, loadable without executing code (safetensors, JSON). Default: empty."""
        return b""

    def compact(self) -> bytes:
        """Return the edge's state as it is kept: without what `complete` takes from the tail. Default: all of it.

        The edge holds the tail anyway, and a copy of it may be a hundred times as large as what was learned.
        """
        return self.export("edge")

    def complete(self, state: bytes, tail: nn.Module) -> bytes:
        """Return the edge's state that `restore` takes, of one that `compact` gave and the frozen tail.

        A run calls it on a fresh instance, in a process without data. Default: the same state.
        """
        return state

    def restore(self, side: Side, state: bytes) -> None:
        """Load the state that `export(side)` returned into a fresh instance. Default: accepts an empty state only."""
        if state:
            raise ValueError(f"{self.name} keeps no state, but was given {len(state)} bytes")

    @abstractmethod
    def encode(self, x: Tensor) -> bytes:
        """Return the payload of one sample of the spec's shape and dtype. Timed on the device. `x` is read-only."""

    @abstractmethod
    def decode(self, payload: bytes) -> Tensor:
        """Return the decoded payload as a new tensor of the spec's shape and dtype. Timed on the edge.

        A damaged payload may raise any exception. It must not crash, hang, or allocate much more than a valid one:
        check sizes that are read from the payload before using them.
        """

    def bound_bytes(self, x: Tensor) -> float | None:
        """Return the Shannon bound of the payload of `x` in bytes: the sum of -log2 of its symbols' probabilities.

        For codecs that entropy-code symbols with a prior that both sides hold. Side information counts in full. The
        bound is reported beside the payload size and shows the overhead of the entropy coder; it is not part of any
        size or time. Default: None.
        """
        return None

    def encode_batch(self, xs: Sequence[Tensor]) -> list[bytes]:
        """Return the payloads of many samples, equal to those of `encode`. Default: a loop; override it for speed."""
        return [self.encode(x) for x in xs]

    def decode_batch(self, payloads: Sequence[bytes]) -> list[Tensor]:
        """Return the tensors of many payloads, equal to those of `decode`. Default: a loop; override it for speed."""
        return [self.decode(payload) for payload in payloads]
