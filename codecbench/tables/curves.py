"""Tables of every operating point of every codec at each split, with its Shannon bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from codecbench.analysis.curves import CurvePoint, Curves, row_and_point
from codecbench.analysis.other_metrics import other_values, others_of
from codecbench.analysis.selection import groups, is_defined, origin_of, percent_of, undefined_reason
from codecbench.results.cell import point_label
from codecbench.results.record import Record, Task
from codecbench.tables import formats, reservations
from codecbench.tables.document import Cell, Document, Group, TableBlock, with_interval
from codecbench.tables.reservations import Reservations

FALLS = "↓"
"""The mark of points of which a smaller payload of the same row does better."""
MARKS = ((FALLS, "a smaller payload of the same row does better, the two intervals of the change apart"),)
CSV_FIELDS = (
    "workload", "metric", "unit", "n", "sample_set", "seed", "split", "row", "codec", "point", "payload_bytes",
    "payload_percent", "bound_bytes", "value", "low", "high", "change", "change_low", "change_high", "choice_change",
    "encode_ms", "decode_ms", "device_state_bytes", "edge_state_bytes", "falls",
    "isolation", "mixed_plugin",
)  # fmt: skip


def render(curves: Sequence[Curves], format_: str, width: int | None = None) -> str:
    """Returns all curves as one text; see `formats.render`. CSV has one header for all curves."""
    shown = ([document] for found in curves for document in documents(found))
    fields = formats.with_others(CSV_FIELDS, [other for found in curves for other in _others(found)])
    return formats.render(shown, fields, (row for found in curves for row in csv_rows(found)), format_, width)


def documents(curves: Curves) -> list[Document]:
    """Returns one document for each split, with one block. Reservations are counted over all splits."""
    points = (point for rows in curves.points.values() for found in rows.values() for point in found)
    found = reservations.of_records(point.record for point in points)
    return [_document(curves, split, found) for split in curves.points]


def csv_rows(curves: Curves) -> Iterator[dict[str, Any]]:
    """Yields one flat line for each point, with the keys of CSV_FIELDS and unrounded numbers."""
    others = _others(curves)
    for rows in curves.points.values():
        for points in rows.values():
            for point in points:
                yield {**_flat(point), **formats.other_fields(others, other_values(point.record))}


def _others(curves: Curves) -> tuple[Task, ...]:
    return others_of(point.record for rows in curves.points.values() for points in rows.values() for point in points)


def _document(curves: Curves, split: str, reserved: Reservations) -> Document:
    rows = curves.points[split]
    falls = any(point.falls for points in rows.values() for point in points)
    return Document(
        title=f"{curves.workload}, {split}: every operating point, by payload",
        blocks=(_block(split, rows, _others(curves), reserved),),
        remarks=(
            f"{curves.n} test samples ({curves.sample_set}), seed {curves.seed}. bytes: mean payload, and its share of "
            "the raw tensor. bound: the Shannon bound of the payload's symbols under the prior that both sides hold, "
            "where the codec codes by one. [low, high]: 95 % bootstrap interval; change: from the uncompressed model, "
            "paired. Milliseconds are medians of one sample on one thread; state: what device and edge hold "
            "beforehand.",
            *formats.others_remark(_others(curves), _task(rows).metric),
            *_undefined_remark(point.record for points in rows.values() for point in points),
            *curves.left_out,
            *reserved.remarks,
        ),
        marks=(*(MARKS if falls else ()), *reserved.marks),
    )


def _undefined_remark(records: Iterable[Record]) -> Iterator[str]:
    """Yields why some points have no value, where there are any."""
    found = next((record for record in records if not is_defined(record)), None)
    if found is not None:
        yield f"-: {undefined_reason(found)}."


def _task(rows: Mapping[str, Sequence[CurvePoint]]) -> Task:
    return next(groups(point.record).task for points in rows.values() for point in points)


def _block(
    split: str, rows: Mapping[str, Sequence[CurvePoint]], others: Sequence[Task], reserved: Reservations
) -> TableBlock:
    task = _task(rows)
    headings = (
        "bytes (%)", "bound", formats.metric_label(task), "change", *map(formats.metric_label, others), "encode ms",
        "decode ms", "state, bytes",
    )  # fmt: skip
    alignments = ("right", "right", "left", "left", *("right" for _ in others), "right", "right", "right")
    lines = [
        (row_and_point(point.record), _cells(point, others, reserved)) for points in rows.values() for point in points
    ]
    return TableBlock("codec and point", (Group(split, headings, alignments),), tuple(lines))


def _cells(point: CurvePoint, others: Sequence[Task], reserved: Reservations) -> tuple[Cell, ...]:
    tensor, size, task, time = groups(point.record)
    mean = size.payload_bytes.mean
    percent, bound = percent_of(mean, tensor.raw_bytes), size.estimated_bytes
    change = with_interval(task.change, task.change_low, task.change_high, f"+.{task.decimals}f")
    return (
        Cell(f"{mean:,.1f}" if percent is None else f"{mean:,.1f} ({percent:.3g})"),
        Cell("-" if bound is None else f"{bound:,.1f}"),
        Cell(with_interval(task.value, task.low, task.high, f".{task.decimals}f")),
        Cell(change, (FALLS if point.falls else "") + reserved.marks_of(origin_of(point.record))),
        *formats.other_cells(others, other_values(point.record)),
        Cell(f"{1000 * time.encode_s.median:.3g}"),
        Cell(f"{1000 * time.decode_s.median:.3g}"),
        Cell(f"{size.device_state_bytes:,} + {size.edge_state_bytes:,}"),
    )


def _flat(point: CurvePoint) -> dict[str, Any]:
    record = point.record
    tensor, size, task, time = groups(record)
    values = (
        record.key.workload, task.metric, task.unit, task.n, record.key.sample_set, record.key.seed, record.key.split,
        record.row, record.key.codec, point_label(record.key.point), size.payload_bytes.mean,
        percent_of(size.payload_bytes.mean, tensor.raw_bytes), size.estimated_bytes, task.value, task.low, task.high,
        task.change, task.change_low, task.change_high, record.choice.change if record.choice else None,
        1000 * time.encode_s.median, 1000 * time.decode_s.median, size.device_state_bytes, size.edge_state_bytes,
        point.falls, record.provenance.isolation, record.provenance.mixed_plugin,
    )  # fmt: skip
    return dict(zip(CSV_FIELDS, values, strict=True))
