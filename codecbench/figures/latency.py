"""The figure of end-to-end latency by codec and split, stacked by device, network and edge, and its stacked bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from codecbench.analysis.latency import LOCAL, Latency, Scenario
from codecbench.analysis.study import Study
from codecbench.figures.drawing import Drawing, Tips, numbers
from codecbench.figures.sizes import PAPER, PageSize
from codecbench.figures.style import (
    INK,
    PARTS,
    POINTS,
    canvas,
    legend_above,
    legend_mm,
    line_handle,
    note_below,
    part_handles,
    short_name,
)
from codecbench.figures.texts import budget_text, machines_text, setting_text
from codecbench.names import counted
from codecbench.results.cell import point_label
from codecbench.results.record import Record
from codecbench.tables.document import Document
from codecbench.tables.formats import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OVER = "†"
"""The mark of a row without a point within the budget."""
OVER_MEANS = f"{OVER} no point within the budget: the one of the least loss."
CUT_AT = 3.0
"""A bar longer than this many times the median bar may be cut; its value is written beside it."""


@dataclass(frozen=True, eq=False)
class LatencyBar:
    """A stacked bar: its label, its latency, and its record, None for `local`."""

    label: str
    latency: Latency
    record: Record | None = None
    over_budget: bool = False

    @property
    def parts_ms(self) -> dict[str, float]:
        """The median of each part, in milliseconds."""
        return {part: 1000 * self.latency.step_median_s(*steps) for part, (steps, _, _) in PARTS.items()}

    @property
    def total_ms(self) -> float:
        """The median end-to-end latency, in milliseconds."""
        return 1000 * self.latency.median_s


def bars_at(study: Study, split: str, scenario: Scenario) -> list[LatencyBar]:
    """Returns the bar of `local`, then of every shown row that was measured at the split."""
    found = [LatencyBar(LOCAL, study.local(scenario))]
    for row in study.shown:
        chosen = study.chosen.get((row, split))
        if chosen:
            found.append(LatencyBar(row, study.latency_of(chosen.record, scenario), chosen.record, chosen.over_budget))
    return found


def by_split(study: Study, size: PageSize = PAPER) -> Drawing:
    """Draws latency by codec and split over the first link: one panel for each split, one bar for each row."""
    scenario = study.scenario
    bars = {split: {bar.label: bar for bar in bars_at(study, split, scenario)} for split in study.splits}
    every = [bar for at in bars.values() for bar in at.values()]
    labels = (LOCAL, *study.shown)
    columns = min(len(study.splits), size.bar_panels)
    rows = -(-len(study.splits) // columns)
    width_mm = size.page_mm if columns > 2 else (40 + 45 * columns)
    predicted = frozenset().union(*(bar.latency.predicted for bar in every))
    handles = [*part_handles(predicted), total_handle()]
    over_note = OVER_MEANS if any(bar.over_budget for bar in every) else ""
    above_mm = legend_mm(width_mm, [handle.get_label() for handle in handles])
    height_mm = rows * (4.0 * len(labels) + 13) + above_mm + (3 if over_note else 0)
    figure, grid = canvas(width_mm, height_mm, rows, columns, sharey=True)
    panels = list(grid.flat)
    tips = Tips()
    limit = bar_limit([bar.total_ms for bar in every])
    for axes, split in zip(panels, study.splits, strict=False):
        stacked(axes, labels, bars[split], limit, tips, split, partial(study.missing, split))
        axes.set_title(split)
        axes.set_xlabel("latency, ms")
    for axes in panels[len(study.splits) :]:
        axes.remove()
    legend_above(figure, handles)
    note_below(figure, over_note)
    fastest = min(
        (bar for bar in every if not bar.over_budget and bar.record), key=lambda bar: bar.total_ms, default=None
    )
    return Drawing(
        name=f"latency-by-split-{scenario.link.name}",
        title=f"End-to-end latency by codec and split point over {scenario.link.name}{machines_text(study)}",
        figure=figure,
        alt=f"Stacked bars of device, network and edge time for {LOCAL} and {counted(len(study.shown), 'codec')} at "
        f"{', '.join(study.splits)}. {_fastest_text(fastest, every[0])}",
        caption=f"{study.workload}. Each codec with its smallest payload within {budget_text(study)}. Parts: the "
        "median of each; dot and number: the median of the whole, which their sum need not equal; line: to its 95th "
        f"percentile; arrow: beyond the axis. {LOCAL}: the whole network on the device. {setting_text(study)} "
        f"{over_note}".rstrip(),
        numbers=_bar_numbers(bars),
        tips=tips.texts,
    )


def _fastest_text(fastest: LatencyBar | None, local: LatencyBar) -> str:
    if fastest is None or fastest.record is None:
        return f"No codec has a point within the budget; {LOCAL} takes {short(local.total_ms)} ms."
    return (
        f"The fastest codec is {fastest.label} at {fastest.record.key.split}, {short(fastest.total_ms)} ms; {LOCAL} "
        f"takes {short(local.total_ms)} ms."
    )


def bar_limit(totals_ms: Sequence[float]) -> float:
    """Returns the length of the longest bar in milliseconds, or of the longest one that is not an outlier."""
    ordered = sorted(totals_ms)
    typical = ordered[len(ordered) // 2]
    near = [total for total in ordered if total <= CUT_AT * typical]
    longest = ordered[-1] if ordered[-1] <= 1.5 * near[-1] else near[-1]
    return longest or 1.0


def stacked(
    axes: Axes,
    labels: Sequence[str],
    bars: Mapping[str, LatencyBar],
    limit_ms: float,
    tips: Tips,
    where: str,
    missing: Callable[[str], str] = str,
) -> None:
    """Draws horizontal stacked bars, the first label on top, with the median of the whole to the right.

    For a label without a bar, the text `missing(label)` is written instead. A bar that is cut ends in an arrow.
    """
    axis_end_ms, bar_end_ms = 1.36 * limit_ms, 1.03 * limit_ms
    drawn = [(y, bars[label]) for y, label in enumerate(labels) if label in bars]
    ys = [y for y, _ in drawn]
    lefts = [0.0] * len(drawn)
    for part, (_, colour, hatch) in PARTS.items():
        widths = [bar.parts_ms[part] for _, bar in drawn]
        shown = [max(0.0, min(width, bar_end_ms - left)) for width, left in zip(widths, lefts, strict=True)]
        patches = axes.barh(
            ys,
            shown,
            left=[min(left, bar_end_ms) for left in lefts],
            height=0.72,
            color=colour,
            hatch=hatch,
            edgecolor=INK,
            lw=0.4,
        )
        for patch, width, (_, bar) in zip(patches, widths, drawn, strict=True):
            tips.add(patch, f"{bar.label}, {where}: {part} {short(width)} ms of {short(bar.total_ms)} ms")
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    inside = [(y, bar) for y, bar in drawn if bar.total_ms <= bar_end_ms]
    reaches = [(y, bar.total_ms, 1000 * bar.latency.p95_s) for y, bar in inside if bar.latency.p95_s is not None]
    axes.hlines(
        [y for y, _, _ in reaches], [low for _, low, _ in reaches], [min(high, bar_end_ms) for _, _, high in reaches],
        color=INK, lw=0.7,
    )  # fmt: skip
    axes.plot([bar.total_ms for _, bar in inside], [y for y, _ in inside], marker="o", ms=2.2, color=INK, ls="")
    beyond = [y for y, bar in drawn if bar.total_ms > bar_end_ms]
    axes.plot([bar_end_ms] * len(beyond), beyond, marker=">", ms=2.6, color=INK, ls="")
    for y, label in enumerate(labels):
        if label in bars:
            text = f"{short(bars[label].total_ms)}{OVER if bars[label].over_budget else ''}"
            axes.text(axis_end_ms, y, text, va="center", ha="right", fontsize=POINTS - 1)
        else:
            axes.text(0.02 * axis_end_ms, y, missing(label), va="center", color="#666666", fontsize=POINTS - 1)
    axes.set_yticks(range(len(labels)), [short_name(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(0, axis_end_ms)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def total_handle() -> Any:
    """Returns the legend entry of the dot and line on a stacked bar."""
    return line_handle(color=INK, marker="o", ms=2.2, lw=0.7, label="whole: median to 95th percentile")


def _bar_numbers(bars: Mapping[str, Mapping[str, LatencyBar]]) -> Document:
    rows = [
        (f"{split}: {bar.label}", [*(short(value) for value in bar.parts_ms.values()), short(bar.total_ms), _p95(bar),
                                   point_label(bar.record.key.point) if bar.record else ""])
        for split, at in bars.items()
        for bar in at.values()
    ]  # fmt: skip
    headings = [f"{part} ms" for part in PARTS] + ["whole ms", "p95 ms", "point"]
    return numbers("End-to-end latency, medians", "split and codec", headings, rows)


def _p95(bar: LatencyBar) -> str:
    p95_s = bar.latency.p95_s
    return short(None if p95_s is None else 1000 * p95_s)
