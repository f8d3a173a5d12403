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
from codecbench.analysis.budget import _CHANGED, _ON_TEST, _OVER, _UNCERTAIN, Entry, _budget_of, _entry, _local_entry
from codecbench.analysis.latency import LOCAL, Scenario
from codecbench.analysis.published import _paper_entry
from codecbench.analysis.selection import one_set, rows_in_order, splits_in_order
from codecbench.errors import UsageError
from codecbench.names import pick
from codecbench.results.record import Record
from codecbench.tables import document as layout
from codecbench.tables.formats import FORMATS, PROSE_WIDTH, _listed, _with_percent, batches, csv_text, short

SPLITS_PER_BLOCK = 3

Intervals: TypeAlias = Literal["all", "value", "none"]
"""Which intervals are shown: narrow terminals have no room for all."""

_MARKS = {
    _OVER: "no point is within the budget on the samples of the choice: the best of them",
    _UNCERTAIN: "the paired interval on the samples of the choice crosses the budget",
    _ON_TEST: "chosen on the test samples: the records hold no other",
    _CHANGED: "the paired 95 % interval of the change, not shown at this width, excludes zero",
}


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
