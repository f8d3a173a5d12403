"""The case study at one split: latency stacked by device, network and edge, the metric, and both in a Pareto plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codecbench.analysis.latency import LOCAL
from codecbench.analysis.planner import Candidate
from codecbench.analysis.selection import LOSS_TOLERANCE, value_of
from codecbench.analysis.study import Study
from codecbench.figures.drawing import Drawing, Tips, numbers
from codecbench.figures.latency import OVER_MEANS, LatencyBar, bar_limit, bars_at, stacked, total_handle
from codecbench.figures.sizes import PAPER, PageSize
from codecbench.figures.style import (
    BUDGET_LINE,
    INK,
    OKABE_ITO,
    POINTS,
    UNCOMPRESSED_LINE,
    RowStyle,
    legend_above,
    line_handle,
    log_axis,
    metric_limits,
    note_below,
    part_handles,
    reference_handles,
    row_handle,
    row_styles,
)
from codecbench.figures.texts import budget_text, machines_text, metric_label, setting_text
from codecbench.results.cell import point_label
from codecbench.tables.document import Document, with_interval
from codecbench.tables.formats import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLOUD = "#BBBBBB"


def case_study(study: Study, size: PageSize = PAPER) -> Drawing:
    """Draws the case study over the first link.

    Panels: (a) stacked latency and (b) metric at the shallowest split, (c) all candidates with their Pareto front.
    """
    from matplotlib.figure import Figure

    scenario, split = study.scenario, study.splits[0]
    candidates = study.candidates(scenario)
    best = _best(candidates, study.budget)
    bars = _bars(study, best, split)
    styles = row_styles(study.shown, study.raw_rows)
    upper_mm, lower_mm = 4.2 * len(bars) + 21, max(58.0, 3.6 * (len(study.shown) + 5) + 12)
    figure = Figure(figsize=(size.page_mm / 25.4, (upper_mm + lower_mm) / 25.4))
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(upper_mm, lower_mm))[:, 0]
    stack, metric = upper.subplots(1, 2, width_ratios=(1.7, 1))
    tips = Tips()
    stacked(stack, [bar.label for bar in bars], {bar.label: bar for bar in bars},
            bar_limit([bar.total_ms for bar in bars]), tips, split)  # fmt: skip
    stack.set_title(f"(a) latency at {split} over {scenario.link.name}")
    stack.set_xlabel("latency, ms")
    _metric(metric, study, bars, tips)
    metric.set_title(f"(b) {study.task.metric} at {split}")
    front = study.plan(scenario).front
    axes = lower.subplots()
    beyond = _pareto(axes, study, candidates, front, styles, tips)
    axes.set_title(f"(c) latency and {study.task.metric}, all splits and points")
    predicted = frozenset().union(*(bar.latency.predicted for bar in bars))
    legend_above(upper, [*part_handles(predicted), total_handle()])
    axes.legend(handles=_handles(study, styles), loc="center left", bbox_to_anchor=(1.01, 0.5))
    over_note = OVER_MEANS if any(bar.over_budget for bar in bars) else ""
    note_below(lower, over_note)
    return Drawing(
        name=f"case-study-{scenario.link.name}",
        title=f"Case study: {study.workload} over {scenario.link.name}{machines_text(study)}",
        figure=figure,
        alt=f"Three panels: stacked latency of {len(bars)} ways to serve a request, their {study.task.metric} with "
        f"intervals, and {len(candidates)} candidates by latency and {study.task.metric} with a Pareto front of "
        f"{len(front)}. {_finding(study, bars, best, split)}",
        caption=f"{study.workload}. (a), (b): each codec with its smallest payload within {budget_text(study)} at "
        f"{split} and the fastest codec of all splits and points. (a) Parts: the median of each; dot and line: median "
        f"and 95th percentile of the whole. (b) 95 % bootstrap intervals on {study.task.n} test samples; dashed: the "
        "uncompressed model, dotted: the budget. (c) Grey: all candidates; coloured: each codec's fastest within the "
        "budget; ringed: the Pareto front of latency and of the loss on the choice samples, shown at its "
        f"{study.task.metric} on the test samples. {beyond}{setting_text(study)} {over_note}".rstrip(),
        numbers=_numbers(bars, front, study),
        tips=tips.texts,
    )


def _best(candidates: list[Candidate], budget: float, *, with_local: bool = False) -> Candidate | None:
    """Returns the fastest candidate within the budget, None where there is none; `local` counts only if asked for."""
    feasible = [
        found for found in candidates if found.loss <= budget + LOSS_TOLERANCE and (with_local or found.row != LOCAL)
    ]  # fmt: skip
    return min(feasible, key=lambda found: (found.latency.median_s, found.loss, found.payload_bytes), default=None)


def _bars(study: Study, best: Candidate | None, split: str) -> list[LatencyBar]:
    """Returns the bars at the split, and a bar of the fastest codec of all splits where it is not among them."""
    found = bars_at(study, split, study.scenario)
    if best is None:
        return found
    record = next(
        record for record in study.measured
        if (record.key.split, record.row, point_label(record.key.point)) == (best.split, best.row, best.point)
    )  # fmt: skip
    if any(bar.record is record for bar in found):
        return found
    label = f"{best.row} at {best.split}" if best.split != split else f"{best.row}, fastest point"
    return [*found, LatencyBar(label, best.latency, record)]


def _metric(axes: Axes, study: Study, bars: list[LatencyBar], tips: Tips) -> None:
    """Draws the metric of each bar with its interval; a value beyond the axis becomes an arrow with its number."""
    task = study.task
    low_end, high_end = metric_limits(study)
    axes.axvline(study.uncompressed, **UNCOMPRESSED_LINE)
    axes.axvline(study.uncompressed - study.sign * study.budget, **BUDGET_LINE)
    for y, bar in enumerate(bars):
        value, low, high = (study.uncompressed, None, None) if bar.record is None else value_of(bar.record)
        value_text = with_interval(value, low, high, f".{task.decimals}f")
        if low is not None and high is not None:
            axes.plot([low, high], [y, y], color=INK, lw=0.8)
        shown = min(max(value, low_end), high_end)
        marker = "o" if shown == value else "<" if shown > value else ">"
        (dot,) = axes.plot(
            [shown], [y], marker=marker, ms=3.2, color=OKABE_ITO["blue"], ls="", zorder=3, clip_on=False
        )  # fmt: skip
        tips.add(dot, f"{bar.label}: {value_text} {task.unit}".strip())
        if shown != value:
            side, gap = ("left", 4) if shown > value else ("right", -4)
            axes.annotate(
                f"{value:.{task.decimals}f}", (shown, y), xytext=(gap, 0), textcoords="offset points", va="center",
                ha=side, fontsize=POINTS - 1,
            )  # fmt: skip
    axes.set_xlim(low_end, high_end)
    axes.set_yticks(range(len(bars)), [""] * len(bars))
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel(metric_label(study))


def _pareto(
    axes: Axes,
    study: Study,
    candidates: list[Candidate],
    front: tuple[Candidate, ...],
    styles: dict[str, RowStyle],
    tips: Tips,
) -> str:
    """Draws all candidates, the fastest of each row and the front; returns a sentence on candidates beyond the axis."""
    task = study.task
    low, high = metric_limits(study)

    def position(found: Candidate) -> tuple[float, float]:
        return 1000 * found.latency.median_s, study.uncompressed + found.change

    cloud = [position(found) for found in candidates if low <= position(found)[1] <= high]
    axes.plot([x for x, _ in cloud], [y for _, y in cloud], marker=".", ms=2.5, ls="", color=CLOUD, zorder=1)
    for row in (*study.shown, LOCAL):
        found = _best([candidate for candidate in candidates if candidate.row == row], study.budget, with_local=True)
        if found is None:
            continue
        x, y = position(found)
        style = styles[row]
        marker, size = ("*", 8.0) if row == LOCAL else (style.marker, 5.0)
        (dot,) = axes.plot(
            [x], [y], marker=marker, ms=size, ls="", color=style.colour, markeredgecolor="white", markeredgewidth=0.4,
            zorder=3,
        )  # fmt: skip
        tips.add(dot, f"{found.label}: {short(x)} ms, {task.metric} {y:.{task.decimals}f}")
    ringed = [position(found) for found in front if low <= position(found)[1] <= high]
    axes.plot(
        [x for x, _ in ringed], [y for _, y in ringed], marker="o", ms=8, mfc="none", mec=INK, mew=0.7, ls="", zorder=4
    )
    axes.axhline(study.uncompressed, zorder=0.9, **UNCOMPRESSED_LINE)
    axes.axhline(study.uncompressed - study.sign * study.budget, zorder=0.9, **BUDGET_LINE)
    axes.set_ylim(low, high)
    axes.margins(x=0.03)
    log_axis(axes.xaxis)
    axes.grid()
    axes.set_xlabel("latency, ms (median, log)")
    axes.set_ylabel(metric_label(study))
    beyond = len(candidates) - len(cloud)
    return f"{beyond} candidates that lose more are beyond the axis of (c). " if beyond else ""


def _handles(study: Study, styles: dict[str, RowStyle]) -> list[Any]:
    return [
        line_handle(marker="*", ms=8, ls="", color=styles[LOCAL].colour, markeredgecolor="white", label=LOCAL),
        *(row_handle(row, styles[row], with_line=False) for row in study.shown),
        line_handle(marker=".", ms=2.5, ls="", color=CLOUD, label="any other candidate"),
        line_handle(marker="o", ms=8, mfc="none", mec=INK, mew=0.7, ls="", label="Pareto front"),
        *reference_handles(),
    ]


def _finding(study: Study, bars: list[LatencyBar], best: Candidate | None, split: str) -> str:
    local = bars[0]
    if best is None:
        return f"No codec is within the budget; {LOCAL} takes {short(local.total_ms)} ms."
    raw = next((bar for bar in bars if bar.label in study.raw_rows), None)
    beside = f", {raw.label} at {split} {short(raw.total_ms)} ms" if raw else ""
    return (
        f"The fastest codec within the budget is {best.row} at {best.split}, {short(1000 * best.latency.median_s)} ms; "
        f"{LOCAL} takes {short(local.total_ms)} ms{beside}."
    )


def _numbers(bars: list[LatencyBar], front: tuple[Candidate, ...], study: Study) -> Document:
    task = study.task
    rows = []
    for bar in bars:
        value = study.uncompressed if bar.record is None else value_of(bar.record).value
        rows.append((bar.label, [short(bar.total_ms), f"{value:.{task.decimals}f}", ""]))
    for found in front:
        value = study.uncompressed + found.change
        rows.append((f"front: {found.label}", [short(1000 * found.latency.median_s), f"{value:.{task.decimals}f}",
                                               f"{found.loss:+.3g}"]))  # fmt: skip
    return numbers("Latency and metric", "what", ["latency ms", metric_label(study), "loss on choice samples"], rows)
