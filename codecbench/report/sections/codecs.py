"""The report's section on each codec: its description, all operating points, and the cells without measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from codecbench.analysis.curves import curve
from codecbench.analysis.other_metrics import other_values, others_of
from codecbench.analysis.selection import (
    OVER_ON_TEST,
    OVER_ON_TEST_MEANS,
    by_row_and_split,
    groups,
    is_defined,
    origin_of,
    percent_of,
    undefined_reason,
)
from codecbench.descriptions.describe import first_paragraph
from codecbench.report import page, views
from codecbench.report.page import Section
from codecbench.report.subject import Subject
from codecbench.report.views import DocumentView, TableView
from codecbench.results.cell import point_label
from codecbench.results.record import Record, Task
from codecbench.tables import reservations
from codecbench.tables.document import Cell, Document, Group, TableBlock, with_interval
from codecbench.tables.formats import metric_label, other_cells, short
from codecbench.tables.reservations import Reservations

_CHOSEN, _FALLS, _PREDICTED = "\N{BLACK CIRCLE}", "\N{DOWNWARDS ARROW}", "*"
_MARKS = {
    _CHOSEN: "the point that the tables show for the accepted loss",
    OVER_ON_TEST: OVER_ON_TEST_MEANS,
    _FALLS: "a smaller payload of the same row does better, the two intervals of the change apart",
    _PREDICTED: "partly predicted by a device profile, not measured",
}


def codecs(subject: Subject) -> Section:
    """Returns the section, with a list of links to its parts."""
    falls = _falls(subject)
    values = {
        "jump": [(subject.codec_place(name), name) for name in subject.codec_names],
        "codecs": [_codec(subject, name, falls) for name in subject.codec_names],
    }
    return Section("codecs.html", subject.level, subject.place("codecs"), "Codec by codec", values)


def _falls(subject: Subject) -> frozenset[str]:
    """Returns the cells to which the curve of their row falls, see `analysis.curves.curve`."""
    curves = map(curve, by_row_and_split(subject.measured).values())
    return frozenset(point.record.cell for points in curves for point in points if point.falls)


def _codec(subject: Subject, name: str, falls: frozenset[str]) -> Section:
    records = [record for record in subject.records if record.key.codec == name]
    measured = [record for record in records if record.status == "ok"]
    missing = [record for record in records if record.status != "ok"]
    values = {
        "description": _description(subject, name),
        "versions": ", ".join(sorted({str(record.key.codec_version) for record in records})),
        "sources": ", ".join(sorted({record.provenance.plugin for record in records})),
        "measured": f"{len(measured):,}",
        "points": _points(subject, name, measured, falls) if measured else None,
        "missing": _missing(subject, name, missing) if missing else None,
    }
    return Section("codec.html", subject.level + 1, subject.codec_place(name), name, values)


def _description(subject: Subject, name: str) -> list[tuple[str, bool]] | None:
    """Returns the first paragraph of a codec's docstring as pieces (text, True if it is code).

    Returns None where neither records nor an installed codec have one.
    """
    described = (record.description for record in subject.records if record.key.codec == name)
    plain = next(filter(None, described), first_paragraph(subject.docstrings.get(name, "")))
    if not plain:
        return None
    pieces = plain.split("`")
    if len(pieces) % 2 == 0:  # an unpaired backquote
        return [(plain, False)]
    return [(piece, number % 2 == 1) for number, piece in enumerate(pieces)]


def _points(subject: Subject, name: str, measured: Sequence[Record], falls: frozenset[str]) -> DocumentView:
    order = {split: number for number, split in enumerate(subject.splits)}
    ordered = sorted(measured, key=lambda r: (order[r.key.split], r.row, groups(r).size.payload_bytes.mean))
    several_rows = len({record.row for record in measured}) > 1
    with_quality = any(record.quality for record in measured)
    others = others_of(measured)
    headings = [
        "split", *(["row"] if several_rows else []), "bytes", "% of raw", "bound", subject.metric, "change",
        *map(metric_label, others), "encode ms", "decode ms",
        *(f"{scenario.link.name} ms" for scenario in subject.scenarios),
        "device state", "edge state", *(["PSNR dB", "SSIM"] if with_quality else []),
    ]  # fmt: skip
    texts = {"split", "row", subject.metric, "change"}
    alignments = tuple("left" if heading in texts else "right" for heading in headings)
    reserved = reservations.of_records(measured)
    lines = tuple(
        (_label(record, several_rows), _cells(subject, record, others, falls, reserved, several_rows, with_quality))
        for record in ordered
    )
    used = {mark for _, cells in lines for cell in cells for mark in cell.marks}
    undefined = [f"-: {undefined_reason(record)}." for record in measured if not is_defined(record)]
    shown = Document(
        title=f"{name}: every operating point of {subject.workload}",
        blocks=(TableBlock("point", (Group("", tuple(headings), alignments),), lines),),
        remarks=(*undefined[:1], *reserved.remarks),
        marks=(*((mark, meaning) for mark, meaning in _MARKS.items() if mark in used), *reserved.marks),
    )
    return views.document(subject.ids, shown, _breakable)


def _breakable(point: str) -> Markup:
    """Returns a point's label as HTML that allows line breaks between its arguments."""
    return page.text(point).replace(",", Markup(",<wbr>"))


def _label(record: Record, with_row: bool) -> str:
    """Returns the point's label; with a column for rows, without the arguments that the row's name holds."""
    point: Mapping[str, object] = record.key.point
    if with_row:
        said = record.row.removeprefix(record.key.codec).strip(" ()").split(", ")
        point = {key: value for key, value in point.items() if str(value) not in said}
    return point_label(point) or "(one point)"


def _cells(
    subject: Subject,
    record: Record,
    others: Sequence[Task],
    falls: frozenset[str],
    reserved: Reservations,
    with_row: bool,
    with_quality: bool,
) -> tuple[Cell, ...]:
    tensor, size, task, time = groups(record)
    mean, spec = size.payload_bytes.mean, f".{task.decimals}f"
    chosen = subject.chosen.get(record.cell)
    marks = (_CHOSEN if chosen else "") + (OVER_ON_TEST if chosen and chosen.over_on_test else "")
    marks += _FALLS if record.cell in falls else ""
    marks += reserved.marks_of(origin_of(record))
    change = with_interval(task.change, task.change_low, task.change_high, f"+{spec}")
    percent = percent_of(mean, tensor.raw_bytes)
    cells = [
        Cell(record.key.split),
        *([Cell(record.row)] if with_row else []),
        Cell(f"{mean:,.1f}"),
        Cell("-" if percent is None else f"{percent:.3g}"),
        Cell("-" if size.estimated_bytes is None else f"{size.estimated_bytes:,.1f}"),
        Cell(with_interval(task.value, task.low, task.high, spec)),
        Cell(change, marks),
        *other_cells(others, other_values(record)),
        Cell(f"{1000 * time.encode_s.median:.3g}"),
        Cell(f"{1000 * time.decode_s.median:.3g}"),
        *(
            Cell(short(1000 * found.median_s), _PREDICTED if found.predicted else "")
            for found in subject.latencies[record.cell]
        ),
        Cell(f"{size.device_state_bytes:,}"),
        Cell(f"{size.edge_state_bytes:,}"),
    ]
    if with_quality:
        quality = record.quality
        cells += [
            Cell("-" if quality is None or quality.psnr_db is None else f"{quality.psnr_db:.2f}"),
            Cell("-" if quality is None or quality.ssim is None else f"{quality.ssim:.4f}"),
        ]
    return tuple(cells)


def _missing(subject: Subject, name: str, missing: Sequence[Record]) -> TableView:
    lines = [
        (
            point_label(record.key.point) or "(one point)",
            (record.key.split, record.status, " ".join((record.reason or "no reason given").split())),
        )
        for record in missing
    ]
    block = views.rows("point", ("split", "status", "reason"), "lll", lines)
    return views.table(subject.ids, block, f"{name}: cells without measurements")
