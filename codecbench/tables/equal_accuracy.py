"""Tables of the payload bytes of each row at one loss, with their ratio to anchors: see `analysis.equal_accuracy`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from math import isinf
from typing import Any

from codecbench.analysis.curves import row_and_point
from codecbench.analysis.equal_accuracy import EqualAccuracy, Estimate, RateAtLoss
from codecbench.analysis.selection import groups, origin_of
from codecbench.tables import formats, reservations
from codecbench.tables.document import Cell, Document, Group, TableBlock
from codecbench.tables.formats import SPLITS_PER_BLOCK, batches
from codecbench.tables.reservations import Reservations

UPPER_BOUND = "≤"
"""The mark of rows whose coarsest point is within the budget."""
UPPER_BOUND_MEANS = "its coarsest point is within the budget: these are its bytes, and fewer might do"
CSV_FIELDS = (
    "workload", "metric", "budget", "row", "split", "payload_bytes", "low", "high", "upper_bound", "anchor", "ratio",
    "ratio_low", "ratio_high", "finer_point", "encode_ms", "decode_ms", "edge_state_bytes", "reason", "isolation",
    "mixed_plugin",
)  # fmt: skip


def render(found: Sequence[EqualAccuracy], format_: str, width: int | None = None) -> str:
    """Returns all tables as one text; see `formats.render`. CSV has one header for all tables."""
    layouts = ((document(rates, count) for count in range(SPLITS_PER_BLOCK, 0, -1)) for rates in found)
    return formats.render(layouts, CSV_FIELDS, chain.from_iterable(map(csv_rows, found)), format_, width)


def document(found: EqualAccuracy, splits_per_block: int = SPLITS_PER_BLOCK) -> Document:
    """Returns the table as blocks of formatted cells. Footnotes give the reasons for missing numbers."""
    notes: dict[str, int] = {}
    reserved = reservations.of_origins(found.origins)
    blocks = tuple(_block(found, splits, notes, reserved) for splits in batches(list(found.rates), splits_per_block))
    loss = f"{found.budget:g} {'points' if found.unit == '%' else found.unit} of {found.metric}".replace("  ", " ")
    return Document(
        title=f"{found.workload}: bytes at a loss of {loss}, interpolated",
        blocks=blocks,
        remarks=(
            f"{found.n} test samples ({found.sample_set}), seed {found.seed}. bytes: mean payload at this loss, "
            "between the row's two points around it, linear in the logarithm. [low, high]: 95 % bootstrap interval, of "
            "payloads and losses together; dots: an end left open. Milliseconds and state are those of the finer "
            "point: medians of one sample on one thread; what the edge holds beforehand.",
            *(f"x {anchor}: bytes over those of {anchor}, on the same resamples." for anchor in found.anchors),
            *found.left_out,
            *reserved.remarks,
        ),
        marks=(*_upper_bound_mark(found), *reserved.marks),
        notes=tuple(notes),
    )  # fmt: skip


def csv_rows(found: EqualAccuracy) -> Iterator[dict[str, Any]]:
    """Yields a flat line for each row, split and anchor, with the keys of CSV_FIELDS and unrounded numbers."""
    for split, rates in found.rates.items():
        for row, rate in rates.items():
            size, record = rate.payload_bytes, rate.finer
            time = groups(record).time if record else None
            for anchor in found.anchors or ("",):
                ratio = rate.ratios.get(anchor)
                values = (
                    found.workload, found.metric, found.budget, row, split, *_numbers(size), rate.is_upper_bound,
                    anchor, *_numbers(ratio), row_and_point(record) if record else "",
                    1000 * time.encode_s.median if time else None, 1000 * time.decode_s.median if time else None,
                    groups(record).size.edge_state_bytes if record else None, rate.reason,
                )  # fmt: skip
                reserved = reservations.csv_values([origin for origin in found.origins if origin.row == row])
                yield dict(zip(CSV_FIELDS, (*values, *reserved.values()), strict=True))


def _numbers(found: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (found.value, found.low, None if isinf(found.high) else found.high) if found else (None, None, None)


def _upper_bound_mark(found: EqualAccuracy) -> Iterator[tuple[str, str]]:
    """Yields the mark of rows whose coarsest point is within the budget, and its meaning, if there are any."""
    if any(rate.is_upper_bound for rates in found.rates.values() for rate in rates.values()):
        yield UPPER_BOUND, UPPER_BOUND_MEANS


def _block(found: EqualAccuracy, splits: Sequence[str], notes: dict[str, int], reserved: Reservations) -> TableBlock:
    headings = ("bytes", *(f"x {anchor}" for anchor in found.anchors), "encode ms", "decode ms", "edge state, MB")
    alignments = ("left",) * (1 + len(found.anchors)) + ("right",) * 3
    lines = []
    for row in found.rows:
        if not any(row in found.rates[split] for split in splits):
            continue
        cells = (_cells(found.rates[split].get(row), found.anchors, notes, reserved) for split in splits)
        lines.append((row, tuple(chain.from_iterable(cells))))
    return TableBlock("codec", tuple(Group(split, headings, alignments) for split in splits), tuple(lines))


def _cells(
    rate: RateAtLoss | None, anchors: Sequence[str], notes: dict[str, int], reserved: Reservations
) -> tuple[Cell, ...]:
    if rate is None or rate.payload_bytes is None or rate.finer is None:
        numbers = () if rate is None else (notes.setdefault(rate.reason, len(notes) + 1),)
        return (Cell("-", notes=numbers), *(Cell() for _ in range(len(anchors) + 3)))
    _, size, _, time = groups(rate.finer)
    marks = (UPPER_BOUND if rate.is_upper_bound else "") + reserved.marks_of(origin_of(rate.finer))
    return (
        Cell(_text(rate.payload_bytes, ",.0f"), marks),
        *(Cell(_text(rate.ratios[anchor], ".2f") if anchor in rate.ratios else "-") for anchor in anchors),
        Cell(formats.short(1000 * time.encode_s.median)),
        Cell(formats.short(1000 * time.decode_s.median)),
        Cell(formats.short(size.edge_state_bytes / 1e6)),
    )


def _text(found: Estimate, spec: str) -> str:
    """Returns a number with its interval; dots stand for an end that the resamples leave open."""
    low = "..." if found.low == 0 else f"{found.low:{spec}}"
    high = "..." if isinf(found.high) else f"{found.high:{spec}}"
    return f"{found.value:{spec}} [{low}, {high}]"
