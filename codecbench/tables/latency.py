"""The latency of a table's entries: device, network, edge and end to end, beside the whole network on the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from codecbench.analysis.budget import Entry
from codecbench.analysis.latency import LOCAL, PREDICTED, PREDICTED_MEANS
from codecbench.devices.profile import HOST
from codecbench.names import pick
from codecbench.tables import document as layout
from codecbench.tables.budget import CSV_FIELDS, Table
from codecbench.tables.formats import FORMATS, batches, csv_text, short

SPLITS_PER_BLOCK = 2
_HEADINGS = ("device", "network", "edge", "median (p95)", "speed-up")
_MARKS = ((PREDICTED, PREDICTED_MEANS),)


def render(tables: Sequence[Table], format: str, width: int | None = None) -> str:  # noqa: A002
    """The latencies of measured tables as text ending in a newline; formats and width as of `table.render`."""
    name = pick({known: known for known in FORMATS}, format, "format")
    measured = [table for table in tables if table.source == "measured"]
    if name == "csv":
        return csv_text(CSV_FIELDS, (row for table in measured for row in table.csv_rows()))
    if name == "text":
        return "\n".join(_fitting_text(table, width) for table in measured)
    write = {"md": layout.markdown, "latex": layout.latex, "html": layout.html_section}[name]
    return "\n".join(write(document(table)) for table in measured)


def document(table: Table, splits_per_block: int = SPLITS_PER_BLOCK) -> layout.Document:
    """The latencies as blocks of formatted cells. The points are those that the table chose."""
    blocks = tuple(_block(table, splits) for splits in batches(table.splits, splits_per_block))
    used = {mark for block in blocks for _, cells in block.rows for cell in cells for mark in cell.marks}
    return layout.Document(
        title=f"{table.workload}: end-to-end latency in ms, by codec and split point",
        blocks=blocks,
        remarks=(
            f"Device {_machine(table, 'device')}: head and encode. Network: {table.context['link']}, modelled. Edge "
            f"{_machine(table, 'edge')}: decode and tail. One sample at a time on one thread; median, and 95th "
            "percentile of the whole.",
            f"{LOCAL}: the whole network on the device. speed-up: how many times faster a request is than that.",
            f"Points: those of the smallest payload within the budget of {table.context['budget']:g}; "
            "'codecbench plan' looks for the fastest.",
        ),
        marks=tuple((mark, meaning) for mark, meaning in _MARKS if mark in used),
    )


def _fitting_text(table: Table, width: int | None) -> str:
    shown = document(table)
    if width is not None and any(layout.text_width(block) > width for block in shown.blocks):
        shown = document(table, 1)
    return layout.text(shown, min(width or 100, 100))


def _machine(table: Table, side: str) -> str:
    name = table.context[side]
    return "(the machine of the records)" if name == HOST else f"({name}, predicted)"


def _block(table: Table, splits: Sequence[str]) -> layout.Block:
    groups = tuple(layout.Group(split, _HEADINGS, ("right",) * len(_HEADINGS)) for split in splits)
    rows = []
    for row in table.rows:
        cells = [cell for split in splits for cell in _cells(table.entries[row, split], table.entries[LOCAL, split])]
        rows.append((row, tuple(cells)))
    return layout.Block("codec", groups, tuple(rows))


def _cells(entry: Entry, local: Entry) -> Iterable[layout.Cell]:
    if entry.latency_ms is None or local.latency_ms is None:
        return (layout.Cell("-" if entry.status == "no such point" else entry.status), *(layout.Cell(),) * 4)
    predicted = set(entry.predicted.split())
    whole = short(entry.latency_ms)
    if entry.latency_p95_ms is not None:
        whole += f" ({short(entry.latency_p95_ms)})"
    return (
        layout.Cell(short(entry.device_ms), PREDICTED if predicted & {"head", "encode"} else ""),
        layout.Cell(short(entry.network_ms)),
        layout.Cell(short(entry.edge_ms), PREDICTED if predicted & {"decode", "tail"} else ""),
        layout.Cell(whole),
        layout.Cell("" if entry.row == LOCAL else short(local.latency_ms / entry.latency_ms)),
    )
