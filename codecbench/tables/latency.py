"""Tables of latency for the entries of a budget table: device, network, edge, end to end, and speed-up over `local`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from codecbench.analysis.budget import Entry
from codecbench.analysis.latency import LOCAL, PREDICTED, PREDICTED_MEANS
from codecbench.devices.profile import HOST
from codecbench.tables import formats
from codecbench.tables.budget import CSV_FIELDS, Table
from codecbench.tables.document import Cell, Document, Group, TableBlock
from codecbench.tables.formats import batches, short

SPLITS_PER_BLOCK = 2
_HEADINGS = ("device", "network", "edge", "median (p95)", "speed-up")
_MARKS = ((PREDICTED, PREDICTED_MEANS),)


def render(tables: Sequence[Table], format_: str, width: int | None = None) -> str:
    """Returns the latencies of measured tables as one text; see `formats.render`."""
    measured = [table for table in tables if table.source == "measured"]
    rows = (row for table in measured for row in table.csv_rows())
    return formats.render(map(_layouts, measured), CSV_FIELDS, rows, format_, width)


def _layouts(table: Table) -> Iterator[Document]:
    """Returns the possible layouts of the latencies, widest first."""
    return (document(table, splits_per_block) for splits_per_block in range(SPLITS_PER_BLOCK, 0, -1))


def document(table: Table, splits_per_block: int = SPLITS_PER_BLOCK) -> Document:
    """Returns the latencies as blocks of formatted cells, of the points that the budget table chose."""
    blocks = tuple(_block(table, splits) for splits in batches(table.splits, splits_per_block))
    used = {mark for block in blocks for _, cells in block.rows for cell in cells for mark in cell.marks}
    return Document(
        title=f"{table.workload}: end-to-end latency in ms, by codec and split point",
        blocks=blocks,
        remarks=(
            f"Device {_machine(table, 'device')}: head and encode. Network: {table.context['link']}, modelled. Edge "
            f"{_machine(table, 'edge')}: decode and tail. One sample at a time on one thread; median, and 95th "
            "percentile of the whole.",
            f"{LOCAL}: the whole network on the device. speed-up: how many times faster a request is than that.",
            f"Points: those of the smallest payload within the budget of {table.context['budget']:g}; "
            "'codecbench plan' looks for the fastest.",
            *_undefined_remark(table),
            *table.left_out,
            *table.reservations.remarks,
        ),
        marks=(*((mark, meaning) for mark, meaning in _MARKS if mark in used), *table.reservations.marks),
    )


def _undefined_remark(table: Table) -> Iterator[str]:
    """Yields why some rows have no point, where there are any."""
    found = (note for entry in table.entries.values() if entry.status == "undefined" for note in entry.notes)
    yield from (f"-: {note}." for note in dict.fromkeys(found))


def _machine(table: Table, side: str) -> str:
    name = table.context[side]
    return "(the machine of the records)" if name == HOST else f"({name}, predicted)"


def _block(table: Table, splits: Sequence[str]) -> TableBlock:
    groups = tuple(Group(split, _HEADINGS, ("right",) * len(_HEADINGS)) for split in splits)
    rows = []
    for row in table.rows:
        cells = [
            cell
            for split in splits
            for cell in _cells(
                table.entries[row, split],
                table.entries[LOCAL, split],
                table.reservations.marks_of(table.entries[row, split].origin),
            )
        ]
        rows.append((row, tuple(cells)))
    return TableBlock("codec", groups, tuple(rows))


def _cells(entry: Entry, local: Entry, marks: str) -> Iterable[Cell]:
    if entry.latency_ms is None or local.latency_ms is None:
        return (Cell("-" if entry.status in ("no such point", "undefined") else entry.status), *(Cell(),) * 4)
    predicted = set(entry.predicted.split())
    total = short(entry.latency_ms)
    if entry.latency_p95_ms is not None:
        total += f" ({short(entry.latency_p95_ms)})"
    return (
        Cell(short(entry.device_ms), PREDICTED if predicted & {"head", "encode"} else ""),
        Cell(short(entry.network_ms)),
        Cell(short(entry.edge_ms), PREDICTED if predicted & {"decode", "tail"} else ""),
        Cell(total, marks),
        Cell("" if entry.row == LOCAL or not entry.latency_ms else short(local.latency_ms / entry.latency_ms)),
    )
