"""Range and ANS coders under integer tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from codecbench.errors import PayloadError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


PRECISION_BITS = 20
"""Each row of a prior sums to 2^20: a symbol costs 1.4e-6 bits at least, and 20 at most."""


CODER_PRECISION_BITS = 24


CODER_UNITS = 1 << (CODER_PRECISION_BITS - PRECISION_BITS)
"""The coders' own probabilities are multiples of 2^-24: this many units for each of a prior."""

_WORD_BYTES = 4
_STATE_BITS = 64


def write_runs(runs: Sequence[tuple[NDArray[np.int32], *tuple[Any, ...]]], many: bool) -> bytes:
    """A bitstream of runs of indices into an alphabet, each with its model; `many` takes the ANS coder.

    A run has a model of `Prior.models`, or a family of models and the parameters of each index's model.
    `BitstreamReader` reads runs in the same order.
    """
    # The decoder takes what is missing for zeros.
    return (_ans_encode if many else _range_encode)(runs).rstrip(b"\0")


class BitstreamReader:
    """Reads runs of symbols in the order in which `write_runs` wrote them, with the same models and the same coder.

    There may be at most `max_symbols`. Raises PayloadError for a bitstream that cannot be the code of so many;
    one that was altered may as well give other symbols.
    """

    def __init__(self, bitstream: bytes | memoryview, max_symbols: int, many: bool) -> None:
        import numpy as np
        from constriction import stream

        padded = bytes(bitstream)
        if padded.endswith(b"\0"):
            raise PayloadError("an entropy-coded bitstream does not end in a zero")
        padded += bytes(-len(padded) % _WORD_BYTES)
        if len(padded) > (max_symbols * PRECISION_BITS + _STATE_BITS) // 8:
            raise PayloadError(f"{len(bitstream)} bytes are more than {max_symbols} symbols can take")
        self._many = many
        with _no_bitstream():
            if many:
                self._coder = stream.stack.AnsCoder(np.frombuffer(padded, "<u4").astype(np.uint32))
            else:
                self._coder = stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))

    def read(self, model: Any, count: int) -> NDArray[np.int32]:
        """Indices of `count` symbols of one model of `Prior.models`, zeros for the model None."""
        import numpy as np

        if model is None or not count:
            return np.zeros(count, np.int32)
        with _no_bitstream():
            indices: NDArray[np.int32] = self._coder.decode(model, count)
        return indices

    def finish(self) -> None:
        """Raise PayloadError where the bitstream goes on, as far as its coder can tell."""
        if self._many and not self._coder.is_empty():
            raise PayloadError("no entropy-coded bitstream: it goes on behind its symbols")


@contextmanager
def _no_bitstream() -> Iterator[None]:
    """Raise what constriction raises for numbers that are no code as PayloadError."""
    try:
        yield
    except (AssertionError, ValueError) as error:
        raise PayloadError(f"no entropy-coded bitstream: {error}") from error


def _range_encode(coded: Sequence[tuple[NDArray[np.int32], *tuple[Any, ...]]]) -> bytes:
    """The fewest bytes of a range coder's final interval. Runs of indices go with their models."""
    from constriction import stream

    coder = stream.queue.RangeEncoder()
    for run in coded:
        coder.encode(*run)
    words, (lower, width) = coder.pos()
    stream_bytes: bytes = coder.get_compressed().astype(">u4").tobytes()
    kept, tail = stream_bytes[: words * _WORD_BYTES], stream_bytes[words * _WORD_BYTES :]
    # What constriction wrote is a number of the final interval [lower, lower + width), in which a carry may have gone
    # to the words before; so it is where the interval lies as those words now stand.
    written = int.from_bytes(tail.ljust(_STATE_BITS // 8, b"\0"), "big")
    start = written - (written - lower) % (1 << _STATE_BITS)
    return kept + _shortest_within(start, start + width)


def _shortest_within(start: int, end: int) -> bytes:
    """The fewest bytes that, with zeros behind them to 64 bits, make a number from `start` up to below `end`."""
    for length in range(_STATE_BITS // 8 + 1):
        step = 1 << (_STATE_BITS - 8 * length)
        multiple = -(-max(start, 0) // step)
        if multiple * step < min(end, 1 << _STATE_BITS):
            return multiple.to_bytes(length, "big")
    raise ValueError(f"no number from {start} to {end}")


def _ans_encode(coded: Sequence[tuple[NDArray[np.int32], *tuple[Any, ...]]]) -> bytes:
    """An ANS coder's words and state."""
    from constriction import stream

    coder = stream.stack.AnsCoder()
    for run in reversed(coded):
        coder.encode_reverse(*run)
    return bytes(coder.get_compressed().astype("<u4").tobytes())
