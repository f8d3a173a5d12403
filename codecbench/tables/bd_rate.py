"""Tables of BD-rates against an anchor: a line for each row, a group of columns for each metric and split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from codecbench.analysis.bd_rate import MIN_POINTS, BdRate, BdRates
from codecbench.tables import formats, reservations
from codecbench.tables.document import Cell, Document, Group, TableBlock
from codecbench.tables.formats import SPLITS_PER_BLOCK, batches
from codecbench.tables.reservations import Reservations

CSV_FIELDS = (
    "workload", "metric", "anchor", "row", "split", "bd_rate_percent", "from", "to", "overlap", "points", "dropped",
    "anchor_points", "anchor_dropped", "reason", "isolation", "mixed_plugin",
)  # fmt: skip


def render(found: Sequence[BdRates], format_: str, width: int | None = None) -> str:
    """Returns all tables as one text; see `formats.render`. CSV has one header for all tables."""
    layouts = (_layouts(rates) for rates in found)
    return formats.render(layouts, CSV_FIELDS, chain.from_iterable(map(csv_rows, found)), format_, width)


def document(rates: BdRates, splits_per_block: int = SPLITS_PER_BLOCK) -> Document:
    """Returns the table as blocks of formatted cells. Footnotes give the reasons for missing BD-rates."""
    notes: dict[str, int] = {}
    columns = [(metric, split) for metric, splits in rates.values.items() for split in splits]
    reserved = reservations.of_origins(chain.from_iterable(rates.origins.values()))
    blocks = tuple(_block(rates, batch, notes, reserved) for batch in batches(columns, splits_per_block))
    return Document(
        title=f"{rates.workload}: bytes at equal metric, in % of {rates.anchor} (BD-rate)",
        blocks=blocks,
        remarks=(
            f"{rates.n} test samples ({rates.sample_set}), seed {rates.seed}. % bytes: mean bytes above or, negative, "
            f"below {rates.anchor} at equal {rates.metric}, averaged over the range of it that both curves cover "
            "(from - to): BD-rate with PCHIP. left out: points of the row that one of its smaller payloads equals or "
            "beats.",
            *(["Too few points: 'codecbench run --preset full' measures more of each codec."] if _lacks(rates) else []),
            *rates.left_out,
            *reserved.remarks,
        ),
        marks=reserved.marks,
        notes=tuple(notes),
    )


def _lacks(rates: BdRates) -> bool:
    """Returns True if a curve has fewer points than a BD-rate takes."""
    found = [rate for splits in rates.values.values() for rows in splits.values() for rate in rows.values()]
    return any(min(rate.curve.points, rate.anchor.points) < MIN_POINTS for rate in found)


def csv_rows(rates: BdRates) -> Iterator[dict[str, Any]]:
    """Yields one flat line for each BD-rate, with the keys of CSV_FIELDS and unrounded numbers."""
    for metric, splits in rates.values.items():
        for split, rows in splits.items():
            for row, found in rows.items():
                values = (
                    rates.workload, metric, rates.anchor, row, split, found.percent, found.low, found.high,
                    found.overlap, found.curve.points, found.curve.dropped, found.anchor.points, found.anchor.dropped,
                    found.reason,
                )  # fmt: skip
                reserved = reservations.csv_values(rates.origins_of(row, split))
                yield dict(zip(CSV_FIELDS, (*values, *reserved.values()), strict=True))


def _layouts(rates: BdRates) -> Iterator[Document]:
    """Returns the possible layouts of the table, widest first."""
    return (document(rates, count) for count in range(SPLITS_PER_BLOCK, 0, -1))


def _block(
    rates: BdRates, columns: Sequence[tuple[str, str]], notes: dict[str, int], reserved: Reservations
) -> TableBlock:
    names = {metric: f"{metric} {unit}".strip() for metric, unit in rates.units.items()}
    groups = tuple(
        Group(split, ("% bytes", f"{names[metric]} from - to", "left out"), ("right", "left", "right"))
        for metric, split in columns
    )
    lines = []
    for row in rates.rows:
        cells = [
            _cells(
                rates.values[metric][split].get(row),
                rates.decimals[metric],
                notes,
                reserved.marks_of(*rates.origins_of(row, split)),
            )
            for metric, split in columns
        ]
        lines.append((row, tuple(chain.from_iterable(cells))))
    return TableBlock("codec", groups, tuple(lines))


def _cells(found: BdRate | None, decimals: int, notes: dict[str, int], marks: str) -> tuple[Cell, ...]:
    if found is None:
        return (Cell("-"), Cell(), Cell())
    left_out = Cell(str(found.curve.dropped))
    if found.percent is None:
        number = notes.setdefault(found.reason, len(notes) + 1)
        return (Cell("-", notes=(number,)), Cell(), left_out)
    covered = Cell(f"{found.low:.{decimals}f} - {found.high:.{decimals}f}")
    return (Cell(_percent(found.percent), marks), covered, left_out)


def _percent(percent: float) -> str:
    return f"{percent:+,.0f}" if abs(percent) >= 99.95 else f"{percent:+.1f}"
