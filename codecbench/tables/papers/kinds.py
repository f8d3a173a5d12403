"""The sheets of every kind of table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from codecbench.analysis.bd_rate import BdRates
from codecbench.analysis.budget import TWO_LOOKS, Entry, budget_of
from codecbench.analysis.curves import CurvePoint, Curves, row_and_point
from codecbench.analysis.equal_accuracy import EqualAccuracy
from codecbench.analysis.latency import LOCAL, PREDICTED_MEANS
from codecbench.analysis.other_metrics import other_values, others_of
from codecbench.analysis.published import PublishedPoint
from codecbench.analysis.selection import LOSS_TOLERANCE, change_of, groups, loss_of, origin_of
from codecbench.errors import UsageError
from codecbench.results.record import Task
from codecbench.tables import bd_rate, curves, equal_accuracy, reservations
from codecbench.tables.budget import CHOICE_MARKS, Table, choice_marks
from codecbench.tables.formats import metric_label
from codecbench.tables.papers.columns import Better, Column, metric_columns
from codecbench.tables.papers.sheet import INTERVALS, Line, Mark, Remark, Sheet
from codecbench.tables.reservations import Reservations
from codecbench.tables.training import TrainingTable

_TIMES = ("device_ms", "edge_ms", "latency_ms", "latency_p95_ms", "speed_up")
TIMES = frozenset((*_TIMES, "decode_ms"))
"""The columns of times that a machine took."""
_PREDICTED = "≈"
_CHANGED = Mark("*", "the paired 95 % interval of the change excludes zero", ("change",), without_intervals=True)
_INTERVAL = Remark("[low, high]: 95 % bootstrap interval.", (INTERVALS,))
_CHANGE = Remark("change: from the uncompressed model on the same samples, paired.", ("change",))
_PAYLOAD = Column("payload_bytes", "bytes", ",.0f", "lower")
_EXACT_PAYLOAD = Column("payload_bytes", "bytes", ",.1f", "lower")
_STATE = Column("edge_state_bytes", "edge state, bytes", ",.0f", "lower")
_ENCODE, _DECODE = Column("encode_ms", "encode ms", better="lower"), Column("decode_ms", "decode ms", better="lower")


def of_budget(table: Table) -> Sheet:
    """Returns a budget table as a sheet, Pareto-optimal in payload and loss."""
    shown, brief = ("payload_bytes", "network_ms", "value", "change"), ("payload_bytes", "change")
    return _of_entries(table, table.title, shown, brief, front="payload_bytes")


def of_latency(table: Table) -> Sheet:
    """Returns the latencies of a budget table's points as a sheet, Pareto-optimal in latency and loss."""
    title = f"{table.workload}: latency in ms within a loss of {table.context['budget']:g}, by codec and split point"
    shown, brief = ("device_ms", "network_ms", "edge_ms", "latency_ms", "speed_up"), ("latency_ms", "speed_up")
    return _of_entries(table, title, shown, brief, front="latency_ms")


def _of_entries(table: Table, title: str, shown: tuple[str, ...], brief: tuple[str, ...], front: str) -> Sheet:
    better: Better = "higher" if table.higher_is_better else "lower"
    label = f"{table.metric} {table.unit}".strip()
    kib = table.payload_unit == "KiB"
    latency = front == "latency_ms"
    ms = "" if latency else " ms"
    columns = (
        Column("payload_bytes", "KiB", ".4g", "lower") if kib else _PAYLOAD,
        Column("payload_percent", "% of raw", better="lower"),
        Column("network_ms", "network" if latency else "ms", better="lower"),
        Column("network_percent", "% of raw time", better="lower"),
        Column("device_ms", f"device{ms}", better="lower"),
        Column("edge_ms", f"edge{ms}", better="lower"),
        Column("latency_ms", f"median{ms}", better="lower"),
        Column("latency_p95_ms", f"p95{ms}", better="lower"),
        Column("speed_up", "speed-up", better="higher"),
        _DECODE,
        _STATE,
        *metric_columns(label, table.decimals, better),
        *_of_others(table.others),
        Column("point", "point", ""),
    )
    lines = (_of_entry(table, row, split, kib) for split in table.splits for row in table.rows)
    return Sheet(
        title=title,
        columns=columns,
        shown=shown,
        lines=tuple(lines),
        keys=("workload", "split", "row", "status"),
        remarks=(
            Remark(table.remarks[0]),
            *_machines(table, latency),
            _INTERVAL,
            _CHANGE,
            *(Remark(text) for text in (*table.left_out, *table.reservations.remarks)),
        ),
        details=table.remarks[1:],
        marks=(
            *(Mark(*known) for known in CHOICE_MARKS.items()),
            Mark(_PREDICTED, PREDICTED_MEANS, _TIMES),
            _CHANGED,
            *_reservation_marks(table.reservations),
        ),
        front=front,
        brief=brief,
    )


def _machines(table: Table, latency: bool) -> Iterator[Remark]:
    if table.source == "paper":
        return
    yield Remark(
        f"{'Network' if latency else 'ms'}: mean time over the link {table.context['link']}, modelled.",
        ("network_ms", "network_percent"),
    )
    yield Remark(
        f"Device {table.context['device']}: head and encode; edge {table.context['edge']}: decode and tail; medians of "
        f"one sample on one thread. Median, p95: end to end. Speed-up: over {LOCAL}, the whole network on the device.",
        _TIMES,
    )


def _of_entry(table: Table, row: str, split: str, kib: bool) -> Line:
    entry = table.entries[row, split]
    local = table.entries.get((LOCAL, split))
    fields: dict[str, Any] = {**vars(entry), **entry.others, "workload": table.workload, "speed_up": None}
    if local is not None and local.latency_ms and entry.latency_ms and row != LOCAL:
        fields["speed_up"] = local.latency_ms / entry.latency_ms
    if kib and entry.payload_bytes is not None:
        fields["payload_bytes"] = entry.payload_bytes / 1024
    marks = choice_marks(entry) + (_PREDICTED if entry.predicted else "") + (_CHANGED.symbol if entry.changed else "")
    within = not entry.over_budget and not entry.over_on_test
    return Line(
        row, row, split, fields, _status(entry), marks + table.reservations.marks_of(entry.origin), entry.notes,
        candidate=within and row not in (LOCAL, TWO_LOOKS),
    )  # fmt: skip


def _status(entry: Entry) -> str:
    if entry.status == "ok":
        return ""
    return "-" if entry.status in ("no such point", "not run", "undefined") else entry.status


def _of_others(others: Iterable[Task]) -> tuple[Column, ...]:
    return tuple(Column(other.metric, metric_label(other), f".{other.decimals}f", _better(other)) for other in others)


def _better(task: Task) -> Better:
    return "higher" if task.higher_is_better else "lower"


def _reservation_marks(found: Reservations) -> Iterator[Mark]:
    return (Mark(symbol, meaning) for symbol, meaning in found.marks)


def of_curves(found: Curves, budgets: float | Mapping[str, float]) -> Sheet:
    """Returns all operating points as a sheet; those within the workload's budget, if one is known, can be the best."""
    points = [point for rows in found.points.values() for of_row in rows.values() for point in of_row]
    records = [point.record for point in points]
    reserved = reservations.of_records(records)
    others = others_of(records)
    task = groups(records[0]).task
    try:
        budget = budget_of(found.workload, budgets, records)
    except UsageError:
        budget = float("inf")
    flat = curves.csv_rows(found)
    columns = (
        _EXACT_PAYLOAD,
        Column("payload_percent", "% of raw", better="lower"),
        Column("bound_bytes", "bound, bytes", ",.1f"),
        *metric_columns(metric_label(task), task.decimals, _better(task)),
        Column("choice_change", "change on the choice", f"+.{task.decimals}f", _better(task)),
        *_of_others(others),
        _ENCODE,
        _DECODE,
        Column("device_state_bytes", "device state, bytes", ",.0f", "lower"),
        _STATE,
        Column("codec", "codec", ""),
        Column("point", "point", ""),
    )
    return Sheet(
        title=f"{found.workload}: every operating point, by payload",
        columns=columns,
        shown=("payload_bytes", "value", "change"),
        brief=("payload_bytes", "change"),
        lines=tuple(_of_point(*pair, budget, reserved) for pair in zip(points, flat, strict=True)),
        keys=("workload", "split", "row", "point"),
        stub="codec and point",
        remarks=(
            Remark(f"{found.n} test samples ({found.sample_set}), seed {found.seed}."),
            _INTERVAL,
            _CHANGE,
            Remark("Times are medians of one sample on one thread.", ("encode_ms", "decode_ms")),
            Remark(
                "Bound: the Shannon bound of the payload's symbols under the prior of both sides.", ("bound_bytes",)
            ),
            *(Remark(text) for text in (*found.left_out, *reserved.remarks)),
        ),
        marks=(*(Mark(*known) for known in curves.MARKS), _CHANGED, *_reservation_marks(reserved)),
        front="payload_bytes",
        side_by_side=False,
    )


def _of_point(point: CurvePoint, flat: Mapping[str, Any], budget: float, reserved: Reservations) -> Line:
    record = point.record
    task = groups(record).task
    change, deciding = change_of(task), change_of(record.choice) or change_of(task)
    changed = change is not None and not change.low <= 0 <= change.high
    marks = (curves.FALLS if point.falls else "") + (_CHANGED.symbol if changed else "")
    within = deciding is not None and loss_of(deciding, task).loss <= budget + LOSS_TOLERANCE
    return Line(
        record.row, row_and_point(record), record.key.split, {**flat, **other_values(record)},
        marks=marks + reserved.marks_of(origin_of(record)), candidate=within,
    )  # fmt: skip


def of_bd_rates(found: BdRates) -> Sheet:
    """Returns BD-rates as a sheet."""
    reserved = reservations.of_origins(origin for origins in found.origins.values() for origin in origins)
    several = len(found.values) > 1
    lines = []
    for flat in bd_rate.csv_rows(found):
        missing = flat["bd_rate_percent"] is None
        split = f"{flat['split']}, {flat['metric']}" if several else flat["split"]
        marks = "" if missing else reserved.marks_of(*found.origins_of(flat["row"], flat["split"]))
        notes = (flat["reason"],) if missing else ()
        lines.append(Line(flat["row"], flat["row"], split, flat, "-" if missing else "", marks, notes))
    decimals = max(found.decimals.values(), default=1)
    return Sheet(
        title=f"{found.workload}: bytes at equal metric, in % of {found.anchor} (BD-rate)",
        columns=(
            Column("bd_rate_percent", "% bytes", "+.1f", "lower"),
            Column("from", "from", f".{decimals}f"),
            Column("to", "to", f".{decimals}f"),
            Column("overlap", "overlap", ".2f"),
            Column("points", "points", ".0f"),
            Column("dropped", "left out", ".0f"),
            Column("anchor_points", "points of the anchor", ".0f"),
            Column("anchor_dropped", "left out of the anchor", ".0f"),
        ),
        shown=("bd_rate_percent", "from", "to", "dropped"),
        lines=tuple(lines),
        keys=("workload", "metric", "anchor", "split", "row", "reason"),
        remarks=(
            Remark(f"{found.n} test samples ({found.sample_set}), seed {found.seed}. BD-rate with PCHIP."),
            Remark("From, to: the range of the metric that both curves cover.", ("from", "to")),
            Remark("Left out: points that a smaller payload of the row equals or beats.", ("dropped",)),
            *(Remark(text) for text in (*found.left_out, *reserved.remarks)),
        ),
        marks=tuple(_reservation_marks(reserved)),
    )


def of_equal_accuracy(found: EqualAccuracy) -> Sheet:
    """Returns the bytes at one loss as a sheet; the ratio to the first anchor is `ratio`, to others `ratio:ROW`."""
    reserved = reservations.of_origins(found.origins)
    names = {anchor: f"ratio:{anchor}" if place else "ratio" for place, anchor in enumerate(found.anchors)}
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for flat in equal_accuracy.csv_rows(found):
        fields = lines.setdefault((flat["split"], flat["row"]), {**flat})
        if flat["anchor"]:
            name = names[flat["anchor"]]
            fields |= {name: flat["ratio"], f"{name}_low": flat["ratio_low"], f"{name}_high": flat["ratio_high"]}
    ratios = [
        Column(name, f"x {anchor}", ".2f", "lower", (f"{name}_low", f"{name}_high")) for anchor, name in names.items()
    ]
    loss = f"{found.budget:g} {'points' if found.unit == '%' else found.unit} of {found.metric}".replace("  ", " ")
    return Sheet(
        title=f"{found.workload}: bytes at a loss of {loss}, interpolated",
        columns=(
            Column("payload_bytes", "bytes", ",.0f", "lower", ("low", "high")), *ratios, _ENCODE, _DECODE, _STATE,
            Column("finer_point", "finer point", ""),
        ),
        shown=("payload_bytes", *names.values()),
        lines=tuple(_of_rate(fields, reserved, found) for fields in lines.values()),
        keys=("workload", "split", "row", "reason"),
        remarks=(
            Remark(f"{found.n} test samples ({found.sample_set}), seed {found.seed}. Interpolated between two points."),
            _INTERVAL,
            *(Remark(text) for text in (*found.left_out, *reserved.remarks)),
        ),
        marks=(Mark(equal_accuracy.UPPER_BOUND, equal_accuracy.UPPER_BOUND_MEANS), *_reservation_marks(reserved)),
    )  # fmt: skip


def _of_rate(fields: Mapping[str, Any], reserved: Reservations, found: EqualAccuracy) -> Line:
    missing = fields["payload_bytes"] is None
    origins = [origin for origin in found.origins if origin.row == fields["row"]]
    marks = "" if missing else (equal_accuracy.UPPER_BOUND if fields["upper_bound"] else "")
    return Line(
        fields["row"], fields["row"], fields["split"], fields, "-" if missing else "",
        marks + reserved.marks_of(*origins), (fields["reason"],) if missing else (),
    )  # fmt: skip


def of_trainings(table: TrainingTable) -> Sheet:
    """Returns the times to fit codecs as a sheet."""
    flat = [fields for fields in table.csv_rows() if "split" in fields]
    reserved = table.reservations
    return Sheet(
        title=f"{table.workload}: time to fit a codec, by split point",
        columns=(
            Column("fit_mean_s", "seconds", better="lower", interval=("fit_min_s", "fit_max_s")),
            Column("training_percent", "% of training", better="lower"),
            Column("points", "points", ".0f"),
        ),
        shown=("fit_mean_s", "training_percent"),
        lines=tuple(
            Line(
                fields["row"], fields["row"], fields["split"], fields,
                marks=reserved.marks_of(*table.fits[fields["row"], fields["split"]].origins),
            )
            for fields in sorted(flat, key=lambda fields: table.splits.index(fields["split"]))
        ),
        keys=("workload", "split", "row"),
        remarks=tuple(Remark(text) for text in (*table.remarks, *reserved.remarks)),
        marks=tuple(_reservation_marks(reserved)),
    )  # fmt: skip


def of_published(points: Sequence[PublishedPoint]) -> Sheet:
    """Returns the points that other projects have published as a sheet; footnotes say what they are of."""
    ordered = sorted(points, key=lambda point: (point.metric, point.system, point.variant, point.payload_bytes))
    sources = dict.fromkeys((point.system, point.source) for point in ordered)
    lines = (
        Line(
            f"{point.system} {point.variant}", f"{point.system} {point.variant}", "",
            {**vars(point), "change": point.change},
            notes=(f"{point.model}, {point.data}; bytes: {point.accounting}.",), candidate=False,
        )
        for point in ordered
    )  # fmt: skip
    return Sheet(
        title="Published by other projects, not measured here",
        columns=(
            Column("payload_bytes", "bytes", ",.0f", "lower"), Column("metric", "metric", ""),
            Column("value", "value", ".1f"), Column("uncompressed", "uncompressed", ".1f"),
            Column("change", "change", "+.1f"),
        ),
        shown=("payload_bytes", "metric", "value", "uncompressed", "change"),
        lines=tuple(lines),
        keys=("system", "variant"),
        stub="system",
        remarks=tuple(Remark(f"{system}: {source}.") for system, source in sources),
    )  # fmt: skip
