"""Figures of all operating points: the metric, and the encoding time on the device, against payload bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from codecbench.analysis import curves
from codecbench.analysis.paper import comparable_points
from codecbench.analysis.published import PublishedPoint
from codecbench.analysis.selection import groups, is_defined, payload_bytes, value_of
from codecbench.analysis.study import Study
from codecbench.descriptions.splits import INPUT
from codecbench.figures.curve_labels import Curve, label_curves
from codecbench.figures.drawing import Drawing, Tips, numbers
from codecbench.figures.sizes import PAPER, PageSize
from codecbench.figures.style import (
    BUDGET_LINE,
    GREY,
    INK,
    UNCOMPRESSED_LINE,
    RowStyle,
    canvas,
    freeze_layout,
    legend_above,
    legend_in,
    legend_mm,
    line_handle,
    log_axis,
    metric_limits,
    reference_handles,
    row_handle,
    row_styles,
)
from codecbench.figures.texts import budget_text, device_text, machines_text, metric_label
from codecbench.names import counted
from codecbench.tables.document import with_interval
from codecbench.tables.formats import short

if TYPE_CHECKING:
    from codecbench.results.record import Record

LEGEND_ROWS = 14
"""The number of legend entries that fit into the place of a panel."""

PUBLISHED_POINT: Mapping[str, Any] = {
    "ls": "", "color": INK, "marker": "o", "ms": 3, "markerfacecolor": "none", "markeredgewidth": 0.5, "alpha": 0.6,
}  # fmt: skip
HEAD_LINE: Mapping[str, Any] = {"color": INK, "lw": 0.8, "ls": (0, (4, 2))}


def rate_accuracy(study: Study, size: PageSize = PAPER) -> Drawing:
    """Draws the metric with intervals against mean payload bytes: one panel for each split, one line for each row."""
    styles = row_styles(study.shown, study.raw_rows)
    published = _published(study) if study.splits[0] == INPUT else []
    panels = _panels(study, styles, size, [*reference_handles(), *_point_handles(with_published=bool(published))])
    tips = Tips()
    lines: list[tuple[str, list[str]]] = []
    low, high = metric_limits(study)
    task, uncompressed = study.task, study.uncompressed
    curves_at: list[list[Curve]] = []
    beyond = undefined = 0
    for axes, split in zip(panels, study.splits, strict=True):
        axes.axhline(uncompressed, zorder=0.9, **UNCOMPRESSED_LINE)
        axes.axhline(uncompressed - study.sign * study.budget, zorder=0.9, **BUDGET_LINE)
        drawn = []
        for row, measured in _rows_at(study, split).items():
            records = list(filter(is_defined, measured))
            inside = [record for record in records if low <= value_of(record).value <= high]
            undefined += len(measured) - len(records)
            beyond += len(records) - len(inside)
            curve = _draw_curve(axes, row, records, inside, styles[row], tips)
            drawn += [curve] if inside else []
            lines += [_line(split, record) for record in measured]
        axes.set_ylim(low, high)
        _finish(axes, split)
        curves_at.append(drawn)
    theirs = _draw_published(panels[0], published, study.uncompressed, tips, lines)
    for axes in panels[:: size.curve_panels]:
        axes.set_ylabel(metric_label(study))
    freeze_layout(panels[0].figure)
    named: list[str] = []
    for axes, drawn in zip(panels, curves_at, strict=True):
        named += label_curves(axes, drawn, named, (uncompressed, uncompressed - study.sign * study.budget))
    left_out = f"{beyond} points that lose more are beyond the axis. " if beyond else ""
    left_out += f"Not drawn: {counted(undefined, 'point')} without a metric. " if undefined else ""
    return Drawing(
        name="rate-accuracy",
        title=f"Rate and {task.metric} of {study.workload} at each split point",
        figure=panels[0].figure,
        alt=f"{task.metric} against mean payload bytes for {counted(len(study.shown), 'codec')} at "
        f"{', '.join(study.splits)}. Smallest payload within the budget, of all rows: {_smallest(study) or 'none'}.",
        caption=f"{study.workload}. Every operating point, with 95 % bootstrap intervals over {task.n} test samples. "
        f"Dashed: the uncompressed model; dotted: the budget, {budget_text(study)}. {theirs}{left_out}"
        f"{_single_points(study)}".rstrip(),
        numbers=numbers("Rate and metric", "split, codec and point", ["bytes", metric_label(study)], lines),
        tips=tips.texts,
    )


def _draw_curve(
    axes: Any, row: str, records: Sequence[Record], inside: Sequence[Record], style: RowStyle, tips: Tips
) -> Curve:
    """Draws the line and the intervals of a row, and a marker for each record inside the axis; returns the curve."""
    points = [(payload_bytes(record), value_of(record)) for record in records]
    sizes = [size for size, _ in points]
    axes.plot(sizes, [v.value for _, v in points], color=style.colour, ls=style.line, lw=0.8, zorder=2)
    lows, highs = [v.low for _, v in points], [v.high for _, v in points]
    axes.vlines(sizes, lows, highs, color=style.colour, lw=0.5, alpha=0.45, zorder=1)
    if inside:
        (dots,) = axes.plot(
            [payload_bytes(record) for record in inside], [value_of(record).value for record in inside], ls="",
            color=style.colour, marker=style.marker, markeredgecolor="white", markeredgewidth=0.3, zorder=3,
        )  # fmt: skip
        tips.add(dots, *map(_tip, inside))
    return Curve(row, style.colour, [(size, v.value) for size, v in points])


def _published(study: Study) -> list[tuple[PublishedPoint, float]]:
    """Returns the points of other systems within the axis, each with its change from our uncompressed model."""
    low, high = metric_limits(study)
    found = (
        (point, study.uncompressed + point.change) for point in comparable_points(study.measured)
        if point.metric == study.task.metric and point.change is not None
    )  # fmt: skip
    return [(point, value) for point, value in found if low <= value <= high]


def _draw_published(
    axes: Any,
    shown: Sequence[tuple[PublishedPoint, float]],
    uncompressed: float,
    tips: Tips,
    lines: list[tuple[str, list[str]]],
) -> str:
    """Draws points of other systems, and returns a sentence for the caption."""
    if not shown:
        return ""
    (dots,) = axes.plot(
        [point.payload_bytes for point, _ in shown], [value for _, value in shown], zorder=1.5, **PUBLISHED_POINT
    )
    names = [f"{point.system} {point.variant}, published" for point, _ in shown]
    changes = [f"{value - uncompressed:+.1f}" for _, value in shown]
    sizes = [f"{point.payload_bytes:,.0f}" for point, _ in shown]
    found = list(zip(names, sizes, changes, strict=True))
    tips.add(dots, *(f"{name}: {size} bytes, {change}" for name, size, change in found))
    lines += [(name, [size, f"{change} from its own model"]) for name, size, change in found]
    systems = ", ".join(dict.fromkeys(point.system for point, _ in shown))
    return f"Hollow circles: published by others, not measured here ({systems}), at the change from their own model. "


def _point_handles(*, with_published: bool) -> list[Any]:
    """Returns the legend entries of an interval, and of points that others published."""
    interval = line_handle(color=GREY, lw=0.5, marker="|", ms=8, ls="", label="95 % interval")
    theirs = [line_handle(label="published by others", **PUBLISHED_POINT)] if with_published else []
    return [interval, *theirs]


def _single_points(study: Study) -> str:
    """Returns a sentence on rows that have one point only at every split, and so no curve; empty if none has."""
    counts = {
        row: max(len([r for r in study.measured if r.row == row and r.key.split == split]) for split in study.splits)
        for row in study.shown
        if row not in study.raw_rows
    }
    single = [row for row, count in counts.items() if count == 1]
    if not single:
        return ""
    return f"One point only: {', '.join(single)}; 'codecbench run --preset full' measures the curve. "


def _smallest(study: Study) -> str:
    """Returns the smallest payload within the budget at each split, with its row, as text."""
    best = {split: study.best_at(split) for split in study.splits}
    return "; ".join(
        f"{split} {payload_bytes(found.record):,.1f} bytes ({found.record.row})"
        for split, found in best.items()
        if found
    )


def device_cost(study: Study, size: PageSize = PAPER) -> Drawing:
    """Draws encoding time on the device against mean payload bytes, log-log, with the head's time, a panel a split."""
    styles = row_styles(study.shown, study.raw_rows)
    panels = _panels(study, styles, size, [line_handle(label="head before the split", **HEAD_LINE)])
    scenario = study.scenario
    tips = Tips()
    lines: list[tuple[str, list[str]]] = []
    head_times: list[str] = []
    for axes, split in zip(panels, study.splits, strict=True):
        heads_ms = []
        for row, records in _rows_at(study, split).items():
            style = styles[row]
            steps = [study.latency_of(record, scenario) for record in records]
            encode_ms = [1000 * latency.step_median_s("encode") for latency in steps]
            heads_ms += [1000 * latency.step_median_s("head") for latency in steps]
            sizes = [payload_bytes(record) for record in records]
            (dots,) = axes.plot(
                sizes, encode_ms, color=style.colour, ls=style.line, lw=0.6, marker=style.marker,
                markeredgecolor="white", markeredgewidth=0.3, zorder=2,
            )  # fmt: skip
            names = [curves.row_and_point(record) for record in records]
            tips.add(dots, *(f"{name}: {size:,.1f} bytes, encoding {short(ms)} ms"
                             for name, size, ms in zip(names, sizes, encode_ms, strict=True)))  # fmt: skip
            lines += [(f"{split}: {name}", [f"{size:,.1f}", short(ms), short(1000 * latency.step_median_s("head"))])
                      for name, size, ms, latency in zip(names, sizes, encode_ms, steps, strict=True)]  # fmt: skip
        if heads_ms:
            head_ms = sorted(heads_ms)[len(heads_ms) // 2]
            if head_ms > 0:  # 0 at the input, whose head is empty
                axes.axhline(head_ms, zorder=0.9, **HEAD_LINE)
            axes.set_title(f"head {short(head_ms)} ms", loc="right", fontweight="normal")
            head_times.append(f"{split} {short(head_ms)} ms")
        _finish(axes, split)
    for axes in panels:
        log_axis(axes.yaxis, dense=1_000)
    for axes in panels[:: size.curve_panels]:
        axes.set_ylabel(f"encoding, ms ({'measured' if scenario.device is None else 'predicted'}, log)")
    return Drawing(
        name="device-cost",
        title=f"Encoding time on the device against payload, {study.workload}{machines_text(study)}",
        figure=panels[0].figure,
        alt=f"Encoding time against mean payload bytes for {counted(len(study.shown), 'codec')} at "
        f"{', '.join(study.splits)}, beside the head's time: {', '.join(head_times)}.",
        caption=f"{study.workload}. Median time of one sample on one thread. Device: {device_text(study)}. Dashed: the "
        "head that runs before, whose time stands above each panel.",
        numbers=numbers("Device time", "split, codec and point", ["bytes", "encode ms", "head ms"], lines),
        tips=tips.texts,
    )


def _panels(study: Study, styles: Mapping[str, RowStyle], size: PageSize, others: Sequence[Any]) -> list[Any]:
    """Returns one panel for each split, and draws the legend: in the place of an unused panel, else above all.

    `others` are legend entries besides those of rows.
    """
    columns = min(size.curve_panels, len(study.splits))
    rows = -(-len(study.splits) // columns)
    handles = [*(row_handle(row, styles[row]) for row in study.shown), *others]
    left_over = rows * columns - len(study.splits)
    in_panel = left_over > 0 and len(handles) <= LEGEND_ROWS
    width_mm = size.page_mm if columns > 1 else size.column_mm
    labels = [handle.get_label() for handle in handles]
    height_mm = 52 * rows + (3 if in_panel else 3 + legend_mm(width_mm, labels))
    figure, grid = canvas(width_mm, height_mm, rows, columns, sharey=True)
    panels = list(grid.flat)
    if in_panel:
        legend_in(panels[-1], handles)
    else:
        legend_above(figure, handles)
    for axes in panels[len(study.splits) : -1 if in_panel else None]:
        axes.remove()
    for axes in panels[:: size.curve_panels]:
        axes.tick_params(labelleft=True)
    return panels[: len(study.splits)]


def _rows_at(study: Study, split: str) -> dict[str, list[Record]]:
    """Returns the records of the shown rows at a split, smallest payload first."""
    found = {
        row: [r for r in study.measured if r.row == row and r.key.split == split] for row in study.shown
    }  # fmt: skip
    return {row: [point.record for point in curves.curve(records)] for row, records in found.items() if records}


def _finish(axes: Any, split: str) -> None:
    axes.set_title(split)
    axes.set_xlabel("payload, bytes (mean, log)")
    log_axis(axes.xaxis)
    axes.grid()


def _tip(record: Record) -> str:
    task = groups(record).task
    value = f"{value_of(record).value:.{task.decimals}f} {task.unit}".rstrip()
    return f"{curves.row_and_point(record)}: {payload_bytes(record):,.1f} bytes, {value}"


def _line(split: str, record: Record) -> tuple[str, list[str]]:
    task = groups(record).task
    value = with_interval(task.value, task.low, task.high, f".{task.decimals}f")
    return f"{split}: {curves.row_and_point(record)}", [f"{payload_bytes(record):,.1f}", value]
