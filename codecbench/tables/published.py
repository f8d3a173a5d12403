"""The table of rate-accuracy points that other open systems have published: see `analysis.published`."""

from __future__ import annotations

from collections.abc import Sequence

from codecbench.analysis.published import PublishedPoint
from codecbench.tables import formats
from codecbench.tables.document import Cell, Document, Group, TableBlock

HEADINGS = ("bytes", "metric", "value", "uncompressed", "change", "model", "data", "what is counted")
ALIGNMENTS = ("right", "left", "right", "right", "right", "left", "left", "left")


def render(points: Sequence[PublishedPoint], format_: str, width: int | None = None) -> str:
    """Returns the points as one text; see `formats.render`."""
    lines = [dict(vars(point), change=point.change) for point in points]
    return formats.render([iter([document(points)])], tuple(lines[0]), lines, format_, width)


def document(points: Sequence[PublishedPoint]) -> Document:
    """Returns the points as a table, the smallest payload of each system first."""
    ordered = sorted(points, key=lambda point: (point.metric, point.system, point.variant, point.payload_bytes))
    rows = tuple((f"{point.system} {point.variant}", _cells(point)) for point in ordered)
    sources = dict.fromkeys((point.system, point.source) for point in ordered)
    return Document(
        title="Published by other projects, not measured here",
        blocks=(TableBlock("system", (Group("", HEADINGS, ALIGNMENTS),), rows),),
        remarks=(
            "Each has an encoder of its own in place of the model's first layers. Bytes are a sample's mean; compare "
            "changes, since models and data differ.",
            *(f"{system}: {source}." for system, source in sources),
        ),
    )


def _cells(point: PublishedPoint) -> tuple[Cell, ...]:
    known = point.uncompressed is not None
    return (
        Cell(f"{point.payload_bytes:,.0f}"), Cell(point.metric), Cell(f"{point.value:.1f}"),
        Cell(f"{point.uncompressed:.1f}" if known else "-"), Cell(f"{point.change:+.1f}" if known else "-"),
        Cell(point.model), Cell(point.data), Cell(point.accounting),
    )  # fmt: skip
