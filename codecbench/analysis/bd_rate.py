"""BD-rate: how many percent more or fewer bytes a row takes than an anchor row, at equal metric, on average.

G. Bjøntegaard, Calculation of average PSNR differences between RD-curves, ITU-T VCEG-M33, 2001: the mean, over the
metric range that both curves cover, of the difference in log bytes. Curves are interpolated by PCHIP, which keeps them
monotone (Herglotz et al., Beyond Bjøntegaard, 2022, compare the ways); the package `bjontegaard` computes it.

A curve of accuracy is noisy, so only its upper envelope counts: the points that no smaller payload equals or beats. A
number is given where both envelopes hold four points or more, cover enough of the same range, and that range is wider
than the uncertainty of the metric; elsewhere stands the reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from codecbench.analysis.selection import one_set, rows_in_order, splits_in_order
from codecbench.errors import UsageError
from codecbench.names import pick
from codecbench.results.record import Record
from codecbench.tables import document as layout
from codecbench.tables.formats import FORMATS, PROSE_WIDTH, batches, csv_text

MIN_POINTS = 4
MIN_OVERLAP = 0.5
"""Both curves have to cover at least so much of the narrower one's range."""

PSNR = "PSNR"
SPLITS_PER_BLOCK = 3
CSV_FIELDS = (
    "workload", "metric", "anchor", "row", "split", "bd_rate_percent", "from", "to", "overlap", "points", "dropped",
    "anchor_points", "anchor_dropped", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class Envelope:
    """The upper envelope of a row's curve: bytes, and the metric turned so that more is better, both rising.

    `dropped` counts the points that a smaller payload equals or beats; `noise` is the median half-width of the points'
    intervals of change, 0 where there are none.
    """

    payload_bytes: tuple[float, ...] = ()
    metric: tuple[float, ...] = ()
    dropped: int = 0
    noise: float = 0.0

    @property
    def points(self) -> int:
        """How many points it has."""
        return len(self.metric)


@dataclass(frozen=True)
class BdRate:
    """One row against the anchor at one split. `percent` is None where `reason` says why.

    Negative is better: so many percent fewer bytes at equal metric, over the metric from `low` to `high`, in its own
    unit and direction. `overlap` is that range's share of the narrower curve's.
    """

    percent: float | None
    reason: str
    low: float | None
    high: float | None
    overlap: float | None
    curve: Envelope
    anchor: Envelope


@dataclass(frozen=True)
class BdRates:
    """The BD-rates of one workload against one anchor.

    `values` holds them by metric (the task's, and PSNR at an image input), split and row; `units` and `decimals` are
    those of a metric.
    """

    workload: str
    anchor: str
    units: Mapping[str, str]
    decimals: Mapping[str, int]
    values: Mapping[str, Mapping[str, Mapping[str, BdRate]]]
    remarks: tuple[str, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """Every row but the anchor, in the order of the tables."""
        return tuple(dict.fromkeys(row for splits in self.values.values() for rows in splits.values() for row in rows))

    def document(self, splits_per_block: int = SPLITS_PER_BLOCK) -> layout.Document:
        """The numbers as blocks of formatted cells, a group a metric and split; reasons are footnotes."""
        notes: dict[str, int] = {}
        places = [(metric, split) for metric, splits in self.values.items() for split in splits]
        blocks = tuple(self._block(chunk, notes) for chunk in batches(places, splits_per_block))  # type: ignore[arg-type]
        return layout.Document(
            title=f"{self.workload}: bytes at equal metric, in % of {self.anchor} (BD-rate)",
            blocks=blocks,
            remarks=self.remarks,
            notes=tuple(notes),
        )

    def csv_rows(self) -> list[dict[str, Any]]:
        """One flat line a value, numbers unrounded, by the names in CSV_FIELDS."""
        return [
            dict(zip(CSV_FIELDS, (
                self.workload, metric, self.anchor, row, split, found.percent, found.low, found.high, found.overlap,
                found.curve.points, found.curve.dropped, found.anchor.points, found.anchor.dropped, found.reason,
            ), strict=True))
            for metric, splits in self.values.items() for split, rows in splits.items() for row, found in rows.items()
        ]  # fmt: skip

    def _block(self, places: Sequence[tuple[str, str]], notes: dict[str, int]) -> layout.Block:
        names = {metric: f"{metric} {unit}".strip() for metric, unit in self.units.items()}
        groups = tuple(
            layout.Group(split, ("% bytes", f"{names[metric]} from - to", "left out"), ("right", "left", "right"))
            for metric, split in places
        )
        lines = []
        for row in self.rows:
            cells = [self._cells(metric, self.values[metric][split].get(row), notes) for metric, split in places]
            lines.append((row, tuple(cell for of_one in cells for cell in of_one)))
        return layout.Block("codec", groups, tuple(lines))

    def _cells(self, metric: str, found: BdRate | None, notes: dict[str, int]) -> tuple[layout.Cell, ...]:
        if found is None:
            return (layout.Cell("-"), layout.Cell(), layout.Cell())
        left_out = layout.Cell(str(found.curve.dropped))
        if found.percent is None:
            number = notes.setdefault(found.reason, len(notes) + 1)
            return (layout.Cell("-", notes=(number,)), layout.Cell(), left_out)
        spec = f".{self.decimals[metric]}f"
        covered = layout.Cell(f"{found.low:{spec}} - {found.high:{spec}}")
        return (layout.Cell(_percent(found.percent)), covered, left_out)


def build(records: Sequence[Record], anchor: str, sample_set: str | None = None) -> list[BdRates]:
    """The BD-rates of each workload's rows against the row `anchor`, workloads by name.

    Sample sets are chosen as in a table; see `table.build`. Bytes are mean payloads, metrics those of the test samples.
    Raises UsageError where no record was measured or no workload has the anchor.
    """
    measured = [record for record in records if record.status == "ok"]
    if not measured:
        raise UsageError("there are no measured records; `codecbench run` makes some")
    pick({record.row: None for record in measured}, anchor, "row in these records:")
    by_workload: dict[str, list[Record]] = defaultdict(list)
    for record in measured:
        by_workload[record.key.workload].append(record)
    shown = {name: one_set(found, name, sample_set) for name, found in sorted(by_workload.items())}
    found = [
        _bd_rates(name, of_one, anchor, left_out)
        for name, (of_one, left_out) in shown.items()
        if any(record.row == anchor for record in of_one)
    ]
    if not found:
        raise UsageError(f"the row {anchor!r} has no measured records in the sample set that is shown; choose another")
    return found


def render(found: Sequence[BdRates], format: str, width: int | None = None) -> str:  # noqa: A002
    """All of them as text ending in a newline; `format` is one of `table.FORMATS`. CSV has one header for all."""
    name = pick({known: known for known in FORMATS}, format, "format")
    if name == "csv":
        return csv_text(CSV_FIELDS, [row for rates in found for row in rates.csv_rows()])
    if name == "text":
        return "\n".join(_fitting_text(rates, width) for rates in found)
    write = {"md": layout.markdown, "latex": layout.latex, "html": layout.html_section}[name]
    return "\n".join(write(rates.document()) for rates in found)


def default_anchor(records: Sequence[Record]) -> str | None:
    """A row to compare with, where none is asked for: the one with a curve at the most splits, then of the most points.

    None where no row has a curve of four points.
    """
    envelopes = {
        place: envelope(_points(found))
        for place, found in _by_place(record for record in records if record.status == "ok").items()
    }
    usable: dict[str, list[int]] = defaultdict(list)
    for (row, _), found in envelopes.items():
        if found.points >= MIN_POINTS:
            usable[row].append(found.points)
    return max(sorted(usable), key=lambda row: (len(usable[row]), sum(usable[row])), default=None)


def envelope(points: Iterable[tuple[float, float, float]]) -> Envelope:
    """The upper envelope of (bytes, metric with more being better, half-width of its interval)."""
    best = float("-inf")
    kept: list[tuple[float, float]] = []
    widths: list[float] = []
    dropped = 0
    for payload_bytes, metric, half_width in sorted(points, key=lambda point: (point[0], -point[1])):
        widths.append(half_width)
        if metric > best:
            kept.append((payload_bytes, metric))
            best = metric
        else:
            dropped += 1
    return Envelope(
        tuple(size for size, _ in kept), tuple(metric for _, metric in kept), dropped, median(widths) if widths else 0.0
    )


def compare(curve: Envelope, anchor: Envelope, sign: int = 1) -> BdRate:
    """A row's envelope against the anchor's. `sign` is -1 where the metric was turned; its range is told unturned."""

    def refused(reason: str, overlap: float | None = None) -> BdRate:
        return BdRate(None, reason, None, None, overlap, curve, anchor)

    if anchor.points < MIN_POINTS:
        return refused(f"the anchor's curve has {_points_told(anchor)}, and a BD-rate takes {MIN_POINTS}")
    if curve.points < MIN_POINTS:
        return refused(f"its curve has {_points_told(curve)}, and a BD-rate takes {MIN_POINTS}")
    low, high = max(curve.metric[0], anchor.metric[0]), min(curve.metric[-1], anchor.metric[-1])
    if low >= high:
        return refused("the two curves have no metric in common", 0.0)
    overlap = (high - low) / min(curve.metric[-1] - curve.metric[0], anchor.metric[-1] - anchor.metric[0])
    if overlap < MIN_OVERLAP:
        return refused(f"the two curves have less than {100 * MIN_OVERLAP:.0f} % of a range in common", overlap)
    if high - low < max(curve.noise, anchor.noise):
        return refused("the common range is narrower than the uncertainty of a change of the metric", overlap)
    ends = sorted((sign * low, sign * high))
    return BdRate(_bd_rate_percent(curve, anchor), "", ends[0], ends[1], overlap, curve, anchor)


def _bd_rate_percent(curve: Envelope, anchor: Envelope) -> float:
    try:
        import bjontegaard
    except ModuleNotFoundError as error:
        raise UsageError("BD-rates need bjontegaard; run: pip install 'codecbench[figures]'") from error
    return float(
        bjontegaard.bd_rate(
            anchor.payload_bytes, anchor.metric, curve.payload_bytes, curve.metric, method="pchip",
            require_matching_points=False, min_overlap=0,
        )
    )  # fmt: skip


def _bd_rates(workload: str, records: Sequence[Record], anchor: str, left_out: Sequence[str]) -> BdRates:
    places = _by_place(records)
    task = _task(records[0])
    sign = 1 if task.higher_is_better else -1
    rows = [row for row in rows_in_order(records) if row != anchor]
    values: dict[str, dict[str, dict[str, BdRate]]] = {task.metric: {}}
    for split in splits_in_order(records):
        base = envelope(_points(places.get((anchor, split), ())))
        values[task.metric][split] = {
            row: compare(envelope(_points(places[row, split])), base, sign) for row in rows if (row, split) in places
        }
        base = envelope(_psnr_points(places.get((anchor, split), ())))
        if base.points:
            curves = {row: envelope(_psnr_points(places.get((row, split), ()))) for row in rows}
            values.setdefault(PSNR, {})[split] = {
                row: compare(found, base) for row, found in curves.items() if found.points
            }
    key = records[0].key
    return BdRates(
        workload,
        anchor,
        {PSNR: "dB", task.metric: task.unit},
        {PSNR: 1, task.metric: task.decimals},
        {metric: {split: rows for split, rows in splits.items() if rows} for metric, splits in values.items()},
        (
            f"{task.n} test samples ({key.sample_set}), seed {key.seed}. % bytes: mean bytes above or, negative, below "
            f"{anchor} at equal {task.metric}, averaged over the range of it that both curves cover (from - to): "
            "BD-rate with PCHIP. left out: points of the row that one of its smaller payloads equals or beats.",
            *left_out,
        ),
    )


def _by_place(records: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    found: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        found[record.row, record.key.split].append(record)
    return found


def _points(records: Iterable[Record]) -> list[tuple[float, float, float]]:
    """Bytes, metric with more being better, and the half-width of the change's interval."""
    points = []
    for record in records:
        task = _task(record)
        sign = 1 if task.higher_is_better else -1
        points.append((_payload_bytes(record), sign * task.value, (task.change_high - task.change_low) / 2))
    return points


def _psnr_points(records: Iterable[Record]) -> list[tuple[float, float, float]]:
    return [
        (_payload_bytes(record), record.quality.psnr_db, 0.0)
        for record in records
        if record.quality is not None and record.quality.psnr_db is not None
    ]


def _payload_bytes(record: Record) -> float:
    assert record.size is not None
    return record.size.payload_bytes.mean


def _task(record: Record) -> Any:
    assert record.task is not None
    return record.task


def _points_told(found: Envelope) -> str:
    points = f"{found.points} point{'' if found.points == 1 else 's'}"
    return f"{points} on its envelope"


def _percent(percent: float) -> str:
    return f"{percent:+,.0f}" if abs(percent) >= 99.95 else f"{percent:+.1f}"


def _fitting_text(rates: BdRates, width: int | None) -> str:
    """The table with as many splits in a block as the width allows."""
    for splits_per_block in range(SPLITS_PER_BLOCK, 0, -1):
        document = rates.document(splits_per_block)
        if width is None or all(layout.text_width(block) <= width for block in document.blocks):
            break
    return layout.text(document, min(width or PROSE_WIDTH, PROSE_WIDTH))
