"""Prediction of symbols' means from symbols sent earlier, in quarters of a step.

Channels are sent in groups, and each group in two checkerboard passes. A mean is a linear combination of the first
channels of earlier groups, at the position and around it; in the second pass also of the first channels of its own
group at the four neighbours, which the first pass has sent (linear prediction; two checkerboard passes: He et al. 2021,
section 3.2). The factors are integers found by least squares on training symbols, without gradient descent.

All sums are exact integers, so encoder and decoder agree on every machine. Importing this module does not import numpy.
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

CheckerboardPass: TypeAlias = Literal[0, 1]
CHECKERBOARD_PASSES: tuple[CheckerboardPass, CheckerboardPass] = (0, 1)
"""The passes in the order in which they are sent; the top left corner is in the first."""

EARLIER_CHANNELS, OWN_CHANNELS = 16, 32
"""Only the first 16 of all channels, if they are in earlier groups, and the first 32 of the own group are used."""

FACTOR_GRID, MAX_FACTOR = 128, 127
"""Factors are multiples of 1/128, from -127/128 to 127/128."""

MAX_INPUT = 127
"""Symbols are clipped to this magnitude in sums, which float32 then holds exactly."""

QUARTERS = 4
"""Means are multiples of a quarter of a step."""

_SHIFT = (FACTOR_GRID // QUARTERS).bit_length() - 1
_AREA, _NEIGHBOURS = 9, 4
_RIDGE_PARAMETERS, _FOLDS = (30.0, 1e3, 3e4), 5
_MAX_TRAINING_SYMBOLS = 1 << 24
_MAX_BATCH_POSITIONS = 1 << 17
_LENGTH = struct.Struct("<I")


def spans_of(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return first channel and end (last channel + 1) of each group, for groups of these sizes."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return list(zip([0, *ends[:-1]], ends, strict=True))


@lru_cache
def pass_positions(height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the positions of each checkerboard pass, row by row."""
    import numpy as np

    is_second = (np.add.outer(np.arange(height), np.arange(width)) % 2).reshape(-1)
    return np.flatnonzero(is_second == 0), np.flatnonzero(is_second)


@dataclass(frozen=True, eq=False)
class MeanPredictor:
    """Linear prediction factors for groups of channels of these `sizes`, as integers in units of 1/FACTOR_GRID.

    `earlier` (2, channels, 9 * min(channels, EARLIER_CHANNELS)) are the factors, for each pass, of the first channels
    at a position and around it; channels that are in no earlier group are ignored. `own` holds, for each group of n
    channels, an array (n, 4 * min(n, OWN_CHANNELS)) for the second pass.
    """

    sizes: tuple[int, ...]
    earlier: NDArray[np.int8]
    own: tuple[NDArray[np.int8], ...]

    @classmethod
    def zero(cls, sizes: Sequence[int]) -> MeanPredictor:
        """Return a predictor whose means are all zero."""
        import numpy as np

        earlier, *own = (np.zeros(shape, np.int8) for shape in _shapes(sizes))
        return cls(tuple(sizes), earlier, tuple(own))

    @classmethod
    def fitted(
        cls, sizes: Sequence[int], samples: Sequence[NDArray[Any]], scales: Sequence[NDArray[Any]]
    ) -> MeanPredictor:
        """Return the predictor of least weighted squared error on training symbols, each (channels, height, width).

        An error is weighted by the inverse of the scale, averaged over its group; `scales` have the samples' shapes. A
        fifth of the samples selects the ridge parameter, and whether the factors are better than zeros. Of very many
        symbols only the first samples are used.
        """
        import numpy as np

        means = cls.zero(sizes)
        for group, (start, end) in enumerate(spans_of(sizes)):
            split = _AREA * min(start, EARLIER_CHANNELS)
            for pass_ in CHECKERBOARD_PASSES:
                solved = _ridge_solution(*means._normal_equations(group, pass_, samples, scales))
                factors = np.rint(solved.T * FACTOR_GRID).clip(-MAX_FACTOR, MAX_FACTOR)
                means.earlier[pass_, start:end, :split] = factors[:, :split]
                if pass_:
                    means.own[group][:] = factors[:, split:]
        return means

    def _normal_equations(
        self, group: int, pass_: CheckerboardPass, samples: Sequence[NDArray[Any]], scales: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return products of a group's inputs, (2, inputs, inputs), and of inputs and symbols, (2, inputs, n).

        Index 0 is the sum over every fifth sample, index 1 the sum over the others.
        """
        import numpy as np

        start, end = spans_of(self.sizes)[group]
        split = _AREA * min(start, EARLIER_CHANNELS)
        inputs = split + (self.own[group].shape[1] if pass_ else 0)
        squares, products = np.zeros((2, inputs, inputs)), np.zeros((2, inputs, end - start))
        for part, symbols, weights in _batches(samples, scales):
            shape, at = symbols.shape[2:], pass_positions(*symbols.shape[2:])[pass_]
            padded = _padded(symbols)
            window = _around(padded, shape, pass_)[:, :split]
            if pass_:
                window = np.concatenate([window, _four_neighbours(padded[:, start:end], shape)], 1)
            rows = window.swapaxes(1, 2).reshape(len(symbols) * len(at), inputs)
            targets = symbols[:, start:end].reshape(len(symbols), end - start, -1)[:, :, at]
            weighted = rows * weights[:, start:end].mean(1).reshape(len(symbols), -1)[:, at].reshape(-1, 1)
            squares[part] += weighted.T @ rows
            products[part] += weighted.T @ targets.swapaxes(1, 2).reshape(len(rows), end - start)
        return squares, products

    def quarters(
        self, symbols: NDArray[Any], start: int, end: int, passes: Sequence[CheckerboardPass] = CHECKERBOARD_PASSES
    ) -> NDArray[np.int32]:
        """Return the means of the channels from `start` up to `end` (whole groups), in quarters of a step.

        The result is (channels, positions), with the positions of each pass in turn. Of `symbols` (channels, height,
        width), only those sent earlier are used; the others may have any value.
        """
        import numpy as np

        shape, padded = symbols.shape[1:], _padded(symbols[None])
        earlier, own = self._floating
        sums_by_pass = []
        for pass_ in passes:
            sums: NDArray[np.float32] = earlier[pass_, start:end] @ _around(padded, shape, pass_)[0]
            if pass_ and sums.size:
                for (first, last), factors in zip(spans_of(self.sizes), own, strict=True):
                    if start <= first < end:
                        sums[first - start : last - start] += (
                            factors @ _four_neighbours(padded[:, first:last], shape)[0]
                        )
            sums_by_pass.append(sums)
        return (np.concatenate(sums_by_pass, 1).astype(np.int32) + (1 << _SHIFT >> 1)) >> _SHIFT

    def to_bytes(self) -> bytes:
        """Return the factors as side state, with its length first."""
        packed = zlib.compress(b"".join(part.tobytes() for part in (self.earlier, *self.own)), 9)
        return _LENGTH.pack(len(packed)) + packed

    @classmethod
    def from_bytes(cls, sizes: Sequence[int], state: bytes) -> tuple[MeanPredictor, bytes]:
        """Return the predictor for groups of these sizes, and the bytes after it; the inverse of `to_bytes`.

        Raises ValueError for an invalid state.
        """
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
        """`earlier` and `own` as float32 for matrix products, zero for channels that are in no earlier group."""
        import numpy as np

        earlier = self.earlier.astype(np.float32)
        for start, end in spans_of(self.sizes):
            earlier[:, start:end, _AREA * start :] = 0
        return earlier, [factors.astype(np.float32) for factors in self.own]


def _shapes(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the shapes of `MeanPredictor.earlier` and of each array of `MeanPredictor.own`."""
    channels = sum(sizes)
    earlier = (2, channels, _AREA * min(channels, EARLIER_CHANNELS))
    return [earlier, *((n, _NEIGHBOURS * min(n, OWN_CHANNELS)) for n in sizes)]


def _padded(symbols: NDArray[Any]) -> NDArray[np.float32]:
    """Return symbols (n, channels, height, width), clipped and padded with zeros, with each plane flattened."""
    import numpy as np

    n, channels, height, width = symbols.shape
    padded = np.zeros((n, channels, height + 2, width + 2), np.float32)
    padded[:, :, 1:-1, 1:-1] = symbols
    np.minimum(padded, MAX_INPUT, out=padded)
    return np.maximum(padded, -MAX_INPUT, out=padded).reshape(n, channels, -1)


@lru_cache
def _neighbours(shape: tuple[int, int], pass_: CheckerboardPass) -> NDArray[np.intp]:
    """Return the indices into `_padded` of the 3 x 3 symbols around each position of a pass, (9, positions)."""
    import numpy as np

    width = shape[1] + 2
    steps = np.add.outer(np.arange(-1, 2) * width, np.arange(-1, 2)).reshape(-1, 1)
    row, column = np.divmod(pass_positions(*shape)[pass_], max(1, shape[1]))
    positions: NDArray[np.intp] = steps + (row + 1) * width + column + 1
    return positions


def _around(padded: NDArray[np.float32], shape: tuple[int, int], pass_: CheckerboardPass) -> NDArray[np.float32]:
    """Return the first channels at and around the positions of a pass, (n, 9 * channels, positions)."""
    return _flat(padded[:, :EARLIER_CHANNELS].take(_neighbours(shape, pass_), 2))


def _four_neighbours(padded: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return a group's first channels at the four neighbours of the second pass's positions.

    The result is (n, 4 * channels, positions).
    """
    return _flat(padded[:, :OWN_CHANNELS].take(_neighbours(shape, 1)[1::2], 2))


def _flat(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reshape (n, channels, inputs, positions) to (n, channels * inputs, positions)."""
    n, channels, inputs, positions = values.shape
    return values.reshape(n, channels * inputs, positions)


def _ridge_solution(squares: NDArray[np.float64], products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return factors (inputs, channels) by ridge regression on both parts; the first selects the ridge parameter."""
    import numpy as np

    def solved(square: NDArray[np.float64], product: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
        return np.asarray(np.linalg.solve(square + ridge * np.eye(len(square)), product), np.float64)

    best, best_error = np.zeros(products.shape[1:]), 0.0
    for ridge in _RIDGE_PARAMETERS:
        factors = solved(squares[1], products[1], ridge)
        error = float((factors * (squares[0] @ factors - 2 * products[0])).sum())  # relative to zero factors
        if error < best_error:
            best, best_error = solved(squares.sum(0), products.sum(0), ridge), error
    return best


def _batches(
    samples: Sequence[NDArray[Any]], scales: Sequence[NDArray[Any]]
) -> Iterator[tuple[Literal[0, 1], NDArray[Any], NDArray[Any]]]:
    """Yield stacked samples of equal shape, (n, channels, height, width), and their weights.

    The first item is 0 for every fifth sample, 1 for the others.
    """
    import numpy as np

    symbols_left = _MAX_TRAINING_SYMBOLS
    by_shape: dict[tuple[Literal[0, 1], tuple[int, ...]], list[int]] = {}
    for i, sample in enumerate(samples):
        if symbols_left < 0:
            break
        symbols_left -= sample.size
        by_shape.setdefault((1 if i % _FOLDS else 0, sample.shape), []).append(i)
    for (part, (_, height, width)), indices in by_shape.items():
        count = max(1, _MAX_BATCH_POSITIONS // max(1, height * width))
        for first in range(0, len(indices), count):
            chosen = indices[first : first + count]
            yield part, np.stack([samples[i] for i in chosen]), 1 / np.stack([scales[i] for i in chosen])
