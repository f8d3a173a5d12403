"""Means of symbols, predicted in quarters of a step from the symbols before them.

Channels are sent in groups, and of a group first the places that are black on a chessboard, then the white ones. A mean
is a sum over the first channels of earlier groups, at the place and around it, and at a white place also over those of
its own group at the four black places next to it (linear prediction; two passes of a chessboard: He et al. 2021,
section 3.2). Factors are whole numbers that least squares find from symbols, so a state needs no training to have them.

All of it is integers, so encoder and decoder agree on every machine. Importing this module does not import numpy.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Colour: TypeAlias = Literal[0, 1]
COLOURS: tuple[Colour, Colour] = (0, 1)
"""Of a place: black, as the corner at the top left is, or white; in the order in which they are sent."""

EARLIER_CHANNELS, OWN_CHANNELS = 16, 32
"""Sums are over the first so many channels of all, as far as they are in earlier groups, and of the own group."""

FACTOR_GRID, MAX_FACTOR = 128, 127
"""Factors are multiples of a 128th, and less than 1."""

MAX_SEEN = 127
"""Symbols count up to this in sums, which float32 then holds exactly."""

QUARTERS = 4
"""Means are multiples of a quarter of a step."""

_SHIFT = (FACTOR_GRID // QUARTERS).bit_length() - 1
_AREA, _BESIDE = 9, 4
_RIDGES, _PARTS = (30.0, 1e3, 3e4), 5
_MAX_SOLVED = 1 << 24
_MAX_ROWS = 1 << 17
_LENGTH = struct.Struct("<I")


def spans_of(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """First channel, and that behind the last, of groups of so many channels."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return list(zip([0, *ends[:-1]], ends, strict=True))


@lru_cache
def places_of(height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Black and white places, row by row."""
    import numpy as np

    is_white = (np.add.outer(np.arange(height), np.arange(width)) % 2).reshape(-1)
    return np.flatnonzero(is_white == 0), np.flatnonzero(is_white)


@dataclass(frozen=True, eq=False)
class Means:
    """Factors for groups of channels of these `sizes`, as whole numbers of 1/FACTOR_GRID.

    `earlier` (2, channels, 9 times EARLIER_CHANNELS or fewer) are those of the first channels at and around a black
    and a white place; what is in no earlier group is not looked at. `own` has (n, 4 times OWN_CHANNELS or fewer) for
    each group of n channels.
    """

    sizes: tuple[int, ...]
    earlier: NDArray[np.int8]
    own: tuple[NDArray[np.int8], ...]

    @classmethod
    def zero(cls, sizes: Sequence[int]) -> Means:
        """Means that are zero everywhere."""
        import numpy as np

        earlier, *own = (np.zeros(shape, np.int8) for shape in _shapes(sizes))
        return cls(tuple(sizes), earlier, tuple(own))

    @classmethod
    def fitted(cls, sizes: Sequence[int], samples: Sequence[NDArray[Any]], scales: Sequence[NDArray[Any]]) -> Means:
        """Those of the least squared error for training symbols, each (channels, height, width).

        An error counts by the inverse of the scale, averaged over its group; `scales` are of the samples' shapes. A
        fifth of the samples says how much factors are held down, and whether they are better than none. Of very many
        symbols the first samples are taken.
        """
        import numpy as np

        means = cls.zero(sizes)
        for group, (start, end) in enumerate(spans_of(sizes)):
            split = _AREA * min(start, EARLIER_CHANNELS)
            for colour in COLOURS:
                solved = _solved(*means._normal_equations(group, colour, samples, scales))
                factors = np.rint(solved.T * FACTOR_GRID).clip(-MAX_FACTOR, MAX_FACTOR)
                means.earlier[colour, start:end, :split] = factors[:, :split]
                if colour:
                    means.own[group][:] = factors[:, split:]
        return means

    def _normal_equations(
        self, group: int, colour: Colour, samples: Sequence[NDArray[Any]], scales: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Products of what a group's means look at with itself, (2, looks, looks), and with symbols, (2, looks, n).

        First over each fifth sample, then over the others.
        """
        import numpy as np

        start, end = spans_of(self.sizes)[group]
        split = _AREA * min(start, EARLIER_CHANNELS)
        looks = split + (self.own[group].shape[1] if colour else 0)
        squares, products = np.zeros((2, looks, looks)), np.zeros((2, looks, end - start))
        for part, symbols, weights in _batches(samples, scales):
            shape, at = symbols.shape[2:], places_of(*symbols.shape[2:])[colour]
            padded = _padded(symbols)
            seen = _around(padded, shape, colour)[:, :split]
            if colour:
                seen = np.concatenate([seen, _beside(padded[:, start:end], shape)], 1)
            rows = seen.swapaxes(1, 2).reshape(len(symbols) * len(at), looks)
            wanted = symbols[:, start:end].reshape(len(symbols), end - start, -1)[:, :, at]
            weighted = rows * weights[:, start:end].mean(1).reshape(len(symbols), -1)[:, at].reshape(-1, 1)
            squares[part] += weighted.T @ rows
            products[part] += weighted.T @ wanted.swapaxes(1, 2).reshape(len(rows), end - start)
        return squares, products

    def quarters(
        self, symbols: NDArray[Any], start: int, end: int, colours: Sequence[Colour] = COLOURS
    ) -> NDArray[np.int32]:
        """Means of whole groups, those of the channels from `start` up to `end`, at the places of each colour in turn.

        `symbols` (channels, height, width) need be right only where they are sent before. (channels, places), in
        quarters of a step.
        """
        import numpy as np

        shape, padded = symbols.shape[1:], _padded(symbols[None])
        earlier, own = self._floating
        found = []
        for colour in colours:
            sums: NDArray[np.float32] = earlier[colour, start:end] @ _around(padded, shape, colour)[0]
            if colour and sums.size:
                for (first, last), factors in zip(spans_of(self.sizes), own, strict=True):
                    if start <= first < end:
                        sums[first - start : last - start] += factors @ _beside(padded[:, first:last], shape)[0]
            found.append(sums)
        return (np.concatenate(found, 1).astype(np.int32) + (1 << _SHIFT >> 1)) >> _SHIFT

    def to_bytes(self) -> bytes:
        """The factors as side state, with its length."""
        packed = zlib.compress(b"".join(part.tobytes() for part in (self.earlier, *self.own)), 9)
        return _LENGTH.pack(len(packed)) + packed

    @classmethod
    def from_bytes(cls, sizes: Sequence[int], state: bytes) -> tuple[Means, bytes]:
        """The inverse of `to_bytes` for groups of these sizes, and what follows. Raises ValueError where it is none."""
        import numpy as np

        shapes = _shapes(sizes)
        counts = [math.prod(shape) for shape in shapes]
        end = _LENGTH.size + (_LENGTH.unpack_from(state)[0] if len(state) >= _LENGTH.size else 0)
        unpacker = zlib.decompressobj()
        try:
            factors = unpacker.decompress(state[_LENGTH.size : end], sum(counts) + 1)
        except zlib.error as error:
            raise ValueError(f"no factors of means: {error}") from error
        if not unpacker.eof or len(factors) != sum(counts):
            raise ValueError("the factors of means are cut short, or of other groups")
        parts = np.split(np.frombuffer(factors, np.int8), np.cumsum(counts)[:-1])
        earlier, *own = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
        return cls(tuple(sizes), earlier, tuple(own)), state[end:]

    @cached_property
    def _floating(self) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """`earlier` and `own` as what matrices are multiplied in, zero for whatever is in no earlier group."""
        import numpy as np

        earlier = self.earlier.astype(np.float32)
        for start, end in spans_of(self.sizes):
            earlier[:, start:end, _AREA * start :] = 0
        return earlier, [factors.astype(np.float32) for factors in self.own]


def _shapes(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Of `Means.earlier`, and of each of `Means.own`."""
    channels = sum(sizes)
    earlier = (2, channels, _AREA * min(channels, EARLIER_CHANNELS))
    return [earlier, *((n, _BESIDE * min(n, OWN_CHANNELS)) for n in sizes)]


def _padded(symbols: NDArray[Any]) -> NDArray[np.float32]:
    """Symbols (n, channels, height, width) with zeros around them, as rows."""
    import numpy as np

    n, channels, height, width = symbols.shape
    padded = np.zeros((n, channels, height + 2, width + 2), np.float32)
    padded[:, :, 1:-1, 1:-1] = symbols
    np.minimum(padded, MAX_SEEN, out=padded)
    return np.maximum(padded, -MAX_SEEN, out=padded).reshape(n, channels, -1)


@lru_cache
def _neighbours(shape: tuple[int, int], colour: Colour) -> NDArray[np.intp]:
    """Where around each place of a colour the symbols of `_padded` stand, (9, places)."""
    import numpy as np

    width = shape[1] + 2
    steps = np.add.outer(np.arange(-1, 2) * width, np.arange(-1, 2)).reshape(-1, 1)
    row, column = np.divmod(places_of(*shape)[colour], max(1, shape[1]))
    places: NDArray[np.intp] = steps + (row + 1) * width + column + 1
    return places


def _around(padded: NDArray[np.float32], shape: tuple[int, int], colour: Colour) -> NDArray[np.float32]:
    """The first channels at and around places of a colour, (n, 9 * channels, places)."""
    return _flat(padded[:, :EARLIER_CHANNELS].take(_neighbours(shape, colour), 2))


def _beside(padded: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """A group's first channels at the black places next to white ones, (n, 4 * channels, places)."""
    return _flat(padded[:, :OWN_CHANNELS].take(_neighbours(shape, 1)[1::2], 2))


def _flat(seen: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, channels, looks, places) to (n, channels * looks, places)."""
    n, channels, looks, places = seen.shape
    return seen.reshape(n, channels * looks, places)


def _solved(squares: NDArray[np.float64], products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factors (looks, channels) by ridge regression on both parts, with the ridge that suits the first part best."""
    import numpy as np

    def solved(square: NDArray[np.float64], product: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
        return np.asarray(np.linalg.solve(square + ridge * np.eye(len(square)), product), np.float64)

    best, least = np.zeros(products.shape[1:]), 0.0
    for ridge in _RIDGES:
        factors = solved(squares[1], products[1], ridge)
        error = float((factors * (squares[0] @ factors - 2 * products[0])).sum())  # more than that of none
        if error < least:
            best, least = solved(squares.sum(0), products.sum(0), ridge), error
    return best


def _batches(
    samples: Sequence[NDArray[Any]], scales: Sequence[NDArray[Any]]
) -> Iterator[tuple[Literal[0, 1], NDArray[Any], NDArray[Any]]]:
    """Samples of equal shape, (n, channels, height, width), of each fifth (0) or of others (1); and their weights."""
    import numpy as np

    left = _MAX_SOLVED
    alike: dict[tuple[Literal[0, 1], tuple[int, ...]], list[int]] = {}
    for i, sample in enumerate(samples):
        if left < 0:
            break
        left -= sample.size
        alike.setdefault((1 if i % _PARTS else 0, sample.shape), []).append(i)
    for (part, (_, height, width)), found in alike.items():
        count = max(1, _MAX_ROWS // max(1, height * width))
        for first in range(0, len(found), count):
            chosen = found[first : first + count]
            yield part, np.stack([samples[i] for i in chosen]), 1 / np.stack([scales[i] for i in chosen])
