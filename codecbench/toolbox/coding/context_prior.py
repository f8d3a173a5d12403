"""Entropy coding with a context model: symbols sent earlier predict the mean and the scale of later ones.

Channels are sent in groups, and each group in two checkerboard passes. A symbol is coded as its residual: its
difference from its predicted mean (`codecbench.toolbox.coding.symbol_means`), in whole steps. The mean is a multiple of
a quarter of a step; the distance of the mean from the nearest whole step is the phase.

The first group has a table for each channel and phase. Every other symbol has a scale
(`codecbench.toolbox.coding.scale_model`), whose level selects the table together with the phase (with means: Minnen and
Singh 2020, section 3).

All arithmetic is exact in integers, so encoder and decoder agree on every machine. Importing this module does not
import numpy.
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
from codecbench.toolbox.coding.scale_model import LEVELS, ScaleModel, scale_of
from codecbench.toolbox.coding.symbol_means import CHECKERBOARD_PASSES, QUARTERS, MeanPredictor, pass_positions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PHASES = QUARTERS // 2 + 1
"""A mean is on a whole step, a quarter of a step from it, or half a step from it. For a mean below its nearest whole
step, the sign of the residual is flipped."""

FINE_LEVELS = 36
"""Levels with a table for each phase: scales up to four steps. At larger scales a quarter of a step does not matter."""

_PSEUDO_COUNT = 2.0
_HEADER = struct.Struct("<II")


@dataclass(frozen=True, eq=False)
class ContextPrior:
    """Tables for symbols (channels, height, width), selected by the symbols sent earlier.

    `prior` has tables for each channel of the first group, then for each level: one for each phase below FINE_LEVELS,
    and one for each level from there on.
    """

    scales: ScaleModel
    means: MeanPredictor
    prior: Prior

    @classmethod
    def fitted(
        cls, weights: NDArray[np.float64], symbols: Sequence[NDArray[np.int32]], min_reach: int = 1
    ) -> ContextPrior:
        """Fit means and tables to training symbols, each (channels, height, width).

        `weights` are those of the scales, in steps, (channels, 1 + 3 groups). A table is the histogram of the residuals
        with its level and phase, plus a small part of the Laplace distribution of that scale. It reaches at least
        `min_reach`, and one step beyond the residuals.
        """
        scales = ScaleModel.from_floating(weights)
        means = MeanPredictor.fitted(scales.sizes, symbols, [scales.scales(sample) for sample in symbols])
        draft = cls(scales, means, Prior([], []))
        first = scales.sizes[0]
        tables = [_table(values, row, first, min_reach) for row, values in enumerate(draft._residuals_by_row(symbols))]
        return cls(scales, means, Prior.from_counts([lowest for lowest, _ in tables], [counts for _, counts in tables]))

    @property
    def channels(self) -> int:
        """Channels of the symbols."""
        return self.scales.channels

    def floating_weights(self) -> NDArray[np.float64]:
        """Return the scales' weights in steps, as `fitted` takes them."""
        return self.scales.floating_weights()

    def encode(self, symbols: NDArray[Any]) -> bytes:
        """Return the bitstream of symbols (channels, height, width).

        It has no end marker: it ends where the payload ends.

        A symbol outside its table is replaced by the nearest symbol inside. This happens only for tensors beyond the
        range of the training tensors.
        """
        return self.prior.write(*self._ordered(symbols))

    def bound_bytes(self, symbols: NDArray[Any]) -> float:
        """Return the Shannon bound: the sum of -log2 of the symbols' probabilities, in bytes."""
        return float(self.prior.bits(*self._ordered(symbols)).sum()) / 8

    def decode(self, bitstream: bytes | memoryview, shape: tuple[int, int]) -> NDArray[np.int32]:
        """Return the symbols (channels, height, width) for a height and width; the inverse of `encode`.

        Raises PayloadError for a bitstream that cannot encode that number of symbols.
        """
        import numpy as np

        symbols = np.zeros((self.channels, *shape), np.int32)
        reader = BitstreamReader(bitstream, symbols.size, self._is_long(symbols.shape))
        for part in self._parts(symbols):
            indices = np.empty(part.rows.size, np.int32)
            for row, at in _by_row(part.rows):
                indices[at] = reader.read(self.prior.models[row], len(at))
            part.put(indices + self._alphabets[0][part.rows])
        reader.finish()
        return symbols

    def to_bytes(self) -> bytes:
        """Return the prior as side state."""
        import numpy as np

        header = _HEADER.pack(len(self.scales.sizes), self.channels)
        sizes, weights = np.array(self.scales.sizes, "<u4"), self.scales.weights.astype("<i4")
        return header + sizes.tobytes() + weights.tobytes() + self.means.to_bytes() + self.prior.to_bytes()

    @classmethod
    def from_bytes(cls, state: bytes) -> ContextPrior:
        """Return the prior of a side state; the inverse of `to_bytes`. Raises ValueError for an invalid state."""
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
        means, tables = MeanPredictor.from_bytes(sizes, state[end:])
        prior = Prior.from_bytes(tables)
        if len(prior) != _rows(sizes[0]):
            raise ValueError("the state of a prior has other tables than its groups")
        return cls(ScaleModel(sizes, weights), means, prior)

    def _is_long(self, shape: Sequence[int]) -> bool:
        return math.prod(shape) > FEW_SYMBOLS

    def _ordered(self, symbols: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Return the rows of `prior` in bitstream order, and the index of each symbol in its row's alphabet."""
        import numpy as np

        lowest, sizes = self._alphabets
        rows, residuals = self._residuals(symbols)
        indices = residuals - lowest[rows]
        if (indices.view(np.uint32) > sizes[rows]).any():  # unsigned, negative indices are large as well
            return self._ordered_nearby(symbols)
        # The order is by part, then by row. numpy sorts 16-bit keys by radix, which is fast.
        keys = (rows + _parts_of(self.scales.sizes, symbols.shape[1:]) * len(lowest)).astype(np.uint16)
        order = np.argsort(keys, kind="stable")
        return rows[order], indices[order]

    def _ordered_nearby(self, symbols: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Return `_ordered` for symbols of which some are outside their tables.

        It goes part by part, because the replaced symbols are the context of later parts.
        """
        import numpy as np

        lowest, sizes = self._alphabets
        sent = symbols.astype(np.int32, order="C")  # contiguous, so that its flat view shares its memory
        ordered = []
        for part in self._parts(sent):
            indices = (part.residuals() - lowest[part.rows]).clip(0, sizes[part.rows].astype(np.int32))
            part.put(indices + lowest[part.rows])
            order = np.argsort(part.rows, kind="stable")
            ordered.append((part.rows[order], indices[order]))
        rows, indices = zip(*ordered, strict=True)
        return np.concatenate(rows), np.concatenate(indices)

    def _residuals(self, symbols: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Return the row and the residual of each symbol, channel by channel, the first pass before the second."""
        import numpy as np

        flat = symbols.astype(np.int32).reshape(self.channels, -1)
        at = np.concatenate(pass_positions(*symbols.shape[1:]))
        steps, signs, phases = _split(self.means.quarters(symbols, 0, self.channels))
        bases = self._bases(self.scales.features(symbols), 0, self.channels)
        return self._row_of[bases[:, at], phases].reshape(-1), ((flat[:, at] - steps) * signs).reshape(-1)

    def _residuals_by_row(self, symbols: Sequence[NDArray[np.int32]]) -> Iterator[NDArray[np.int32]]:
        """Yield the residuals of all samples' symbols under each table, row by row."""
        import numpy as np

        gathered: list[list[NDArray[np.int32]]] = [[] for _ in range(_rows(self.scales.sizes[0]))]
        for sample in symbols:
            rows, residuals = self._residuals(sample)
            for row, at in _by_row(rows):
                gathered[row].append(residuals[at])
        for parts in gathered:
            yield np.concatenate([np.zeros(0, np.int32), *parts])

    def _parts(self, symbols: NDArray[np.int32]) -> Iterator[_Part]:
        """Yield each group and pass in bitstream order.

        The caller stores its symbols in `symbols` before it asks for the next.
        """
        flat = symbols.reshape(self.channels, -1)
        for start, end in self.scales.spans:
            bases = self._bases(self.scales.features(symbols, start), start, end)
            for pass_, at in zip(CHECKERBOARD_PASSES, pass_positions(*symbols.shape[1:]), strict=True):
                if len(at):
                    steps, signs, phases = _split(self.means.quarters(symbols, start, end, [pass_]))
                    rows = self._row_of[bases[:, at], phases].reshape(-1)
                    yield _Part(flat, start, end, at, rows, steps, signs)

    def _bases(self, features: NDArray[np.float64], start: int, end: int) -> NDArray[np.intp]:
        """Return each symbol's channel (first group) or level (others) for whole groups, (channels, positions)."""
        import numpy as np

        first = min(max(self.scales.sizes[0], start), end)
        bases = np.empty((end - start, features.shape[1]), np.intp)
        bases[: first - start] = np.arange(start, first)[:, None]
        bases[first - start :] = self.scales.levels(features, first, end)
        bases[first - start :] += self.scales.sizes[0]
        return bases

    @cached_property
    def _row_of(self) -> NDArray[np.intp]:
        """The row of `prior` for each value of `_bases` and each phase."""
        import numpy as np

        first = self.scales.sizes[0]
        rows = np.empty((first + LEVELS, PHASES), np.intp)
        for row in range(_rows(first)):
            base, phase = _base_and_phase(row, first)
            rows[base, phase:] = row
        return rows

    @cached_property
    def _alphabets(self) -> tuple[NDArray[np.int32], NDArray[np.uint32]]:
        """The lowest symbol of each row, and the difference between its highest and its lowest."""
        import numpy as np

        sizes = [len(table) - 1 for table in self.prior.tables]
        return np.array(self.prior.lowest, np.int32), np.array(sizes, np.uint32)


def _rows(first: int) -> int:
    """Return the number of tables, for `first` channels in the first group."""
    return (first + FINE_LEVELS) * PHASES + LEVELS - FINE_LEVELS


def _base_and_phase(row: int, first: int) -> tuple[int, int]:
    """Return the base of a row (see `ContextPrior._bases`) and its phase."""
    fine = first + FINE_LEVELS
    return divmod(row, PHASES) if row < fine * PHASES else (row - fine * PHASES + fine, 0)


@lru_cache
def _parts_of(sizes: tuple[int, ...], shape: tuple[int, int]) -> NDArray[np.intp]:
    """Return the number of the part (group and pass) of each symbol, in the order of `ContextPrior._residuals`."""
    import numpy as np

    groups = len(CHECKERBOARD_PASSES) * np.repeat(np.arange(len(sizes)), sizes)
    passes = np.repeat(CHECKERBOARD_PASSES, [len(at) for at in pass_positions(*shape)])
    parts: NDArray[np.intp] = np.add.outer(groups, passes).reshape(-1)
    return parts


def _split(quarters: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return means as nearest whole steps, and their offsets from these: sign (1 or -1) and quarters of a step."""
    import numpy as np

    shifted = quarters + QUARTERS // 2
    beyond = (shifted & (QUARTERS - 1)) - QUARTERS // 2
    return shifted >> 2, np.where(beyond < 0, np.int32(-1), np.int32(1)), np.abs(beyond)


@dataclass(frozen=True, eq=False)
class _Part:
    """The symbols of a group's channels in one pass, with their rows, flattened."""

    symbols: NDArray[np.int32]
    start: int
    end: int
    at: NDArray[np.intp]
    rows: NDArray[np.intp]
    steps: NDArray[np.int32]
    signs: NDArray[np.int32]

    def residuals(self) -> NDArray[np.int32]:
        """Return the differences from the means in whole steps, times the sign of a mean's offset."""
        residuals: NDArray[np.int32] = (self.symbols[self.start : self.end, self.at] - self.steps) * self.signs
        return residuals.reshape(-1)

    def put(self, residuals: NDArray[np.int32]) -> None:
        """Store the symbols of these residuals; the inverse of `residuals`."""
        values = residuals.reshape(self.steps.shape) * self.signs + self.steps
        self.symbols[self.start : self.end, self.at] = values


def _table(values: NDArray[np.int32], row: int, first: int, min_reach: int) -> tuple[int, NDArray[np.float64]]:
    """Return the lowest symbol and the counts of a row's table, from its training residuals."""
    import numpy as np

    base, phase = _base_and_phase(row, first)
    if base < first:
        scale = max(0.1, float(np.abs(values).mean())) if values.size else 1.0
    else:
        scale = float(scale_of(base - first))
    reach = max(min_reach, math.ceil(2 * scale), int(np.abs(values).max(initial=0)) + 1)
    usual = np.exp(-np.abs(np.arange(-reach, reach + 1) - phase / QUARTERS) / scale)
    return -reach, np.bincount(values + reach, minlength=2 * reach + 1) + 0.01 + _PSEUDO_COUNT * usual


def _by_row(rows: NDArray[np.intp]) -> list[tuple[int, NDArray[np.intp]]]:
    """Return each row that occurs, ascending, with the positions where it occurs."""
    import numpy as np

    order = np.argsort(rows, kind="stable")
    counts = np.bincount(rows)
    found = np.flatnonzero(counts)
    return [(int(row), at) for row, at in zip(found, np.split(order, np.cumsum(counts[found])[:-1]), strict=True)]
