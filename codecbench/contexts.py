"""Entropy coding in which what was already sent tells how large the next symbols are.

Channels are sent in groups. Those of the first have tables of their own. The scale of any other symbol is a sum of
magnitudes of the groups before, at its place, around it and over the whole tensor, with learned weights; the scale,
rounded to a quarter of an octave, names the table (backward adaptation of scales: Said and Pearlman 1996, section II;
by groups of channels: Minnen and Singh 2020, section 3). All of it is integers, so encoder and decoder agree on every
machine. Importing this module does not import numpy.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from codecbench.entropy import FEW_SYMBOLS, PRECISION_BITS, BitstreamReader, Prior, write_runs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_MAGNITUDE = 15
"""Magnitudes count up to this in sums, so that one outlier does not speak for all."""

WEIGHT_GRID = 1 << 14
"""Weights, and so scales, are multiples of a 2^14th of a step."""

AREA, MEAN_GRID = 9, 16
"""The sum around a place is over 3 x 3 places; the mean over all places is in 16ths."""

MAX_WEIGHT = 1 << 20
_MAX_SCALE = (1 << 24) - 1
_FIRST_OCTAVE, _OCTAVES, _STEPS = 7, 17, 4
LEVELS = _OCTAVES * _STEPS
"""Tables by scale, from 2^7/WEIGHT_GRID of a step on, four an octave."""

_PSEUDO_COUNT = 2.0
_HEADER = struct.Struct("<II")


def group_sizes(channels: int) -> list[int]:
    """How many channels each group has: 3, 5, 8, 16, 32, ... as far as they reach."""
    sizes = [3, 5, 8]
    while sum(sizes) < channels:
        sizes.append(sizes[-1] * 2)
    while sum(sizes) > channels:
        last = sizes.pop()
        if sum(sizes) < channels:
            sizes.append(min(last, channels - sum(sizes)))
    return sizes


@dataclass(frozen=True, eq=False)
class ContextPrior:
    """Tables for symbols (channels, height, width), chosen by the symbols that are sent before.

    `weights` (channels, 1 + 3 groups) are integers of WEIGHT_GRID: a constant, and factors of the sums of magnitudes
    of each group at the place, around it (of the sum of AREA places) and of the whole (of MEAN_GRID times the mean).
    Those of a channel's own group and of later ones are not looked at. `prior` has a table for each channel of the
    first group and then one for each of LEVELS.
    """

    sizes: tuple[int, ...]
    weights: NDArray[np.int64]
    prior: Prior

    @classmethod
    def fitted(cls, weights: NDArray[np.float64], symbols: Sequence[NDArray[np.int32]]) -> ContextPrior:
        """Tables of training symbols, each (channels, height, width), for weights (channels, 1 + 3 groups) in steps.

        A table is the counts at its scale, with a little of the Laplace distribution of that scale.
        """
        import numpy as np

        channels = len(weights)
        sizes = tuple(group_sizes(channels))
        rounded = np.rint(weights * _units(len(sizes)) * WEIGHT_GRID).clip(-MAX_WEIGHT, MAX_WEIGHT).astype(np.int64)
        first = sizes[0]
        rows = [np.concatenate([sample[channel].reshape(-1) for sample in symbols]) for channel in range(first)]
        lowest = [int(row.min()) - 1 for row in rows]
        counts = [
            np.bincount(row - low, minlength=int(row.max()) - low + 2) + 0.25
            for row, low in zip(rows, lowest, strict=True)
        ]
        draft = cls(sizes, rounded, Prior(lowest, []) if not lowest else Prior.from_counts(lowest, counts))
        gathered: list[list[NDArray[np.int32]]] = [[] for _ in range(LEVELS)]
        for sample in symbols:
            features = draft._features(sample)
            for start, end in draft._spans[1:]:
                levels = draft._levels(features, start, end)
                flat = sample[start:end].reshape(levels.shape)
                for level in np.unique(levels):
                    gathered[level].append(flat[levels == level])
        for level, parts in enumerate(gathered):
            values = np.concatenate([np.zeros(0, np.int32), *parts])
            scale = 2.0 ** (_FIRST_OCTAVE + (level + 0.5) / _STEPS) / WEIGHT_GRID
            reach = max(1, math.ceil(2 * scale), int(np.abs(values).max(initial=0)) + 1)
            usual = np.exp(-np.abs(np.arange(-reach, reach + 1)) / scale)
            counts.append(np.bincount(values + reach, minlength=2 * reach + 1) + 0.01 + _PSEUDO_COUNT * usual)
            lowest.append(-reach)
        return cls(sizes, rounded, Prior.from_counts(lowest, counts))

    @property
    def channels(self) -> int:
        """Channels of the symbols."""
        return len(self.weights)

    def floating_weights(self) -> NDArray[np.float64]:
        """The weights in steps, as `fitted` takes them."""
        weights: NDArray[np.float64] = self.weights / (_units(len(self.sizes)) * WEIGHT_GRID)
        return weights

    def encode(self, symbols: NDArray[Any]) -> bytes:
        """Symbols (channels, height, width) to a bitstream that ends where the payload does.

        What is outside its table is sent as the nearest symbol that is inside; that only happens to tensors beyond
        those of the training.
        """
        return write_runs(self._runs(symbols), self._is_long(symbols.shape))

    def bound_bytes(self, symbols: NDArray[Any]) -> float:
        """The Shannon bound: the sum of -log2 of the symbols' probabilities, in bytes."""
        import numpy as np

        costs = [PRECISION_BITS - np.log2(table) for table in self.prior.tables]
        return sum(float(costs[row][places].sum()) for row, places in self._placed(symbols)) / 8

    def decode(self, bitstream: bytes | memoryview, shape: tuple[int, int]) -> NDArray[np.int32]:
        """The inverse of `encode` for a height and width: (channels, height, width).

        Raises PayloadError for a bitstream that cannot be the code of so many symbols.
        """
        import numpy as np

        symbols = np.zeros((self.channels, *shape), np.int32)
        reader = BitstreamReader(bitstream, symbols.size, self._is_long(symbols.shape))
        least = self.prior.lowest
        first = self.sizes[0]
        places = math.prod(shape)
        for channel in range(first):
            symbols[channel] = (self._read(reader, channel, places) + least[channel]).reshape(shape)
        for start, end in self._spans[1:]:
            levels = self._levels(self._features(symbols, start), start, end)
            flat = np.empty(levels.size, np.int32)
            for row, at in _by_level(levels):
                flat[at] = self._read(reader, first + row, len(at)) + least[first + row]
            symbols[start:end] = flat.reshape(end - start, *shape)
        reader.finish()
        return symbols

    def to_bytes(self) -> bytes:
        """The prior as side state."""
        import numpy as np

        header = _HEADER.pack(len(self.sizes), self.channels)
        sizes = np.array(self.sizes, "<u4").tobytes()
        return header + sizes + self.weights.astype("<i4").tobytes() + self.prior.to_bytes()

    @classmethod
    def from_bytes(cls, state: bytes) -> ContextPrior:
        """The inverse of `to_bytes`. Raises ValueError for anything else."""
        import numpy as np

        if len(state) < _HEADER.size:
            raise ValueError("the state of a prior is cut short")
        groups, channels = _HEADER.unpack_from(state)
        offset = _HEADER.size + 4 * groups
        end = offset + 4 * channels * (1 + 3 * groups)
        if not 1 <= groups <= 32 or end > len(state):
            raise ValueError("the state of a prior is cut short")
        sizes = tuple(np.frombuffer(state[_HEADER.size : offset], "<u4").tolist())
        weights = np.frombuffer(state[offset:end], "<i4").astype(np.int64).reshape(channels, -1)
        prior = Prior.from_bytes(state[end:])
        if sum(sizes) != channels or len(prior) != sizes[0] + LEVELS:
            raise ValueError("the state of a prior has other groups than its channels")
        return cls(sizes, weights, prior)

    def _is_long(self, shape: Sequence[int]) -> bool:
        return math.prod(shape) > FEW_SYMBOLS

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        """First channel, and that behind the last, of each group."""
        ends = [sum(self.sizes[: i + 1]) for i in range(len(self.sizes))]
        return list(zip([0, *ends[:-1]], ends, strict=True))

    def _runs(self, symbols: NDArray[Any]) -> list[tuple[NDArray[np.int32], Any]]:
        models = self.prior.models
        return [(places, models[row]) for row, places in self._placed(symbols) if models[row] is not None]

    def _placed(self, symbols: NDArray[Any]) -> Iterator[tuple[int, NDArray[np.int32]]]:
        """Rows of `prior` in the order of the bitstream, and where in its alphabet each symbol stands."""
        import numpy as np

        first, (lowest, sizes) = self.sizes[0], self._alphabets
        flat = symbols.astype(np.int32).reshape(self.channels, -1)
        rows = np.empty(flat.shape, np.intp)
        rows[:first] = np.arange(first)[:, None]
        levels = self._levels(self._features(symbols), first, self.channels).reshape(-1, flat.shape[1])
        rows[first:] = levels
        rows[first:] += first
        places = flat - lowest[rows]
        if (places.view(np.uint32) > sizes[rows]).any():  # as which those below nothing are great
            yield from self._placed_nearby(symbols)
            return
        # One sort for all groups: a group's rows are told from those of others.
        keys = (rows + self._group_keys).reshape(-1).astype(np.uint16)  # which are sorted by radix
        ordered = places.reshape(-1)[np.argsort(keys, kind="stable")]
        counts = np.bincount(keys)
        found = np.flatnonzero(counts)
        ends = np.cumsum(counts[found]).tolist()
        for key, start, end in zip(found.tolist(), [0, *ends[:-1]], ends, strict=True):
            yield key if key < first else first + (key - first) % LEVELS, ordered[start:end]

    def _placed_nearby(self, symbols: NDArray[Any]) -> Iterator[tuple[int, NDArray[np.int32]]]:
        """`_placed` where symbols are outside their tables: group by group, since what is sent instead tells scales."""
        import numpy as np

        sent = symbols.astype(np.int32, order="C")  # so that what is clipped in a flat view is clipped in it, too
        lowest, sizes = self._alphabets[0], self._alphabets[1].astype(np.int32)
        first = self.sizes[0]
        flat = sent.reshape(self.channels, -1)
        for row in range(first):
            places = (flat[row] - lowest[row]).clip(0, sizes[row])
            flat[row] = places + lowest[row]
            yield row, places
        for start, end in self._spans[1:]:
            levels = self._levels(self._features(sent, start), start, end)
            here = flat[start:end].reshape(-1)
            low = lowest[first:][levels]
            places = (here - low).clip(0, sizes[first:][levels])
            flat[start:end] = (places + low).reshape(end - start, -1)
            for row, at in _by_level(levels):
                yield first + row, places[at]

    @cached_property
    def _group_keys(self) -> NDArray[np.intp]:
        """What is added to the rows of each channel, (channels, 1), so that those of different groups differ."""
        import numpy as np

        groups = np.repeat(np.arange(len(self.sizes)), self.sizes)
        return (np.maximum(groups - 1, 0) * LEVELS)[:, None]

    @cached_property
    def _alphabets(self) -> tuple[NDArray[np.int32], NDArray[np.uint32]]:
        """Least symbol of each row, and how far its greatest lies above it."""
        import numpy as np

        sizes = [len(table) - 1 for table in self.prior.tables]
        return np.array(self.prior.lowest, np.int32), np.array(sizes, np.uint32)

    @cached_property
    def _factors(self) -> NDArray[np.float64]:
        """The weights, zero for the channel's own group and later ones."""
        import numpy as np

        groups = len(self.sizes)
        own = np.repeat(np.arange(groups), self.sizes)
        known = np.arange(groups) < own[:, None]
        return np.where(np.concatenate([np.ones((self.channels, 1), bool), known, known, known], 1), self.weights, 0.0)

    def _features(self, symbols: NDArray[Any], channels: int | None = None) -> NDArray[np.float64]:
        """Sums of magnitudes of the groups before `channels`: (1 + 3 groups, places), zero for later groups."""
        import numpy as np

        groups = len(self.sizes)
        _, height, width = symbols.shape
        spans = [span for span in self._spans[:-1] if channels is None or span[1] <= channels]
        features = np.zeros((1 + 3 * groups, height * width))
        features[0] = 1
        ends = [span[0] for span in spans]
        size = spans[-1][1] if spans else 0
        if not size or not height * width:
            return features
        magnitudes = np.minimum(np.abs(symbols[:size]), MAX_MAGNITUDE).reshape(size, -1)
        sums = np.add.reduceat(magnitudes, ends, axis=0)
        count = len(spans)
        features[1 : 1 + count] = sums
        features[1 + groups : 1 + groups + count] = _around(sums.reshape(count, height, width)).reshape(count, -1)
        features[1 + 2 * groups : 1 + 2 * groups + count] = (sums.sum(axis=1) * MEAN_GRID // (height * width))[:, None]
        return features

    def _levels(self, features: NDArray[np.float64], start: int, end: int) -> NDArray[np.uint8]:
        """Which of LEVELS each symbol of these channels has, (channels * places,). Sums are exact in float64."""
        import numpy as np

        scales = self._factors[start:end] @ features
        # The exponent and the two leading bits of a float32 are its logarithm in quarters of an octave.
        quarters = scales.clip(1, _MAX_SCALE).astype(np.float32).view(np.int32) >> 21
        levels: NDArray[np.uint8] = (quarters - ((127 + _FIRST_OCTAVE) * _STEPS)).clip(0, LEVELS - 1).astype(np.uint8)
        return levels.reshape(-1)

    def _read(self, reader: BitstreamReader, row: int, count: int) -> NDArray[np.int32]:
        return reader.read(self.prior.models[row], count)


def _units(groups: int) -> NDArray[np.float64]:
    """What turns factors of means into factors of the sums that features are."""
    import numpy as np

    return np.array([1.0, *([1.0] * groups), *([1 / AREA] * groups), *([1 / MEAN_GRID] * groups)])


def _around(sums: NDArray[Any]) -> NDArray[Any]:
    """Sums over 3 x 3 places, (groups, height, width); beyond the rim lies the rim again."""
    _, height, width = sums.shape
    padded = sums.take(_rimmed(height), 1).take(_rimmed(width), 2)
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    total: NDArray[Any] = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return total


@lru_cache
def _rimmed(side: int) -> NDArray[np.intp]:
    """Places along an axis, with the first and the last of them once more."""
    import numpy as np

    return np.arange(-1, side + 1).clip(0, side - 1)


def _by_level(levels: NDArray[np.uint8]) -> list[tuple[int, NDArray[Any]]]:
    """Each level that occurs, and where it does, ascending."""
    import numpy as np

    order = np.argsort(levels, kind="stable")
    counts = np.bincount(levels, minlength=LEVELS)
    found = np.flatnonzero(counts)
    return [(int(level), at) for level, at in zip(found, np.split(order, np.cumsum(counts[found])[:-1]), strict=True)]
