"""Range and ANS coders with integer probability tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from codecbench.errors import PayloadError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


PRECISION_BITS = 20
"""Each row of a prior sums to 2^20, so a symbol costs at least 1.4e-6 and at most 20 bits."""


CODER_PRECISION_BITS = 24


CODER_UNITS = 1 << (CODER_PRECISION_BITS - PRECISION_BITS)
"""The coders' own probabilities are multiples of 2^-24: CODER_UNITS of these units make one unit of a prior."""

_WORD_BYTES = 4
_STATE_BITS = 64


def write_runs(runs: Sequence[tuple[NDArray[np.int32], *tuple[Any, ...]]], many: bool) -> bytes:
    """Return a bitstream of runs of alphabet indices, each run with its model.

    A run has a model of `Prior.models`, or a family of models and the parameters of each index's model. `many` selects
    the ANS coder, else the range coder. `BitstreamReader` reads the runs in the same order.
    """
    # The decoder pads with zeros, so trailing zeros need not be sent.
    return (_ans_encode if many else _range_encode)(runs).rstrip(b"\0")


class BitstreamReader:
    """Reads runs of symbols in the order in which `write_runs` wrote them, with the same models and the same coder.

    Raises PayloadError for a bitstream that cannot encode at most `max_symbols` symbols. An altered bitstream may
    instead decode to other symbols.
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
        with _as_payload_errors():
            if many:
                self._coder = stream.stack.AnsCoder(np.frombuffer(padded, "<u4").astype(np.uint32))
            else:
                self._coder = stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))

    def read(self, model: Any, count: int) -> NDArray[np.int32]:
        """Return the indices of `count` symbols of one model of `Prior.models`; zeros if the model is None."""
        import numpy as np

        if model is None or not count:
            return np.zeros(count, np.int32)
        with _as_payload_errors():
            indices: NDArray[np.int32] = self._coder.decode(model, count)
        return indices

    def finish(self) -> None:
        """Raise PayloadError if data remain in the bitstream. Only the ANS coder can tell."""
        if self._many and not self._coder.is_empty():
            raise PayloadError("no entropy-coded bitstream: it goes on behind its symbols")


@contextmanager
def _as_payload_errors() -> Iterator[None]:
    """Raise PayloadError in place of the errors that constriction raises for an invalid bitstream."""
    try:
        yield
    except (AssertionError, ValueError) as error:
        raise PayloadError(f"no entropy-coded bitstream: {error}") from error


def _range_encode(coded: Sequence[tuple[NDArray[np.int32], *tuple[Any, ...]]]) -> bytes:
    """Return the shortest bytes that identify a range coder's final interval, for runs of indices and their models."""
    from constriction import stream

    coder = stream.queue.RangeEncoder()
    for run in coded:
        coder.encode(*run)
    words, (lower, width) = coder.pos()
    stream_bytes: bytes = coder.get_compressed().astype(">u4").tobytes()
    kept, tail = stream_bytes[: words * _WORD_BYTES], stream_bytes[words * _WORD_BYTES :]
    # constriction wrote a number of the final interval [lower, lower + width), and a carry may have changed the earlier
    # words. So this number, and not `lower`, tells where the interval lies relative to the words as they now are.
    written = int.from_bytes(tail.ljust(_STATE_BITS // 8, b"\0"), "big")
    start = written - (written - lower) % (1 << _STATE_BITS)
    return kept + _shortest_within(start, start + width)


def _shortest_within(start: int, end: int) -> bytes:
    """Return the fewest bytes that, padded with zeros to 64 bits, make a number n with `start` <= n < `end`."""
    for length in range(_STATE_BITS // 8 + 1):
        step = 1 << (_STATE_BITS - 8 * length)
        multiple = -(-max(start, 0) // step)
        if multiple * step < min(end, 1 << _STATE_BITS):
            return multiple.to_bytes(length, "big")
    raise ValueError(f"no number from {start} to {end}")


def _ans_encode(coded: Sequence[tuple[NDArray[np.int32], *tuple[Any, ...]]]) -> bytes:
    """Return an ANS coder's words and final state, for runs of indices and their models."""
    from constriction import stream

    coder = stream.stack.AnsCoder()
    for run in reversed(coded):
        coder.encode_reverse(*run)
    return bytes(coder.get_compressed().astype("<u4").tobytes())
