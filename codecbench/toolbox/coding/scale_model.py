"""Entropy coding in which what was already sent tells what the next symbols are about, and how far they may be from it.

Channels are sent in groups, and of a group first the places that are black on a chessboard, then the white ones. What
is coded of a symbol is its residual, what it is beyond its mean (`codecbench.toolbox.coding.symbol_means`), in whole
steps. The mean is in quarters of a step; how far it is from a whole step is the phase.

The first group has a table for each channel and phase. The scale of any other symbol is a sum of magnitudes of the
groups before, at its place, around it and over the whole tensor, with learned weights; the scale, rounded to a quarter
of an octave, and the phase name the table (backward adaptation of scales: Said and Pearlman 1996, section II; by groups
of channels, with means: Minnen and Singh 2020, section 3).

All of it is integers, so encoder and decoder agree on every machine. Importing this module does not import numpy.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from codecbench.toolbox.coding.coders import BitstreamReader
from codecbench.toolbox.coding.prior import FEW_SYMBOLS, Prior
from codecbench.toolbox.coding.symbol_means import COLOURS, QUARTERS, Means, places_of, spans_of

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
"""Scales that are told apart, from 2^7/WEIGHT_GRID of a step on, four an octave."""

PHASES = QUARTERS // 2 + 1
"""Means on a whole step, a quarter from it and half a step from it. Of those below it, the negative is counted."""

FINE_LEVELS = 36
"""Scales, up to four steps, at which phases are told apart; beyond, a quarter of a step is nothing."""

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
    Those of a channel's own group and of later ones are not looked at. `prior` has tables for each channel of the first
    group and then for each level, one for each of PHASES up to FINE_LEVELS and one beyond.
    """

    sizes: tuple[int, ...]
    weights: NDArray[np.int64]
    means: Means
    prior: Prior

    @classmethod
    def fitted(
        cls, weights: NDArray[np.float64], symbols: Sequence[NDArray[np.int32]], least_reach: int = 1
    ) -> ContextPrior:
        """Means and tables of training symbols, each (channels, height, width), for weights in steps.

        `weights` are (channels, 1 + 3 groups). A table is the counts at its scale and phase, with a little of the
        Laplace distribution that they stand for. It reaches one further than they do, and `least_reach` at least.
        """
        import numpy as np

        sizes = tuple(group_sizes(len(weights)))
        rounded = np.rint(weights * _units(len(sizes)) * WEIGHT_GRID).clip(-MAX_WEIGHT, MAX_WEIGHT).astype(np.int64)
        draft = cls(sizes, rounded, Means.zero(sizes), Prior([], []))
        scales = [draft._scales(sample) for sample in symbols]
        draft = cls(sizes, rounded, Means.fitted(sizes, symbols, scales), Prior([], []))
        gathered: list[list[NDArray[np.int32]]] = [[] for _ in range(_rows(sizes[0]))]
        for sample in symbols:
            rows, residuals = draft._residuals(sample)
            for row, at in _by_row(rows):
                gathered[row].append(residuals[at])
        lowest, counts = [], []
        for row, parts in enumerate(gathered):
            values = np.concatenate([np.zeros(0, np.int32), *parts])
            base, phase = _base_and_phase(row, sizes[0])
            if base < sizes[0]:
                scale = max(0.1, float(np.abs(values).mean())) if values.size else 1.0
            else:
                scale = float(_scale_of(base - sizes[0]))
            reach = max(least_reach, math.ceil(2 * scale), int(np.abs(values).max(initial=0)) + 1)
            usual = np.exp(-np.abs(np.arange(-reach, reach + 1) - phase / QUARTERS) / scale)
            counts.append(np.bincount(values + reach, minlength=2 * reach + 1) + 0.01 + _PSEUDO_COUNT * usual)
            lowest.append(-reach)
        return cls(sizes, rounded, draft.means, Prior.from_counts(lowest, counts))

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
        return self.prior.write(*self._ordered(symbols))

    def bound_bytes(self, symbols: NDArray[Any]) -> float:
        """The Shannon bound: the sum of -log2 of the symbols' probabilities, in bytes."""
        return float(self.prior.bits(*self._ordered(symbols)).sum()) / 8

    def decode(self, bitstream: bytes | memoryview, shape: tuple[int, int]) -> NDArray[np.int32]:
        """The inverse of `encode` for a height and width: (channels, height, width).

        Raises PayloadError for a bitstream that cannot be the code of so many symbols.
        """
        import numpy as np

        symbols = np.zeros((self.channels, *shape), np.int32)
        reader = BitstreamReader(bitstream, symbols.size, self._is_long(symbols.shape))
        for part in self._parts(symbols):
            places = np.empty(part.rows.size, np.int32)
            for row, at in _by_row(part.rows):
                places[at] = reader.read(self.prior.models[row], len(at))
            part.put(places + self._alphabets[0][part.rows])
        reader.finish()
        return symbols

    def to_bytes(self) -> bytes:
        """The prior as side state."""
        import numpy as np

        header = _HEADER.pack(len(self.sizes), self.channels)
        sizes = np.array(self.sizes, "<u4").tobytes()
        return header + sizes + self.weights.astype("<i4").tobytes() + self.means.to_bytes() + self.prior.to_bytes()

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
        if sum(sizes) != channels or 0 in sizes:
            raise ValueError("the state of a prior has other groups than its channels")
        means, tables = Means.from_bytes(sizes, state[end:])
        prior = Prior.from_bytes(tables)
        if len(prior) != _rows(sizes[0]):
            raise ValueError("the state of a prior has other tables than its groups")
        return cls(sizes, weights, means, prior)

    def _is_long(self, shape: Sequence[int]) -> bool:
        return math.prod(shape) > FEW_SYMBOLS

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        """First channel, and that behind the last, of each group."""
        return spans_of(self.sizes)

    def _ordered(self, symbols: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Rows of `prior` in the order of the bitstream, and where in its alphabet each symbol stands."""
        import numpy as np

        lowest, sizes = self._alphabets
        rows, residuals = self._residuals(symbols)
        places = residuals - lowest[rows]
        if (places.view(np.uint32) > sizes[rows]).any():  # as which those below nothing are great
            return self._ordered_nearby(symbols)
        # Parts follow one another, and the rows of each. So small numbers are sorted by radix.
        keys = (rows + _parts_of(self.sizes, symbols.shape[1:]) * len(lowest)).astype(np.uint16)
        order = np.argsort(keys, kind="stable")
        return rows[order], places[order]

    def _ordered_nearby(self, symbols: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """`_ordered` where some are outside their tables: part by part, since what is sent instead tells the rest."""
        import numpy as np

        lowest, sizes = self._alphabets
        sent = symbols.astype(np.int32, order="C")  # so that what is put into a flat view of it is put into it, too
        ordered = []
        for part in self._parts(sent):
            places = (part.residuals() - lowest[part.rows]).clip(0, sizes[part.rows].astype(np.int32))
            part.put(places + lowest[part.rows])
            order = np.argsort(part.rows, kind="stable")
            ordered.append((part.rows[order], places[order]))
        rows, places = zip(*ordered, strict=True)
        return np.concatenate(rows), np.concatenate(places)

    def _residuals(self, symbols: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Row and residual of each symbol: by channels, black places before white ones."""
        import numpy as np

        flat = symbols.astype(np.int32).reshape(self.channels, -1)
        at = np.concatenate(places_of(*symbols.shape[1:]))
        whole, signs, phases = _split(self.means.quarters(symbols, 0, self.channels))
        bases = self._bases(self._features(symbols), 0, self.channels)
        return self._row_of[bases[:, at], phases].reshape(-1), ((flat[:, at] - whole) * signs).reshape(-1)

    def _parts(self, symbols: NDArray[np.int32]) -> Iterator[_Part]:
        """Groups and colours in the order of the bitstream, each to be put into `symbols` before the next one."""
        flat = symbols.reshape(self.channels, -1)
        for start, end in self._spans:
            bases = self._bases(self._features(symbols, start), start, end)
            for colour, at in zip(COLOURS, places_of(*symbols.shape[1:]), strict=True):
                if len(at):
                    whole, signs, phases = _split(self.means.quarters(symbols, start, end, [colour]))
                    rows = self._row_of[bases[:, at], phases].reshape(-1)
                    yield _Part(flat, start, end, at, rows, whole, signs)

    def _bases(self, features: NDArray[np.float64], start: int, end: int) -> NDArray[np.intp]:
        """Which channel of the first group or which level each symbol of whole groups has, (channels, places)."""
        import numpy as np

        first = min(max(self.sizes[0], start), end)
        bases = np.empty((end - start, features.shape[1]), np.intp)
        bases[: first - start] = np.arange(start, first)[:, None]
        bases[first - start :] = self._levels(features, first, end)
        bases[first - start :] += self.sizes[0]
        return bases

    def _scales(self, sample: NDArray[np.int32]) -> NDArray[np.float64]:
        """The scale of each symbol in steps; of the first group, where none is known, 1."""
        import numpy as np

        scales = np.ones(sample.shape)
        first = self.sizes[0]
        if first < self.channels:
            levels = self._levels(self._features(sample), first, self.channels)
            scales[first:] = _scale_of(levels).reshape(scales[first:].shape)
        return scales

    @cached_property
    def _row_of(self) -> NDArray[np.intp]:
        """The row of `prior` for what `_bases` gives and each of PHASES."""
        import numpy as np

        rows = np.empty((self.sizes[0] + LEVELS, PHASES), np.intp)
        for row in range(_rows(self.sizes[0])):
            base, phase = _base_and_phase(row, self.sizes[0])
            rows[base, phase:] = row
        return rows

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
        """Which of LEVELS each symbol of these channels has, (channels, places). Sums are exact in float64."""
        import numpy as np

        scales = self._factors[start:end] @ features
        # The exponent and the two leading bits of a float32 are its logarithm in quarters of an octave.
        quarters = scales.clip(1, _MAX_SCALE).astype(np.float32).view(np.int32) >> 21
        levels: NDArray[np.uint8] = (quarters - ((127 + _FIRST_OCTAVE) * _STEPS)).clip(0, LEVELS - 1).astype(np.uint8)
        return levels


def _rows(first: int) -> int:
    """How many tables there are for so many channels of the first group."""
    return (first + FINE_LEVELS) * PHASES + LEVELS - FINE_LEVELS


def _base_and_phase(row: int, first: int) -> tuple[int, int]:
    """Of a row, the channel of the first group or, behind these, the level, and the phase."""
    fine = first + FINE_LEVELS
    return divmod(row, PHASES) if row < fine * PHASES else (row - fine * PHASES + fine, 0)


@lru_cache
def _parts_of(sizes: tuple[int, ...], shape: tuple[int, int]) -> NDArray[np.intp]:
    """Which group and colour each symbol belongs to, in the order of `ContextPrior._residuals`, as a number."""
    import numpy as np

    groups = len(COLOURS) * np.repeat(np.arange(len(sizes)), sizes)
    colours = np.repeat(COLOURS, [len(at) for at in places_of(*shape)])
    parts: NDArray[np.intp] = np.add.outer(groups, colours).reshape(-1)
    return parts


def _split(quarters: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Means as the nearest whole steps, the side on which they are of it (1 or -1), and how far, in quarters."""
    import numpy as np

    shifted = quarters + QUARTERS // 2
    beyond = (shifted & (QUARTERS - 1)) - QUARTERS // 2
    return shifted >> 2, np.where(beyond < 0, np.int32(-1), np.int32(1)), np.abs(beyond)


@dataclass(frozen=True, eq=False)
class _Part:
    """The symbols of a group's channels at the places of a colour, with their rows, one after the other."""

    symbols: NDArray[np.int32]
    start: int
    end: int
    at: NDArray[np.intp]
    rows: NDArray[np.intp]
    whole: NDArray[np.int32]
    signs: NDArray[np.int32]

    def residuals(self) -> NDArray[np.int32]:
        """What the symbols are beyond their means, counted in the direction in which those are beyond a whole step."""
        residuals: NDArray[np.int32] = (self.symbols[self.start : self.end, self.at] - self.whole) * self.signs
        return residuals.reshape(-1)

    def put(self, residuals: NDArray[np.int32]) -> None:
        """The inverse of `residuals`."""
        found = residuals.reshape(self.whole.shape) * self.signs + self.whole
        self.symbols[self.start : self.end, self.at] = found


def _scale_of(level: Any) -> Any:
    """The middle of a level, or of many, in steps."""
    return 2.0 ** (_FIRST_OCTAVE + (level + 0.5) / _STEPS) / WEIGHT_GRID


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


def _by_row(rows: NDArray[np.intp]) -> list[tuple[int, NDArray[np.intp]]]:
    """Each row that occurs, ascending, and where it does."""
    import numpy as np

    order = np.argsort(rows, kind="stable")
    counts = np.bincount(rows)
    found = np.flatnonzero(counts)
    return [(int(row), at) for row, at in zip(found, np.split(order, np.cumsum(counts[found])[:-1]), strict=True)]
