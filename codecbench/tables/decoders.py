"""The sentence on decoders that keep networks on the edge: what decoding takes, and their state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from codecbench.analysis.budget import Entry
from codecbench.tables.formats import short

LARGE_STATE_BYTES = 100_000
"""From this size on, the edge's state is a network rather than tables of a code."""


def decoders_remark(entries: Iterable[Entry]) -> Iterator[str]:
    """Yields a sentence with the decode time and the edge's state of each row that has a large one, if any has."""
    rows: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.edge_state_bytes is not None and entry.edge_state_bytes >= LARGE_STATE_BYTES:
            rows.setdefault(entry.row, []).append(entry)
    if rows:
        texts = (
            f"{row} {_span([entry.decode_ms or 0.0 for entry in found])} ms, "
            f"{_span([(entry.edge_state_bytes or 0) / 1e6 for entry in found])} MB"
            for row, found in rows.items()
        )
        yield f"Networks on the edge (median decode time of the codec, its state there): {'; '.join(texts)}."


def _span(values: Sequence[float]) -> str:
    low, high = short(min(values)), short(max(values))
    return low if low == high else f"{low} to {high}"
