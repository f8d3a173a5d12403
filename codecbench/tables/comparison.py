"""Compares two results folders: the cells that both hold, and the cells that only one holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from codecbench.analysis.agreement import differences, made_with
from codecbench.analysis.other_metrics import other_values, others_of
from codecbench.analysis.selection import origin_of, undefined_reason
from codecbench.errors import DataError
from codecbench.names import counted, pick
from codecbench.results.cell import point_label
from codecbench.results.record import Record, Seconds, Size, Task
from codecbench.results.set_values import SetValues
from codecbench.results.statistics import mcnemar_p, paired_bootstrap_p, paired_change, paired_set_change
from codecbench.tables import reservations
from codecbench.tables.document import Cell, Document, Group, TableBlock, markdown, text, with_interval
from codecbench.tables.formats import PROSE_WIDTH, metric_label, other_cells
from codecbench.tables.reservations import Reservations

Columns: TypeAlias = "Mapping[str, NDArray[Any]]"
_Identity: TypeAlias = tuple[str, str, str, str, int, str]


class ReadFolder(Protocol):
    """A results folder to read; `codecbench.results.store.Store` is one."""

    def records(self) -> list[Record]:
        """Returns all records."""

    def samples(self, record: Record) -> Columns:
        """Returns a record's columns, one value a sample."""

    def set_values(self, record: Record, task: Task) -> SetValues:
        """Returns the values of a set metric of a record for its samples and for resamples of them."""


@dataclass(frozen=True)
class CellPair:
    """One cell, measured in A and in B; ratios are B / A, and `change` is B - A with its paired 95 % interval.

    `p_value` is two-sided. Change and p-value are None where the metric of one is undefined, `payload_ratio` where A's
    payloads have no bytes. Time ratios compare medians; they are None where the two were timed on different machines or
    with different settings.
    """

    a: Record
    b: Record
    payload_ratio: float | None
    change: float | None
    change_low: float | None
    change_high: float | None
    p_value: float | None
    encode_ratio: float | None
    decode_ratio: float | None

    @property
    def equal_payloads(self) -> bool | None:
        """True if all payloads of A and B are equal, by their digests.

        None if one has no digests, or if other choice samples were coded, whose payloads count too.
        """
        if self.a.digests is None or self.b.digests is None or _choice_set(self.a) != _choice_set(self.b):
            return None
        return self.a.digests.payloads == self.b.digests.payloads


@dataclass(frozen=True)
class Comparison:
    """The same cells of two results folders, A and B.

    `incomplete` holds the cells of both where at least one record has no measurements, `unlike` those that were
    measured with other weights or on other data, and in what they differ.
    """

    pairs: tuple[CellPair, ...]
    incomplete: tuple[tuple[Record, Record], ...]
    only_a: tuple[Record, ...]
    only_b: tuple[Record, ...]
    unlike: tuple[tuple[Record, Record, str], ...] = ()

    def render(self, format_: str) -> str:
        """Returns the comparison as "text" or "md", one table a workload. Raises UsageError for another format."""
        write = pick({"text": lambda shown: text(shown, PROSE_WIDTH), "md": markdown}, format_, "format")
        by_workload: dict[str, list[CellPair]] = defaultdict(list)
        for pair in self.pairs:
            by_workload[pair.a.key.workload].append(pair)
        documents = [_document(name, pairs) for name, pairs in by_workload.items()]
        return "\n".join(write(document) for document in [*documents, self._rest()])

    def _rest(self) -> Document:
        """Returns the cells that no table shows: those without measurements, and those that one folder lacks."""
        remarks = [
            *self._payload_remarks(),
            *self._unlike_remarks(),
            *(f"{_label(a)}: {_status(a)} in A, {_status(b)} in B." for a, b in self.incomplete),
            *(f"Only in A: {_label(record)}." for record in self.only_a),
            *(f"Only in B: {_label(record)}." for record in self.only_b),
        ]
        counts = f"{len(self.pairs)} compared, {len(self.incomplete)} without two measurements"
        counts += f", {len(self.unlike)} of other weights or data" if self.unlike else ""
        title = f"Cells: {counts}, {len(self.only_a)} only in A, {len(self.only_b)} only in B"
        return Document(title, (), tuple(remarks))

    def _unlike_remarks(self) -> Iterator[str]:
        """Yields what differs between A and B, then the cells that are not compared for it."""
        differing = dict.fromkeys((a.key.workload, difference) for a, _, difference in self.unlike)
        for workload, difference in differing:
            yield f"The {difference} of {workload} differ between A and B, so outcomes are not compared."
        yield from (f"Not compared: {_label(a)}." for a, _, _ in self.unlike)

    def _payload_remarks(self) -> Iterator[str]:
        """Yields the number of cells with equal payloads, then the others, where A and B have digests of the same."""
        digested = [pair for pair in self.pairs if pair.equal_payloads is not None]
        equal = sum(pair.equal_payloads is True for pair in digested)
        if digested:
            yield f"Payloads: byte for byte equal in {equal} of {len(digested)} cells, by their digests."
        yield from (f"Other payloads: {_label(pair.a)}." for pair in digested if not pair.equal_payloads)


def compare(a: ReadFolder, b: ReadFolder) -> Comparison:
    """Matches the cells of A and B and tests each pair on its samples, with McNemar's test or a paired bootstrap.

    The codec version is ignored: of several versions in one folder, the newest is compared. Cells of other weights or
    data are not compared, since their outcomes differ without any codec. Raises DataError where a
    sample set of one name holds different samples in A and B.
    """
    records_a, records_b = _newest(a.records()), _newest(b.records())
    pairs, incomplete, unlike = [], [], []
    for identity, record_a in records_a.items():
        record_b = records_b.get(identity)
        if record_b is None:
            continue
        difference = " and ".join(differences(made_with(record_a), made_with(record_b)))
        if difference:
            unlike.append((record_a, record_b, difference))
        elif record_a.status == record_b.status == "ok":
            pairs.append(_pair(record_a, record_b, a, b))
        else:
            incomplete.append((record_a, record_b))
    return Comparison(
        pairs=tuple(pairs),
        incomplete=tuple(incomplete),
        only_a=tuple(record for identity, record in records_a.items() if identity not in records_b),
        only_b=tuple(record for identity, record in records_b.items() if identity not in records_a),
        unlike=tuple(unlike),
    )


def _newest(records: Iterable[Record]) -> dict[_Identity, Record]:
    """Returns records by the identity of their cell without the codec version, only the newest version of each."""
    newest: dict[_Identity, Record] = {}
    for record in sorted(records, key=lambda record: record.key.codec_version):
        key = record.key
        point = point_label(dict(sorted(key.point.items())))
        newest[key.workload, key.split, key.codec, point, key.seed, key.sample_set] = record
    return dict(sorted(newest.items()))


def _pair(a: Record, b: Record, results_a: ReadFolder, results_b: ReadFolder) -> CellPair:
    (size_a, task_a), (size_b, task_b) = _size_and_task(a), _size_and_task(b)
    if (task_a.metric, task_a.scale) != (task_b.metric, task_b.scale):
        raise DataError(f"{_label(a)}: {task_a.metric} decides in A and {task_b.metric} in B; run one of them again")
    in_order = task_a.scale is None
    test_a, test_b = (_test_rows(results.samples(each), in_order) for results, each in ((results_a, a), (results_b, b)))
    if not np.array_equal(test_a["sample_id"], test_b["sample_id"]):
        raise DataError(f"{_label(a)}: A and B name the sample set alike but hold other samples; run one of them again")
    if task_a.scale is None:
        change, low, high, p_value = _set_change(results_b, b, results_a, a)
    else:
        outcomes = (test_b["numerator"], test_b["denominator"], test_a["numerator"], test_a["denominator"])
        change, low, high = paired_change(task_a.scale, *outcomes)
        p_value = None if change is None else _p_value(task_a.test, task_a.scale, outcomes)
    return CellPair(
        a=a,
        b=b,
        payload_ratio=size_b.payload_bytes.mean / size_a.payload_bytes.mean if size_a.payload_bytes.mean else None,
        change=change,
        change_low=low,
        change_high=high,
        p_value=p_value,
        encode_ratio=_time_ratio(a, b, "encode_s"),
        decode_ratio=_time_ratio(a, b, "decode_s"),
    )


def _set_change(
    results: ReadFolder, record: Record, other_results: ReadFolder, other: Record
) -> tuple[float | None, float | None, float | None, float | None]:
    """Returns the change of a set metric against the other record, its interval and its p-value."""
    task, other_task = _size_and_task(record)[1], _size_and_task(other)[1]
    if task.value is None or other_task.value is None:
        return None, None, None, None
    return paired_set_change(results.set_values(record, task), other_results.set_values(other, other_task))


def _p_value(test: str, scale: float, outcomes: Sequence[NDArray[Any]]) -> float | None:
    """Returns the p-value of B against A, from the columns numerator and denominator of B, then of A."""
    b, b_denominator, a, a_denominator = outcomes
    if test == "mcnemar":
        return mcnemar_p(a > 0, b > 0)
    return paired_bootstrap_p(scale, b, b_denominator, a, a_denominator)


def _size_and_task(record: Record) -> tuple[Size, Task]:
    """Returns the sizes and the outcome of a measured record. Raises DataError where it lacks one."""
    if not (record.size and record.task):
        raise DataError(f"{_label(record)} is 'ok' but lacks measurements; delete its record and run again")
    return record.size, record.task


def _test_rows(columns: Columns, in_order: bool) -> dict[str, NDArray[Any]]:
    """Returns the columns of the test samples, sorted by sample identifier unless their order is to be kept.

    Those of a set metric are resampled in their order, so this has to be the same in A and B.
    """
    rows = np.flatnonzero(columns["subset"] == "test")
    if not in_order:
        rows = rows[np.argsort(columns["sample_id"][rows], kind="stable")]
    return {name: columns[name][rows] for name in ("sample_id", "numerator", "denominator") if name in columns}


def _time_ratio(a: Record, b: Record, step: str) -> float | None:
    if _machine(a) != _machine(b) or a.time is None or b.time is None:
        return None
    seconds_a: Seconds = getattr(a.time, step)
    seconds_b: Seconds = getattr(b.time, step)
    return seconds_b.median / seconds_a.median if seconds_a.median else None


def _machine(record: Record) -> str:
    where = record.provenance
    return f"{where.cpu}, {counted(where.threads, 'thread')}, {where.torch_device}"


def _document(workload: str, pairs: Sequence[CellPair]) -> Document:
    task = next(pair.a.task for pair in pairs if pair.a.task)
    groups = (
        Group("mean payload", ("A bytes", "B bytes", "B / A"), ("right",) * 3),
        Group(metric_label(task), ("A", "B", "B - A", "p"), ("right", "right", "left", "left")),
        *(Group(metric_label(other), ("A", "B"), ("right", "right")) for other in _others(pairs)),
        Group("time B / A", ("encode", "decode"), ("right", "right")),
    )
    sides = {
        "A": reservations.of_records(pair.a for pair in pairs),
        "B": reservations.of_records(pair.b for pair in pairs),
    }
    rows = tuple((_label(pair.a, with_workload=False), _cells(pair, _others(pairs), sides)) for pair in pairs)
    return Document(
        title=f"{workload}: A against B",
        blocks=(TableBlock("cell", groups, rows),),
        remarks=(
            "B - A: on the same test samples, with its paired 95 % bootstrap interval.",
            f"p: {_test_name(task.test)}, two-sided, for each cell by itself ({len(pairs)} in all).",
            *_missing_remarks(pairs),
            *_difference_remarks(pairs),
            *(f"{side}: {remark}" for side, found in sides.items() for remark in found.remarks),
        ),
        marks=tuple((mark, f"{side}: {text}") for side, found in sides.items() for mark, text in found.marks),
    )


def _others(pairs: Sequence[CellPair]) -> tuple[Task, ...]:
    """Returns the metrics beside the deciding one that a table of these pairs shows."""
    return others_of([record for pair in pairs for record in (pair.a, pair.b)])


def _cells(pair: CellPair, others: Sequence[Task], sides: Mapping[str, Reservations]) -> tuple[Cell, ...]:
    (size_a, task_a), (size_b, task_b) = _size_and_task(pair.a), _size_and_task(pair.b)
    digits = task_a.decimals
    shown = [other_cells(others, other_values(record)) for record in (pair.a, pair.b)]
    texts = (
        f"{size_a.payload_bytes.mean:,.0f}",
        f"{size_b.payload_bytes.mean:,.0f}",
        _ratio_text(pair.payload_ratio, 3),
        with_interval(task_a.value, None, None, f".{digits}f"),
        with_interval(task_b.value, None, None, f".{digits}f"),
        with_interval(pair.change, pair.change_low, pair.change_high, f"+.{digits}f"),
        "-" if pair.p_value is None else f"{pair.p_value:.2g}",
        *(cell.text for sides_of in zip(*shown, strict=True) for cell in sides_of),
        _ratio_text(pair.encode_ratio),
        _ratio_text(pair.decode_ratio),
    )
    marks = (sides["A"].marks_of(origin_of(pair.a)), sides["B"].marks_of(origin_of(pair.b)))
    return tuple(Cell(shown, mark) for shown, mark in zip_longest(texts, marks, fillvalue=""))


def _ratio_text(ratio: float | None, digits: int = 2) -> str:
    return "-" if ratio is None else f"{ratio:.{digits}f}"


def _missing_remarks(pairs: Sequence[CellPair]) -> Iterator[str]:
    """Yields the reasons for missing changes and ratios of payloads."""
    undefined = [pair for pair in pairs if pair.change is None]
    if undefined:
        yield f"-: {undefined_reason(undefined[0].a)}, so there is no change and no p."
    if any(pair.payload_ratio is None for pair in pairs):
        yield "B / A is -: the payloads of A have 0 bytes."


def _test_name(test: str) -> str:
    return "McNemar's exact test" if test == "mcnemar" else "paired bootstrap"


def _difference_remarks(pairs: Iterable[CellPair]) -> list[str]:
    """Returns a sentence for each difference in versions, sources or machines that may affect the numbers."""
    remarks: dict[str, None] = {}
    for pair in pairs:
        key_a, key_b = pair.a.key, pair.b.key
        if _machine(pair.a) != _machine(pair.b):
            remarks[f"Times are not compared: A on {_machine(pair.a)}; B on {_machine(pair.b)}."] = None
        if key_a.codec_version != key_b.codec_version:
            remarks[f"{key_a.codec} is version {key_a.codec_version} in A, {key_b.codec_version} in B."] = None
        elif pair.a.provenance.source_hash != pair.b.provenance.source_hash:
            remarks[f"The source of {key_a.codec} differs between A and B."] = None
        made_a, made_b = made_with(pair.a), made_with(pair.b)
        if None in (made_a.data, made_b.data) and made_a != made_b:
            side = "A" if made_a.data is None else "B"
            remarks[f"Records of {side} do not say which source and data of the workload made them."] = None
        elif made_a.workload_source != made_b.workload_source:
            remarks[f"The source of the workload {key_a.workload} differs between A and B."] = None
    return list(remarks)


def _label(record: Record, with_workload: bool = True) -> str:
    key = record.key
    seed = f"seed={key.seed}" if key.seed else ""
    parts = (key.workload if with_workload else "", key.split, key.codec, point_label(key.point), seed)
    return " ".join(part for part in parts if part)


def _choice_set(record: Record) -> str | None:
    return record.choice.sample_set if record.choice else None


def _status(record: Record) -> str:
    return f"{record.status} ({' '.join(record.reason.split())})" if record.reason else record.status
