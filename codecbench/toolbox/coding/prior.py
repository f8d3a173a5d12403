"""Entropy coding with probability tables that both sides hold: integer priors, coded by constriction.

A `Prior` is learned from training symbols and is part of the side state, where its size is counted. Its tables are
integers, so encoder and decoder agree on every machine. Importing this module imports neither numpy nor constriction.

The number of symbols, which both sides know, selects the coder. Few symbols use a range coder: its last word can be cut
to the one or two bytes that identify its final interval, while an ANS coder's final state takes three bytes more than
it carries information. Many symbols use the ANS coder: the range coder rounds a range of 2^32 to 2^64 down to a
multiple of 2^24 and so loses about 2.5e-4 bits a symbol, which is negligible for a short message but over 1 % of a long
row of nearly certain symbols.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from codecbench.toolbox.coding.coders import (
    CODER_PRECISION_BITS,
    CODER_UNITS,
    PRECISION_BITS,
    BitstreamReader,
    write_runs,
)
from codecbench.toolbox.coding.headers import read_varint, write_varint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


MAX_ALPHABET = 1 << 16
MAX_SYMBOL = 1 << 30
"""Symbols are from -MAX_SYMBOL to MAX_SYMBOL."""

FEW_SYMBOLS = 1 << 16
"""Up to this number of symbols, over all rows, the range coder writes them; beyond it, the ANS coder."""

_MAX_ROWS = 1 << 20
_MAX_STATE_BYTES = 1 << 28


class Prior:
    """The probabilities of integer symbols: one table a row, for all symbols of that row.

    A row is a channel, a coefficient, or anything else with its own distribution. A row's alphabet is the consecutive
    integers from its lowest to its highest symbol; the encoder must clip values outside it. A row with a single symbol
    in its alphabet takes no bits.
    """

    def __init__(self, lowest: Sequence[int], tables: Sequence[NDArray[np.int64]]) -> None:
        for table in tables:
            if not 1 <= len(table) <= MAX_ALPHABET or int(table.min()) < 1 or int(table.sum()) != 1 << PRECISION_BITS:
                raise ValueError(f"a table is up to {MAX_ALPHABET} positive integers that sum to 2^{PRECISION_BITS}")
        if len(lowest) != len(tables):
            raise ValueError(f"{len(lowest)} lowest symbols for {len(tables)} tables")
        if any(not -MAX_SYMBOL <= low <= MAX_SYMBOL - len(table) for low, table in zip(lowest, tables, strict=True)):
            raise ValueError(f"an alphabet goes beyond {MAX_SYMBOL}")
        self.lowest = [int(low) for low in lowest]
        self.tables = list(tables)

    @classmethod
    def from_counts(cls, lowest: Sequence[int], counts: Sequence[NDArray[Any]]) -> Prior:
        """Return a prior with probabilities in proportion to these counts, none of them zero.

        `counts[i][j]` is the count (or any weight of at least 0) of the symbol `lowest[i] + j` in row i. Raises
        ValueError for counts that are negative or not finite, and for an alphabet over MAX_ALPHABET.
        """
        return cls(lowest, [_to_table(count) for count in counts])

    @classmethod
    def fitted(cls, symbols: NDArray[Any], margin: int = 1, pseudo_count: float = 0.25) -> Prior:
        """Return the prior of training symbols (rows, n): counts, plus `pseudo_count` for each symbol of the alphabet.

        The alphabet extends `margin` beyond the training symbols on either side, except in a constant row. Raises
        ValueError without symbols, or if a row's alphabet is over MAX_ALPHABET.
        """
        import numpy as np

        if not symbols.shape[1]:
            raise ValueError("a prior is fitted to at least one symbol a row")
        lowest, counts = [], []
        for row in symbols.astype(np.int64):
            low, high = int(row.min()), int(row.max())
            spare = margin if low < high else 0
            lowest.append(low - spare)
            size = high - low + 1 + 2 * spare
            if size > MAX_ALPHABET:
                raise ValueError(f"an alphabet of {size} symbols is over {MAX_ALPHABET}; quantise more coarsely")
            counts.append(np.bincount(row - lowest[-1], minlength=size) + pseudo_count)
        return cls.from_counts(lowest, counts)

    def __len__(self) -> int:
        return len(self.tables)

    @cached_property
    def min_symbols(self) -> NDArray[np.int64]:
        """The lowest symbol of each row, (rows, 1), for clipping."""
        import numpy as np

        return np.array(self.lowest, np.int64).reshape(-1, 1)

    @cached_property
    def max_symbols(self) -> NDArray[np.int64]:
        """The highest symbol of each row, (rows, 1), for clipping."""
        import numpy as np

        return self.min_symbols + np.array([len(table) - 1 for table in self.tables], np.int64).reshape(-1, 1)

    def clip(self, symbols: NDArray[Any]) -> NDArray[np.int32]:
        """Return the nearest symbols, (rows, n), that the prior can code. Values may be integers in floating point.

        Raises ValueError for a NaN; infinite values become the highest or lowest symbol.
        """
        import numpy as np

        if np.isnan(symbols).any():
            raise ValueError("a symbol is not a number")
        clipped: NDArray[np.int32] = symbols.clip(self.min_symbols, self.max_symbols).astype(np.int32)
        return clipped

    def bound_bytes(self, symbols: NDArray[Any]) -> float:
        """Return the Shannon bound of symbols (rows, n) in bytes: the sum of -log2 of their probabilities.

        Raises ValueError for a symbol outside its row's alphabet.
        """
        indices = self._indices(symbols)
        return sum(float(cost[row].sum()) for cost, row in zip(self._costs, indices, strict=True)) / 8

    def encode(self, symbols: NDArray[Any]) -> bytes:
        """Return the bitstream of symbols (rows, n). It has no end marker: it ends where the payload ends.

        It is at most 1 % and 4 bytes over `bound_bytes`, and up to FEW_SYMBOLS usually within one byte. Raises
        ValueError for a symbol outside its row's alphabet.
        """
        indices = self._indices(symbols)
        coded = [(row, model) for row, model in zip(indices, self.models, strict=True) if model is not None]
        return write_runs(coded if indices.size else [], indices.size > FEW_SYMBOLS)

    def decode(self, bitstream: bytes | memoryview, count: int) -> NDArray[np.int32]:
        """Return `count` symbols a row, (rows, count); the inverse of `encode`.

        Raises PayloadError for a bitstream that cannot encode that number of symbols. An altered bitstream may instead
        decode to other symbols of the alphabet.
        """
        import numpy as np

        reader = BitstreamReader(bitstream, self._coded_rows * count, len(self) * count > FEW_SYMBOLS)
        indices = np.zeros((len(self), count), np.int32)
        for row, model in zip(indices, self.models, strict=True):
            row[:] = reader.read(model, count)
        reader.finish()
        indices += self.min_symbols.astype(np.int32)
        return indices

    def to_bytes(self) -> bytes:
        """Return the prior as side state."""
        import numpy as np

        numbers = bytearray(write_varint(len(self)))
        for low, table in zip(self.lowest, self.tables, strict=True):
            numbers += write_varint(_zigzag(low)) + write_varint(len(table))
        tables = np.concatenate([np.zeros(0, np.int64), *self.tables]).astype("<u4")
        # All first bytes, then all second ones, and so on, deflate better than whole numbers.
        return zlib.compress(bytes(numbers) + tables.view(np.uint8).reshape(-1, 4).T.tobytes(), 9)

    @classmethod
    def from_bytes(cls, state: bytes) -> Prior:
        """Return the prior of a side state; the inverse of `to_bytes`.

        Raises PayloadError or ValueError for an invalid state.
        """
        import numpy as np

        numbers = _inflate(state)
        rows, offset = read_varint(numbers)
        if rows > _MAX_ROWS:
            raise ValueError(f"a prior of {rows} rows")
        lowest, lengths = [], []
        for _ in range(rows):
            folded, offset = read_varint(numbers, offset)
            length, offset = read_varint(numbers, offset)
            lowest.append((folded >> 1) ^ -(folded & 1))
            lengths.append(length)
        if len(numbers) - offset != 4 * sum(lengths):
            raise ValueError("the tables of a prior are cut short, or go on behind their end")
        planes = np.frombuffer(numbers, np.uint8, offset=offset).reshape(4, -1)
        tables = np.ascontiguousarray(planes.T).view("<u4").reshape(-1).astype(np.int64)
        return cls(lowest, np.split(tables, np.cumsum(lengths)[:-1]) if rows else [])

    def _indices(self, symbols: NDArray[Any]) -> NDArray[np.int32]:
        """Return the index of each symbol in its row's alphabet."""
        import numpy as np

        if symbols.ndim != 2 or len(symbols) != len(self):
            raise ValueError(f"symbols of shape {symbols.shape} for a prior of {len(self)} rows")
        if not (bool((symbols >= self.min_symbols).all()) and bool((symbols <= self.max_symbols).all())):
            raise ValueError("a symbol is outside its row's alphabet; clip it first")
        indices: NDArray[np.int32] = (symbols - self.min_symbols).astype(np.int32)
        return indices

    def write(self, rows: NDArray[np.intp], indices: NDArray[np.int32]) -> bytes:
        """Return a bitstream of symbols of any rows in this order, each given by its index in its row's alphabet.

        A `BitstreamReader` reads it run by run with `models`. The coder encodes all symbols in one call, however often
        the row changes.
        """
        from constriction import stream

        count = len(rows)
        if self._coded_rows < len(self):
            coded = self._lengths[rows] > 1
            rows, indices = rows[coded], indices[coded]
        which, parts = self._three_symbol_models
        at = self._starts[rows] + indices
        return write_runs([(which[at], stream.model.Categorical(perfect=False), parts[at])], count > FEW_SYMBOLS)

    def bits(self, rows: NDArray[np.intp], indices: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the Shannon information of each symbol, -log2 of its probability, in bits.

        Arguments are those of `write`.
        """
        import numpy as np

        costs: NDArray[np.float64] = np.concatenate([np.zeros(0), *self._costs])[self._starts[rows] + indices]
        return costs

    @cached_property
    def _lengths(self) -> NDArray[np.intp]:
        import numpy as np

        return np.array([len(table) for table in self.tables], np.intp)

    @cached_property
    def _starts(self) -> NDArray[np.intp]:
        """The index of each row's first symbol among the symbols of all rows."""
        import numpy as np

        return np.cumsum(self._lengths) - self._lengths

    @cached_property
    def _three_symbol_models(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """For each symbol of all rows, its index in an alphabet of three, and the weights of these three.

        The three are the symbols below it, the symbol, and the symbols above it, so the symbol keeps its interval. A
        row's lowest or highest symbol has no symbols on one side; the other side is then halved. So all models have the
        same size, and one call of the coder takes symbols of different rows.
        """
        import numpy as np

        which, parts = [np.zeros(0, np.int32)], [np.zeros((0, 3), np.int64)]
        for table in self.tables:
            width = table * CODER_UNITS
            below = np.cumsum(width) - width
            above = (1 << CODER_PRECISION_BITS) - width - below
            inside = np.stack([below, width, above], 1)
            inside[0] = width[0], above[0] // 2, above[0] // 2
            inside[-1] = below[-1] // 2, below[-1] // 2, width[-1]
            which.append(np.array([0, *[1] * (len(table) - 2), *[2] * (len(table) > 1)], np.int32))
            parts.append(inside)
        # As in `models`, subtract the unit of 2^-24 that the coder adds to each symbol.
        return np.concatenate(which), (np.concatenate(parts) - 1).astype(np.float32)

    @cached_property
    def _coded_rows(self) -> int:
        return sum(len(table) > 1 for table in self.tables)

    @cached_property
    def models(self) -> list[Any]:
        """The coder's model of each row for `write_runs`; None if the alphabet is a single symbol."""
        import numpy as np
        from constriction import stream

        # constriction gives every symbol one unit of 2^-24 and divides the rest in proportion. With that unit
        # subtracted first, the result is the table itself: float32 holds these integers and their sums exactly.
        weights = [(table * CODER_UNITS - 1).astype(np.float32) for table in self.tables]
        return [stream.model.Categorical(row, perfect=False) if len(row) > 1 else None for row in weights]

    @cached_property
    def _costs(self) -> list[NDArray[np.float64]]:
        import numpy as np

        return [PRECISION_BITS - np.log2(table) for table in self.tables]


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _inflate(state: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        numbers = unpacker.decompress(state, _MAX_STATE_BYTES)
    except zlib.error as error:
        raise ValueError(f"no state of a prior: {error}") from error
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("the state of a prior is cut short, or goes on behind its end")
    return numbers


def _to_table(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Return positive integers that sum to 2^PRECISION_BITS: one each, the rest in proportion by largest remainders."""
    import numpy as np

    weights = np.asarray(counts, np.float64)
    if not 1 <= weights.size <= MAX_ALPHABET or not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError(f"counts are 1 to {MAX_ALPHABET} finite numbers of at least 0")
    weights = weights / weights.max() if weights.any() else np.ones_like(weights)
    free = (1 << PRECISION_BITS) - len(weights)
    shares = weights / weights.sum() * free
    table: NDArray[np.int64] = np.floor(shares).astype(np.int64)
    missing = max(0, free - int(table.sum()))
    table[np.argsort(table - shares, kind="stable")[:missing]] += 1
    table[int(table.argmax())] += free - int(table.sum())  # the floating-point rounding error, mostly zero
    table += 1
    return table
