"""Records to rate-accuracy curves: every operating point of every codec, split by split, beside its Shannon bound.

Where `table` shows one point a codec, chosen for a budget, this shows them all, smallest payload first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codecbench.analysis.selection import one_set, rows_in_order, splits_in_order
from codecbench.errors import UsageError
from codecbench.names import pick
from codecbench.results.cell import point_label
from codecbench.results.record import Record, Size, Task, TensorGroup, Time
from codecbench.tables import document as layout
from codecbench.tables.formats import FORMATS, PROSE_WIDTH, csv_text

_FALLS = "↓"
_MARKS = ((_FALLS, "a smaller payload of the same row does better, the two intervals of the change apart"),)
CSV_FIELDS = (
    "workload", "metric", "unit", "n", "sample_set", "seed", "split", "row", "codec", "point", "payload_bytes",
    "payload_percent", "bound_bytes", "value", "low", "high", "change", "change_low", "change_high", "choice_change",
    "encode_ms", "decode_ms", "device_state_bytes", "edge_state_bytes", "falls",
)  # fmt: skip


@dataclass(frozen=True)
class CurvePoint:
    """One operating point of a row at a split, and whether the curve `falls` to it."""

    record: Record
    falls: bool

    @property
    def payload_bytes(self) -> float:
        """Mean bytes of a payload."""
        return _groups(self.record)[1].payload_bytes.mean


@dataclass(frozen=True)
class Curves:
    """The curves of one workload, on one sample set: by split, then by row, smallest payload first."""

    workload: str
    points: Mapping[str, Mapping[str, tuple[CurvePoint, ...]]]
    remarks: tuple[str, ...]

    def documents(self) -> list[layout.Document]:
        """One document a split, as one block."""
        return [self._document(split, rows) for split, rows in self.points.items()]

    def csv_rows(self) -> list[dict[str, Any]]:
        """One flat line a point, numbers unrounded, by the names in CSV_FIELDS."""
        return [_flat(point) for rows in self.points.values() for points in rows.values() for point in points]

    def _document(self, split: str, rows: Mapping[str, Sequence[CurvePoint]]) -> layout.Document:
        falls = any(point.falls for points in rows.values() for point in points)
        return layout.Document(
            title=f"{self.workload}, {split}: every operating point, by payload",
            blocks=(_block(split, rows),),
            remarks=self.remarks,
            marks=_MARKS if falls else (),
        )


def build(records: Sequence[Record], *, sample_set: str | None = None) -> list[Curves]:
    """The curves of each workload, by name. Sample sets are chosen as in a table; see `table.build`.

    Raises UsageError where no record was measured.
    """
    measured = [record for record in records if record.status == "ok"]
    if not measured:
        raise UsageError("there are no measured records; `codecbench run` makes some")
    by_workload: dict[str, list[Record]] = defaultdict(list)
    for record in measured:
        by_workload[record.key.workload].append(record)
    return [_curves(name, found, sample_set) for name, found in sorted(by_workload.items())]


def render(curves: Sequence[Curves], format_: str, width: int | None = None) -> str:
    """All curves in one text ending in a newline; `format_` is one of `table.FORMATS`. CSV has one header for all."""
    name = pick({known: known for known in FORMATS}, format_, "format")
    if name == "csv":
        return csv_text(CSV_FIELDS, [row for found in curves for row in found.csv_rows()])
    documents = [document for found in curves for document in found.documents()]
    if name == "text":
        return "\n".join(layout.text(document, min(width or PROSE_WIDTH, PROSE_WIDTH)) for document in documents)
    write = {"md": layout.markdown, "latex": layout.latex, "html": layout.html_section}[name]
    return "\n".join(write(document) for document in documents)


def curve(records: Sequence[Record]) -> tuple[CurvePoint, ...]:
    """The points of one row at one split, smallest payload first.

    The curve falls to a point where the upper end of its change's interval is below the lower end of the same for some
    smaller payload (signs turned where less is better).
    """
    points: list[CurvePoint] = []
    best_low = float("-inf")
    for record in sorted(records, key=lambda record: _groups(record)[1].payload_bytes.mean):
        task = _groups(record)[2]
        low, high = task.change_low, task.change_high
        if not task.higher_is_better:
            low, high = -high, -low
        points.append(CurvePoint(record, falls=high < best_low))
        best_low = max(best_low, low)
    return tuple(points)


def _curves(workload: str, records: Sequence[Record], sample_set: str | None) -> Curves:
    shown, left_out = one_set(records, workload, sample_set)
    _, _, task, _ = _groups(shown[0])
    points: dict[str, dict[str, tuple[CurvePoint, ...]]] = {}
    for split in splits_in_order(shown):
        at_split = [record for record in shown if record.key.split == split]
        rows = {row: [record for record in at_split if record.row == row] for row in rows_in_order(at_split)}
        points[split] = {row: curve(found) for row, found in rows.items()}
    key = shown[0].key
    return Curves(
        workload,
        points,
        (
            f"{task.n} test samples ({key.sample_set}), seed {key.seed}. bytes: mean payload, and its share of the raw "
            "tensor. bound: the Shannon bound of the payload's symbols under the prior that both sides hold, where the "
            "codec codes by one. [low, high]: 95 % bootstrap interval; change: from the uncompressed model, paired. "
            "Milliseconds are medians of one sample on one thread; state: what device and edge hold beforehand.",
            *left_out,
        ),
    )


def _block(split: str, rows: Mapping[str, Sequence[CurvePoint]]) -> layout.Block:
    task = next(_groups(point.record)[2] for points in rows.values() for point in points)
    headings = (
        "bytes (%)", "bound", f"{task.metric} {task.unit}".strip(), "change", "encode ms", "decode ms",
        "state, bytes",
    )  # fmt: skip
    alignments = ("right", "right", "left", "left", "right", "right", "right")
    lines = [(_label(row, point.record), _cells(point)) for row, points in rows.items() for point in points]
    return layout.Block("codec and point", (layout.Group(split, headings, alignments),), tuple(lines))


def _label(row: str, record: Record) -> str:
    """The row, and what of the point is not in its name."""
    point = {key: value for key, value in record.key.point.items() if f"({value})" not in row}
    return f"{row} {point_label(point)}".strip()


def _cells(point: CurvePoint) -> tuple[layout.Cell, ...]:
    tensor, size, task, time = _groups(point.record)
    mean = size.payload_bytes.mean
    bound = size.estimated_bytes
    change = layout.with_interval(task.change, task.change_low, task.change_high, f"+.{task.decimals}f")
    return (
        layout.Cell(f"{mean:,.1f} ({100 * mean / tensor.raw_bytes:.3g})"),
        layout.Cell("-" if bound is None else f"{bound:,.1f}"),
        layout.Cell(layout.with_interval(task.value, task.low, task.high, f".{task.decimals}f")),
        layout.Cell(change, _FALLS if point.falls else ""),
        layout.Cell(f"{1000 * time.encode_s.median:.3g}"),
        layout.Cell(f"{1000 * time.decode_s.median:.3g}"),
        layout.Cell(f"{size.device_state_bytes:,} + {size.edge_state_bytes:,}"),
    )


def _flat(point: CurvePoint) -> dict[str, Any]:
    record = point.record
    tensor, size, task, time = _groups(record)
    values = (
        record.key.workload, task.metric, task.unit, task.n, record.key.sample_set, record.key.seed, record.key.split,
        record.row, record.key.codec, point_label(record.key.point), size.payload_bytes.mean,
        100 * size.payload_bytes.mean / tensor.raw_bytes, size.estimated_bytes, task.value, task.low, task.high,
        task.change, task.change_low, task.change_high, record.choice.change if record.choice else None,
        1000 * time.encode_s.median, 1000 * time.decode_s.median, size.device_state_bytes, size.edge_state_bytes,
        point.falls,
    )  # fmt: skip
    return dict(zip(CSV_FIELDS, values, strict=True))


def _groups(record: Record) -> tuple[TensorGroup, Size, Task, Time]:
    assert record.tensor is not None
    assert record.size is not None
    assert record.task is not None
    assert record.time is not None
    return record.tensor, record.size, record.task, record.time
