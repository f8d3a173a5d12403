"""Records to the paper's Table 1: a row per codec, and per split its payload, network time, accuracy and change.

A table is derived from records, a link and two machines; it runs nothing and reads no clock. For a budget, each codec
stands with the operating point of the smallest payload that stays within it. The point is chosen on held-out training
samples (the record's `choice` group) and scored on test samples (its `task` group). `latency_table` shows the latency
of the same entries.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from typing import Any, Literal, TypeAlias

from codecbench.analysis import latency
from codecbench.analysis.latency import LOCAL, Latency, Scenario
from codecbench.codec import DataError, UsageError
from codecbench.registry import pick
from codecbench.results.cell import point_label
from codecbench.results.record import Record, Size, Task, TensorGroup
from codecbench.tables import document as layout

FORMATS = ("text", "md", "csv", "latex", "html")
SPLITS_PER_BLOCK = 3

Intervals: TypeAlias = Literal["all", "value", "none"]
"""Which intervals are shown: narrow terminals have no room for all."""
Status: TypeAlias = Literal["ok", "skipped", "failed", "not run", "no such point"]

_EPSILON = 1e-9
_OVER, _UNCERTAIN, _ON_TEST, _CHANGED = "†", "~", "‡", "*"
_MARKS = {
    _OVER: "no point is within the budget on the samples of the choice: the best of them",
    _UNCERTAIN: "the paired interval on the samples of the choice crosses the budget",
    _ON_TEST: "chosen on the test samples: the records hold no other",
    _CHANGED: "the paired 95 % interval of the change, not shown at this width, excludes zero",
}
PROSE_WIDTH = 100


@dataclass(frozen=True)
class Entry:
    """One row at one split. What was not measured is None; percentages are of the raw tensor.

    `latency_ms` is the median of the end-to-end latency, `device_ms` and `edge_ms` of what either side does of it;
    `predicted` names, with spaces between, the steps that a device profile gave.
    `over_budget`: no point is within the budget. `uncertain`: the paired interval of the choice crosses the budget.
    `chosen_on_test`: the records hold no choice samples. `notes` says why points are missing.
    """

    row: str
    split: str
    status: Status
    codec: str = ""
    point: str = ""
    payload_bytes: float | None = None
    payload_percent: float | None = None
    network_ms: float | None = None
    network_percent: float | None = None
    device_ms: float | None = None
    edge_ms: float | None = None
    latency_ms: float | None = None
    latency_p95_ms: float | None = None
    predicted: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    over_budget: bool = False
    uncertain: bool = False
    chosen_on_test: bool = False
    notes: tuple[str, ...] = ()

    @property
    def marks(self) -> str:
        """The marks of the choice, one character each."""
        flags = ((self.over_budget, _OVER), (self.uncertain, _UNCERTAIN), (self.chosen_on_test, _ON_TEST))
        return "".join(mark for flag, mark in flags if flag)

    @property
    def changed(self) -> bool:
        """Whether the paired interval of the change excludes zero."""
        return (
            self.change_low is not None
            and self.change_high is not None
            and not self.change_low <= 0 <= self.change_high
        )


@dataclass(frozen=True)
class Table:
    """One workload's table, or one of the paper's.

    `entries` holds one entry for every pair of a row and a split. `context` holds the columns that are the same in
    every line of the CSV: sample set, seed, link, budget.
    """

    title: str
    source: Literal["measured", "paper"]
    workload: str
    metric: str
    unit: str
    decimals: int
    splits: tuple[str, ...]
    rows: tuple[str, ...]
    entries: Mapping[tuple[str, str], Entry]
    remarks: tuple[str, ...]
    context: Mapping[str, Any]
    payload_unit: Literal["bytes", "KiB"] = "bytes"

    def render(self, format: str, width: int | None = None) -> str:  # noqa: A002
        """The table as text ending in a newline; `format` is one of FORMATS, `width` the columns of a terminal.

        Splits stand three a block, and blocks are stacked; "text" puts fewer in a block where `width` asks for it, and
        leaves intervals out where not even one split fits with them. Raises UsageError for an unknown format.
        """
        return render([self], format, width)

    def document(self, splits_per_block: int = SPLITS_PER_BLOCK, intervals: Intervals = "all") -> layout.Document:
        """The table as blocks of formatted cells."""
        notes: dict[str, int] = {}
        blocks = tuple(self._block(splits, intervals, notes) for splits in batches(self.splits, splits_per_block))
        used = {mark for block in blocks for _, cells in block.rows for cell in cells for mark in cell.marks}
        return layout.Document(
            title=self.title,
            blocks=blocks,
            remarks=self.remarks,
            marks=tuple((mark, meaning) for mark, meaning in _MARKS.items() if mark in used),
            notes=tuple(notes),
        )

    def csv_rows(self) -> Iterator[dict[str, Any]]:
        """One flat line an entry, numbers unrounded, by the names in CSV_FIELDS."""
        for row in self.rows:
            for split in self.splits:
                entry = self.entries[row, split]
                fields = {name: getattr(entry, name) for name in Entry.__dataclass_fields__}
                yield {
                    "source": self.source,
                    "workload": self.workload,
                    "metric": self.metric,
                    "unit": self.unit,
                    **self.context,
                    **fields,
                    "notes": "; ".join(entry.notes),
                }

    def _block(self, splits: Sequence[str], intervals: Intervals, notes: dict[str, int]) -> layout.Block:
        value = f"{self.metric} {self.unit}".strip()
        headings = (f"{self.payload_unit} (%)", "ms (%)", value, "change")
        groups = tuple(layout.Group(split, headings, ("right", "right", "left", "left")) for split in splits)
        rows = []
        for row in self.rows:
            cells = [self._cells(self.entries[row, split], intervals, notes) for split in splits]
            rows.append((row, tuple(chain.from_iterable(cells))))
        return layout.Block("codec", groups, tuple(rows))

    def _cells(self, entry: Entry, intervals: Intervals, notes: dict[str, int]) -> tuple[layout.Cell, ...]:
        numbers = tuple(notes.setdefault(note, len(notes) + 1) for note in entry.notes)
        if entry.status != "ok":
            text = "-" if entry.status == "no such point" else entry.status
            return (layout.Cell(text, notes=numbers), layout.Cell(), layout.Cell(), layout.Cell())
        low, high = (None, None) if intervals == "none" else (entry.low, entry.high)
        change_low, change_high = (entry.change_low, entry.change_high) if intervals == "all" else (None, None)
        change = layout.with_interval(entry.change, change_low, change_high, f"+.{self.decimals}f")
        marks = entry.marks + (_CHANGED if intervals != "all" and entry.changed else "")
        return (
            layout.Cell(_with_percent(self._payload(entry.payload_bytes), entry.payload_percent)),
            layout.Cell(_with_percent(short(entry.network_ms), entry.network_percent)),
            layout.Cell(layout.with_interval(entry.value, low, high, f".{self.decimals}f")),
            layout.Cell(change, marks, numbers),
        )

    def _payload(self, payload_bytes: float | None) -> str:
        if payload_bytes is None:
            return "-"
        return f"{payload_bytes / 1024:.4g}" if self.payload_unit == "KiB" else f"{payload_bytes:,.0f}"


CSV_FIELDS = (
    "source", "workload", "metric", "unit", "n", "sample_set", "seed", "budget", "link", "device", "edge",
    *Entry.__dataclass_fields__,
)  # fmt: skip


def build(
    records: Sequence[Record],
    *,
    budgets: float | Mapping[str, float],
    scenario: Scenario,
    paper: bool = False,
    sample_set: str | None = None,
) -> list[Table]:
    """One table a workload, by name; with `paper`, the paper's tables of the same kind of metric follow.

    `budgets` is the accepted loss in the metric's own unit: one for all workloads, or one for each. Where a workload's
    records are of several sample sets or seeds, the largest set (the best filled, the lowest seed) is shown unless
    `sample_set` names one, and the table says what it leaves out. Raises UsageError where a workload has no budget or
    no such records.
    """
    if not records:
        raise UsageError("there are no records to tabulate; `codecbench run` makes some")
    by_workload: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_workload[record.key.workload].append(record)
    tables = [
        _workload_table(name, found, _budget_of(name, budgets), scenario, sample_set)
        for name, found in sorted(by_workload.items())
    ]
    if paper:
        directions = {r.task.higher_is_better for r in records if r.task}
        tables += [table for higher, table in paper_tables() if higher in directions]
    return tables


def render(tables: Sequence[Table], format: str, width: int | None = None) -> str:  # noqa: A002
    """All tables in one text; see `Table.render`. CSV has one header for all."""
    name = pick({known: known for known in FORMATS}, format, "format")
    if name == "csv":
        return csv_text(CSV_FIELDS, chain.from_iterable(table.csv_rows() for table in tables))
    if name == "text":
        return "\n".join(_fitting_text(table, width) for table in tables)
    write = {"md": layout.markdown, "latex": layout.latex, "html": layout.html_section}[name]
    return "\n".join(write(table.document()) for table in tables)


def _fitting_text(table: Table, width: int | None) -> str:
    """The table with as many splits in a block as the width allows."""
    if width is None:
        return layout.text(table.document(), PROSE_WIDTH)
    shapes: list[tuple[int, Intervals]] = [(count, "all") for count in range(SPLITS_PER_BLOCK, 0, -1)]
    for splits_per_block, intervals in [*shapes, (1, "value"), (1, "none")]:
        document = table.document(splits_per_block, intervals)
        if all(layout.text_width(block) <= width for block in document.blocks):
            break
    return layout.text(document, min(width, PROSE_WIDTH))


def csv_text(fields: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A header and the rows, as CSV."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _budget_of(workload: str, budgets: float | Mapping[str, float]) -> float:
    budget = budgets.get(workload) if isinstance(budgets, Mapping) else budgets
    if budget is None:
        raise UsageError(f"no budget is known for workload {workload!r}; give one with --budget")
    if not budget >= 0:
        raise UsageError(f"a budget is an accepted loss of at least 0, not {budget:g}")
    return budget


def _workload_table(
    workload: str, records: Sequence[Record], budget: float, scenario: Scenario, sample_set: str | None
) -> Table:
    shown, left_out = one_set(records, workload, sample_set)
    task = next((record.task for record in shown if record.task), None)
    metric, unit, decimals = (task.metric, task.unit, task.decimals) if task else ("value", "", 1)
    splits = splits_in_order(shown)
    rows = rows_in_order(shown)
    entries = {(row, split): _entry(row, split, shown, budget, scenario) for row in rows for split in splits}
    if task:
        whole = latency.local(shown, scenario)
        entries |= {(LOCAL, split): _local_entry(split, shown, whole) for split in splits}
        rows = (*rows, LOCAL)
    key, link = shown[0].key, scenario.link
    loss = f"{budget:g} {f'points of {metric}' if unit == '%' else f'{unit} of {metric}'.strip()}"
    return Table(
        title=f"{workload}: smallest payload within a loss of {loss}, by codec and split point",
        source="measured",
        workload=workload,
        metric=metric,
        unit=unit,
        decimals=decimals,
        splits=splits,
        rows=rows,
        entries=entries,
        remarks=(
            _samples_remark(shown, loss),
            f"ms: network time of the mean payload over the link {link.name} ({link.description}), modelled. "
            f"Percentages are of the raw {_dtypes(shown)} tensor.",
            "[low, high]: 95 % bootstrap interval. change: from the uncompressed model on the same samples, paired. "
            f"{LOCAL}: the whole network on the device.",
            f"Measured on {_machines(shown)}.",
            *_points_remark(entries.values()),
            *left_out,
        ),
        context={
            "n": task.n if task else None,
            "sample_set": key.sample_set,
            "seed": key.seed,
            "budget": budget,
            "link": link.name,
            "device": scenario.device_name,
            "edge": scenario.edge_name,
        },
    )


def one_set(records: Sequence[Record], workload: str, sample_set: str | None) -> tuple[list[Record], list[str]]:
    """The records of one sample set and seed, each codec in its newest version, and remarks on what was left out."""
    groups: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.key.sample_set, record.key.seed].append(record)
    candidates = [key for key in groups if sample_set in (None, key[0])]
    if not candidates:
        known = ", ".join(sorted({name for name, _ in groups}))
        raise UsageError(f"workload {workload!r} has no records of the sample set {sample_set!r}; there are: {known}")

    def rank(key: tuple[str, int]) -> tuple[int, int, int, str]:
        tasks = [record.task for record in groups[key] if record.task]
        return (-max((task.n for task in tasks), default=0), -len(tasks), key[1], key[0])

    chosen = min(candidates, key=rank)
    remarks = [
        f"Left out: {_count(len(found), 'record')} of the sample set {name}, seed {seed}."
        for (name, seed), found in sorted(groups.items())
        if (name, seed) != chosen
    ]
    newest: dict[str, int] = {}
    for record in groups[chosen]:
        newest[record.key.codec] = max(record.key.codec_version, newest.get(record.key.codec, 0))
    shown = [record for record in groups[chosen] if record.key.codec_version == newest[record.key.codec]]
    older = len(groups[chosen]) - len(shown)
    if older:
        remarks.append(f"Left out: {_count(older, 'record')} of older codec versions.")
    return shown, remarks


def splits_in_order(records: Iterable[Record]) -> tuple[str, ...]:
    """Splits by depth: by the head's FLOPs, then by its time; splits without either come last, by name."""
    depth: dict[str, tuple[float, float]] = {}
    unknown = (float("inf"), float("inf"))
    for record in records:
        flop = record.cost.head_flop if record.cost and record.cost.head_flop is not None else float("inf")
        head_s = record.time.head_s.median if record.time else float("inf")
        depth[record.key.split] = min(depth.get(record.key.split, unknown), (flop, head_s))
    return tuple(sorted(depth, key=lambda split: (depth[split], split)))


def rows_in_order(records: Iterable[Record]) -> tuple[str, ...]:
    """Codecs by name, then the rows that are single points of a codec, as the paper puts the plain tensor last."""
    points: dict[str, set[str]] = defaultdict(set)
    single: dict[str, bool] = {}
    for record in records:
        points[record.row].add(point_label(record.key.point))
        single[record.row] = record.row != record.key.codec and len(points[record.row]) == 1
    return tuple(sorted(points, key=lambda row: (single[row], row)))


def _entry(row: str, split: str, records: Sequence[Record], budget: float, scenario: Scenario) -> Entry:
    """The row's cell at the split: the chosen point, or what stands in its place."""
    codec = next(record.key.codec for record in records if record.row == row)
    at_split = [record for record in records if record.key.split == split]
    candidates = [record for record in at_split if record.row == row]
    if not candidates:
        elsewhere = any(record.key.codec == codec for record in at_split)
        return Entry(row, split, "no such point" if elsewhere else "not run", codec)
    measured = [record for record in candidates if record.status == "ok"]
    notes = tuple(_hole_notes(candidates, every=not measured))
    if not measured:
        failed = any(record.status == "failed" for record in candidates)
        return Entry(row, split, "failed" if failed else "skipped", codec, notes=notes)
    return _chosen_entry(measured, notes, budget, scenario)


def _hole_notes(records: Iterable[Record], every: bool) -> Iterator[str]:
    """Why points are missing, one note a reason; the points are named unless every point is missing."""
    holes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in records:
        if record.status != "ok":
            reason = " ".join((record.reason or "no reason given").split())
            holes[record.status, reason].append(point_label(record.key.point))
    for (status, reason), points in holes.items():
        yield f"{status}: {reason}" if every else f"{'; '.join(points)} {status}: {reason}"


def _chosen_entry(measured: Sequence[Record], notes: tuple[str, ...], budget: float, scenario: Scenario) -> Entry:
    record, over, uncertain = choose(measured, budget)
    tensor, size, task = _measured_groups(record)
    payload_bytes = size.payload_bytes.mean
    network_s, raw_network_s = (float(seconds) for seconds in scenario.link.seconds([payload_bytes, tensor.raw_bytes]))
    return Entry(
        row=record.row,
        split=record.key.split,
        status="ok",
        codec=record.key.codec,
        point=point_label(record.key.point),
        payload_bytes=payload_bytes,
        payload_percent=_percent(payload_bytes, tensor.raw_bytes),
        network_ms=network_s * 1000,
        network_percent=_percent(network_s, raw_network_s),
        **_latency_fields(latency.of(record, scenario)),
        value=task.value,
        low=task.low,
        high=task.high,
        change=task.change,
        change_low=task.change_low,
        change_high=task.change_high,
        over_budget=over,
        uncertain=uncertain,
        chosen_on_test=len(measured) > 1 and not _has_choices(measured),
        notes=notes,
    )


def _latency_fields(found: Latency) -> dict[str, Any]:
    p95_s = found.p95_s
    return {
        "device_ms": 1000 * found.device_s, "edge_ms": 1000 * found.edge_s, "latency_ms": 1000 * found.median_s,
        "latency_p95_ms": None if p95_s is None else 1000 * p95_s,
        "predicted": " ".join(step for step in latency.STEPS if step in found.predicted),
    }  # fmt: skip


def choose(measured: Sequence[Record], budget: float) -> tuple[Record, bool, bool]:
    """The point for a budget, from the measured points of one row at one split: (record, over budget, uncertain).

    It is the smallest mean payload whose loss is within the budget, or else the smallest loss. Both are taken on the
    choice samples where every record has them. `uncertain` says that the loss's paired interval crosses the budget.
    """
    outcomes = [_outcome(record, _has_choices(measured)) for record in measured]
    within = [outcome for outcome in outcomes if outcome.loss <= budget + _EPSILON]
    if within:
        best = min(within, key=lambda outcome: (outcome.payload_bytes, outcome.loss))
    else:
        best = min(outcomes, key=lambda outcome: (outcome.loss, outcome.payload_bytes))
    uncertain = best.loss_low < budget - _EPSILON and budget + _EPSILON < best.loss_high
    return best.record, not within, uncertain


@dataclass(frozen=True)
class _Outcome:
    """What the choice looks at: positive `loss` is worse, in either direction of the metric."""

    record: Record
    payload_bytes: float
    loss: float
    loss_low: float
    loss_high: float


def _has_choices(records: Iterable[Record]) -> bool:
    return all(record.choice for record in records)


def _outcome(record: Record, by_choice: bool) -> _Outcome:
    _, size, task = _measured_groups(record)
    group = record.choice if by_choice and record.choice else task
    payload_bytes = record.choice.payload_mean_bytes if by_choice and record.choice else size.payload_bytes.mean
    low, high = group.change_low, group.change_high
    if task.higher_is_better:
        return _Outcome(record, payload_bytes, -group.change, -high, -low)
    return _Outcome(record, payload_bytes, group.change, low, high)


def _measured_groups(record: Record) -> tuple[TensorGroup, Size, Task]:
    if not (record.tensor and record.size and record.task):
        raise DataError(f"record {record.cell} is 'ok' but lacks measurements; delete it and run again")
    return record.tensor, record.size, record.task


def _local_entry(split: str, records: Sequence[Record], whole: Latency) -> Entry:
    """The uncompressed model. Its interval is that of any point that changed no outcome on the same samples."""
    tasks = [record.task for record in records if record.task and record.key.split == split]
    tasks = tasks or [record.task for record in records if record.task]
    exact = next((task for task in tasks if task.change == task.change_low == task.change_high == 0), None)
    return Entry(
        row=LOCAL,
        split=split,
        status="ok",
        payload_bytes=0.0,
        payload_percent=0.0,
        **_latency_fields(whole),
        value=tasks[0].uncompressed,
        low=exact.low if exact else None,
        high=exact.high if exact else None,
        change=0.0,
    )


def _samples_remark(records: Iterable[Record], loss: str) -> str:
    record = next(iter(records))
    tested = sorted({r.task.n for r in records if r.task})
    choices = sorted({r.choice.n for r in records if r.choice})
    chosen = f", on {_listed(choices)} held-out training samples" if choices else ""
    return (
        f"{_listed(tested) or 'No'} test samples ({record.key.sample_set}), seed {record.key.seed}. Per codec and "
        f"split: the smallest mean payload that loses at most {loss}{chosen}; all numbers are on test samples."
    )


def _points_remark(entries: Iterable[Entry]) -> Iterator[str]:
    """The chosen points with their splits, for rows whose label does not say them."""
    chosen: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        if entry.point and entry.row == entry.codec:
            chosen[entry.row][entry.point].append(entry.split)
    texts = [
        f"{row} "
        + ", ".join(f"{point} ({', '.join(splits)})" if len(points) > 1 else point for point, splits in points.items())
        for row, points in chosen.items()
    ]
    if texts:
        yield f"Points: {'; '.join(texts)}."


def _dtypes(records: Iterable[Record]) -> str:
    return _listed(sorted({record.tensor.dtype for record in records if record.tensor})) or "float32"


def _machines(records: Iterable[Record]) -> str:
    return " and ".join(sorted({record.provenance.cpu for record in records}))


def _listed(values: Iterable[Any]) -> str:
    return " or ".join(map(str, values))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def batches(splits: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The splits, so many at a time."""
    return (splits[start : start + size] for start in range(0, len(splits), size))


def _percent(part: float, whole: float) -> float | None:
    return 100 * part / whole if whole else None


def short(number: float | None) -> str:
    """One decimal from 1 to 100, none above, two digits below 1: 159, 60.5, 3.1, 0.97, 0.012."""
    if number is None:
        return "-"
    if number == 0:
        return "0"
    if number >= 99.95:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 0.995 else f"{float(f'{number:.2g}'):g}"


def _with_percent(text: str, percent: float | None) -> str:
    return text if percent is None else f"{text} ({short(percent)})"


def paper_tables() -> list[tuple[bool, Table]]:
    """The published Tables 1 and 2, each with whether a higher metric is better."""
    content = files("codecbench").joinpath("analysis/data/paper_tables.csv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(io.StringIO(content)))
    return [
        (True, _paper_table(lines, "1", "ResNet-50 on ImageNet", ("top-5", "%", 1))),
        (False, _paper_table(lines, "2", "DeepSpeech on LibriSpeech", ("WER", "", 3))),
    ]


def _paper_table(lines: Iterable[Mapping[str, str]], number: str, what: str, metric: tuple[str, str, int]) -> Table:
    found = [line for line in lines if line["table"] == number]
    entries = {(line["codec"], line["split"]): _paper_entry(line) for line in found}
    return Table(
        title=f"As published, another model and dataset: {what} (Yao et al., SenSys 2020, Table {number})",
        source="paper",
        workload=what,
        metric=metric[0],
        unit=metric[1],
        decimals=metric[2],
        splits=tuple(dict.fromkeys(line["split"] for line in found)),
        rows=tuple(dict.fromkeys(line["codec"] for line in found)),
        entries=entries,
        remarks=(
            "Percentages are of the raw float32 tensor (Offload); ms: measured over WiFi at 450 Mb/s. "
            "Compare ratios with ours, not absolute numbers.",
        ),
        context={
            "n": None,
            "sample_set": None,
            "seed": None,
            "budget": None,
            "link": None,
            "device": None,
            "edge": None,
        },
        payload_unit="KiB",
    )


def _paper_entry(line: Mapping[str, str]) -> Entry:
    return Entry(
        row=line["codec"],
        split=line["split"],
        status="ok",
        codec=line["codec"],
        payload_bytes=float(line["payload_kib"]) * 1024,
        payload_percent=float(line["size_percent_of_raw"]),
        network_ms=float(line["network_ms"]),
        network_percent=float(line["network_percent_of_raw"]),
        value=float(line["metric_value"]),
        change=float(line["metric_change"]),
    )
