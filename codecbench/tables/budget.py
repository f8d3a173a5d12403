"""The counterpart of the paper's Table 1: for each codec and split its payload, network time, accuracy and change.

A table is derived from records, a link and two machines; nothing is run and no clock is read. Each codec is shown with
its smallest payload within the budget. That operating point is chosen on held-out training samples (the record's
`choice` group) and scored on test samples (its `task` group). `tables.latency` shows the latency of the same entries.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Literal, TypeAlias

from codecbench.analysis.budget import TWO_LOOKS, Entry, budget_of, entries_of
from codecbench.analysis.latency import LOCAL, Scenario
from codecbench.analysis.other_metrics import others_of
from codecbench.analysis.published import PublishedTable, published_tables
from codecbench.analysis.selection import (
    OVER_ON_TEST,
    OVER_ON_TEST_MEANS,
    by_workload,
    one_set,
    rows_in_order,
    splits_in_order,
)
from codecbench.errors import UsageError
from codecbench.links.model import Link
from codecbench.results.record import Record, Task
from codecbench.tables import formats, reservations
from codecbench.tables.decoders import decoders_remark
from codecbench.tables.document import Cell, Document, Group, TableBlock, with_interval
from codecbench.tables.formats import (
    SPLITS_PER_BLOCK,
    alternatives,
    batches,
    metric_label,
    other_cells,
    other_fields,
    others_remark,
    short,
    with_others,
    with_percent,
)
from codecbench.tables.reservations import Reservations

Intervals: TypeAlias = Literal["all", "value", "none"]
"""The intervals that are shown; narrow terminals have no space for all."""

_OVER, _UNCERTAIN, _ON_TEST, _CHANGED = "†", "~", "‡", "*"

CHOICE_MARKS = {
    _OVER: "no point is within the budget on the samples of the choice: the best of them",
    _UNCERTAIN: "the paired interval on the samples of the choice crosses the budget",
    OVER_ON_TEST: OVER_ON_TEST_MEANS,
    _ON_TEST: "chosen on the test samples: the records hold no other with a metric",
}
"""The marks of `choice_marks`, and their meanings."""

_MARKS = {**CHOICE_MARKS, _CHANGED: "the paired 95 % interval of the change, not shown at this width, excludes zero"}


@dataclass(frozen=True)
class Table:
    """One workload's table, or one of the paper's.

    `entries` holds one entry for every pair of a row and a split. `context` holds the CSV columns that are equal in
    every line: sample set, seed, link, budget and machines. The sentences in `left_out` say which records were left
    out.
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
    higher_is_better: bool = True
    left_out: tuple[str, ...] = ()
    others: tuple[Task, ...] = ()
    """The metrics beside the deciding one."""

    def render(self, format_: str, width: int | None = None) -> str:
        """Returns the table in a format of FORMATS, ending in a newline; `width` is the columns of a terminal.

        A block shows three splits side by side, and blocks are stacked. The format "text" shows fewer splits in a block
        where `width` requires it, and leaves intervals out where not even one split fits with them. Raises UsageError
        for an unknown format.
        """
        return render([self], format_, width)

    def document(self, splits_per_block: int = SPLITS_PER_BLOCK, intervals: Intervals = "all") -> Document:
        """Returns the table as blocks of formatted cells."""
        notes: dict[str, int] = {}
        blocks = tuple(self._block(splits, intervals, notes) for splits in batches(self.splits, splits_per_block))
        used = {mark for block in blocks for _, cells in block.rows for cell in cells for mark in cell.marks}
        return Document(
            title=self.title,
            blocks=blocks,
            remarks=(*self.remarks, *self.left_out, *self.reservations.remarks),
            marks=(
                *((mark, meaning) for mark, meaning in _MARKS.items() if mark in used),
                *self.reservations.marks,
            ),
            notes=tuple(notes),
        )

    @cached_property
    def reservations(self) -> Reservations:
        """The reservations of the records that the entries show."""
        return reservations.of_origins(entry.origin for entry in self.entries.values())

    def csv_rows(self) -> Iterator[dict[str, Any]]:
        """Yields one flat line for each entry, with the keys of CSV_FIELDS and unrounded numbers."""
        for row in self.rows:
            for split in self.splits:
                entry = self.entries[row, split]
                fields = {name: getattr(entry, name) for name in _ENTRY_FIELDS}
                yield {
                    "source": self.source,
                    "workload": self.workload,
                    "metric": self.metric,
                    "unit": self.unit,
                    **self.context,
                    **fields,
                    "notes": "; ".join(entry.notes),
                    **other_fields(self.others, entry.others),
                }

    def _block(self, splits: Sequence[str], intervals: Intervals, notes: dict[str, int]) -> TableBlock:
        value = f"{self.metric} {self.unit}".strip()
        headings = (f"{self.payload_unit} (%)", "ms (%)", value, "change", *map(metric_label, self.others))
        alignments = ("right", "right", "left", "left", *("right" for _ in self.others))
        groups = tuple(Group(split, headings, alignments) for split in splits)
        rows = []
        for row in self.rows:
            cells = [self._cells(self.entries[row, split], intervals, notes) for split in splits]
            rows.append((row, tuple(chain.from_iterable(cells))))
        return TableBlock("codec", groups, tuple(rows))

    def _cells(self, entry: Entry, intervals: Intervals, notes: dict[str, int]) -> tuple[Cell, ...]:
        numbers = tuple(notes.setdefault(note, len(notes) + 1) for note in entry.notes)
        if entry.status != "ok":
            text = "-" if entry.status in ("no such point", "undefined") else entry.status
            return (Cell(text, notes=numbers), *(Cell() for _ in range(3 + len(self.others))))
        low, high = (None, None) if intervals == "none" else (entry.low, entry.high)
        change_low, change_high = (entry.change_low, entry.change_high) if intervals == "all" else (None, None)
        change = with_interval(entry.change, change_low, change_high, f"+.{self.decimals}f")
        marks = choice_marks(entry) + (_CHANGED if intervals != "all" and entry.changed else "")
        marks += self.reservations.marks_of(entry.origin)
        return (
            Cell(with_percent(self._payload(entry.payload_bytes), entry.payload_percent)),
            Cell(with_percent(short(entry.network_ms), entry.network_percent)),
            Cell(with_interval(entry.value, low, high, f".{self.decimals}f")),
            Cell(change, marks, numbers),
            *other_cells(self.others, entry.others),
        )

    def _payload(self, payload_bytes: float | None) -> str:
        if payload_bytes is None:
            return "-"
        return f"{payload_bytes / 1024:.4g}" if self.payload_unit == "KiB" else f"{payload_bytes:,.0f}"


_ENTRY_FIELDS = tuple(field.name for field in dataclasses.fields(Entry) if field.name != "others")
CSV_FIELDS = (
    "source", "workload", "metric", "unit", "n", "sample_set", "seed", "budget", "link", "device", "edge",
    *_ENTRY_FIELDS,
)  # fmt: skip


def choice_marks(entry: Entry) -> str:
    """Returns the marks of the entry's choice, one character each."""
    flags = (
        (entry.over_budget, _OVER), (entry.uncertain, _UNCERTAIN), (entry.over_on_test, OVER_ON_TEST),
        (entry.chosen_on_test, _ON_TEST),
    )  # fmt: skip
    return "".join(mark for flag, mark in flags if flag)


def build(
    records: Sequence[Record],
    *,
    budgets: float | Mapping[str, float],
    scenario: Scenario,
    paper: bool = False,
    sample_set: str | None = None,
    mix_machines: bool = True,
) -> list[Table]:
    """Returns one table for each workload, sorted by name, then with `paper` the paper's comparable tables.

    `budgets` is the accepted loss in the metric's own unit, see `analysis.budget.budget_of`. Of several sample sets or
    seeds, `sample_set` or else the largest set is shown, and of several models or sources, or of machines that may not
    be mixed, one; see `analysis.selection.one_set`. Remarks say which records are left out. A table of the paper is
    comparable if its metric has the direction of a workload's metric. Raises UsageError where a workload has no budget
    or no records of the sample set.
    """
    if not records:
        raise UsageError("there are no records to tabulate; `codecbench run` makes some")
    tables = [
        _workload_table(name, *one_set(found, name, sample_set, mix_machines=mix_machines), budgets, scenario)
        for name, found in by_workload(records).items()
    ]
    if paper:
        directions = {r.task.higher_is_better for r in records if r.task}
        tables += [of_published(table) for table in published_tables() if table.higher_is_better in directions]
    return tables


def render(tables: Sequence[Table], format_: str, width: int | None = None) -> str:
    """Returns all tables as one text; see `Table.render`. CSV has one header for all tables."""
    rows = chain.from_iterable(table.csv_rows() for table in tables)
    fields = with_others(CSV_FIELDS, [other for table in tables for other in table.others])
    return formats.render(map(_layouts, tables), fields, rows, format_, width)


def _layouts(table: Table) -> Iterator[Document]:
    """Yields the possible layouts of the table, widest first."""
    for splits_per_block in range(SPLITS_PER_BLOCK, 0, -1):
        yield table.document(splits_per_block)
    yield table.document(1, "value")
    yield table.document(1, "none")


def _workload_table(
    workload: str,
    shown: Sequence[Record],
    left_out: Sequence[str],
    budgets: float | Mapping[str, float],
    scenario: Scenario,
) -> Table:
    budget = budget_of(workload, budgets, shown)
    task = next((record.task for record in shown if record.task), None)
    metric, unit, decimals = (task.metric, task.unit, task.decimals) if task else ("value", "", 1)
    splits = splits_in_order(shown)
    rows = rows_in_order(shown)
    entries = entries_of(shown, rows, splits, budget, scenario)
    key, link = shown[0].key, scenario.link
    points = "point" if budget == 1 else "points"
    loss = f"{budget:g} {f'{points} of {metric}' if unit == '%' else f'{unit} of {metric}'.strip()}"
    return Table(
        title=f"{workload}: smallest payload within a loss of {loss}, by codec and split point",
        source="measured",
        workload=workload,
        metric=metric,
        unit=unit,
        decimals=decimals,
        splits=splits,
        rows=(*rows, *(row for row in (LOCAL, TWO_LOOKS) if (row, splits[0]) in entries)),
        entries=entries,
        remarks=(
            _samples_remark(shown, loss),
            f"{_network_remark(entries.values(), link)} Percentages are of the raw {_dtypes(shown)} tensor.",
            "[low, high]: 95 % bootstrap interval. change: from the uncompressed model on the same samples, paired. "
            f"{LOCAL}: the whole network on the device.{_two_looks_remark(entries)}",
            *others_remark(others_of(shown), metric),
            f"Measured on {_machines(shown)}.",
            *_points_remark(entries.values()),
            *decoders_remark(entries.values()),
            *_missed_remark(entries.values()),
        ),
        left_out=tuple(left_out),
        others=others_of(shown),
        higher_is_better=task is None or task.higher_is_better,
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
    chosen = f", on {alternatives(choices)} held-out training samples" if choices else ""
    return (
        f"{alternatives(tested) or 'No'} test samples ({record.key.sample_set}), seed {record.key.seed}. Per codec and "
        f"split: the smallest mean payload that loses at most {loss}{chosen}; all numbers are on test samples."
    )


def _network_remark(entries: Collection[Entry], link: Link) -> str:
    """Returns what ms is, and in how many entries only the mean size of the payloads was known."""
    sent = [entry for entry in entries if entry.network_ms is not None]
    of_mean = sum(entry.network_of_mean for entry in sent)
    over = f"over the link {link.name} ({link.description}), modelled"
    unknown = "no Parquet file there holds the sizes of single payloads"
    if sent and of_mean == len(sent):
        return f"ms: network time of the mean payload {over}: {unknown}."
    some = f"; in {of_mean} of {len(sent)} entries that of the mean payload: {unknown}" if of_mean else ""
    return f"ms: network time {over}, the mean over the test samples{some}."


def _two_looks_remark(entries: Mapping[tuple[str, str], Entry]) -> str:
    known = any(row == TWO_LOOKS for row, _ in entries)
    return f" {TWO_LOOKS}: the mean of its scores for an image and its mirror image." if known else ""


def _missed_remark(entries: Iterable[Entry]) -> Iterator[str]:
    """Yields a sentence with what to do, where more than half of the entries are over the budget."""
    chosen = [entry for entry in entries if entry.status == "ok" and entry.row not in (LOCAL, TWO_LOOKS)]
    over = sum(entry.over_budget for entry in chosen)
    if 2 * over > len(chosen):
        yield (
            f"Most rows miss the budget ({_OVER}, {over} of {len(chosen)}): 'codecbench run --points auto' searches "
            "better points."
        )


def _points_remark(entries: Iterable[Entry]) -> Iterator[str]:
    """Yields a sentence with the chosen points and their splits, without what the names of the rows hold."""
    chosen: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        point = _unnamed_part(entry)
        if point:
            chosen[entry.row][point].append(entry.split)
    texts = [
        f"{row} "
        + ", ".join(f"{point} ({', '.join(splits)})" if len(points) > 1 else point for point, splits in points.items())
        for row, points in chosen.items()
    ]
    if texts:
        yield f"Points: {'; '.join(texts)}."


def _unnamed_part(entry: Entry) -> str:
    """Returns the arguments of the entry's point whose values the name of the row does not hold, as "raw (uint8)"."""
    named = entry.row.removeprefix(entry.codec).strip(" ()").split(", ")
    return ",".join(part for part in entry.point.split(",") if part.partition("=")[2].strip('"') not in named)


def _dtypes(records: Iterable[Record]) -> str:
    return alternatives(sorted({record.tensor.dtype for record in records if record.tensor})) or "float32"


def _machines(records: Iterable[Record]) -> str:
    return " and ".join(sorted({record.provenance.cpu for record in records}))


def of_published(published: PublishedTable) -> Table:
    """Returns the paper's table in the same form as a measured one."""
    return Table(
        title=published.title,
        source="paper",
        workload=published.workload,
        metric=published.metric,
        unit=published.unit,
        decimals=published.decimals,
        splits=published.splits,
        rows=published.rows,
        entries=published.entries,
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
        higher_is_better=published.higher_is_better,
    )
