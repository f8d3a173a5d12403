"""Figures of the network: what crosses at each split point, and latency against bandwidth and background traffic."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from codecbench.analysis import planner
from codecbench.analysis.latency import LOCAL, Scenario
from codecbench.analysis.planner import Candidate
from codecbench.analysis.selection import groups, payload_bytes
from codecbench.analysis.study import FigureData
from codecbench.errors import UsageError
from codecbench.figures.drawing import Drawing, Tips, numbers
from codecbench.figures.style import (
    FAINT,
    GREY,
    INK,
    OKABE_ITO,
    PAGE_MM,
    POINTS,
    canvas,
    legend_above,
    legend_mm,
    log_axis,
    named,
    note_below,
    row_handle,
    row_styles,
)
from codecbench.links.model import Link
from codecbench.tables.formats import short
from codecbench.tables.plan import bandwidth as bandwidth_text

PERCENT_TAKEN = tuple(map(float, range(0, 100, 5)))
"""Shares of the capacity that others take."""

FASTEST = "fastest of all rows"

_EPSILON = 1e-9


def crossing(data: FigureData) -> Drawing:
    """What crosses at each split: the raw tensor, and the smallest payload within the budget; then the links' times."""
    links = [scenario.link for scenario in data.scenarios]
    figure, grid = canvas(
        PAGE_MM, 8.5 * len(data.splits) + 21, 1, 1 + len(links), sharey=True, width_ratios=(1.6, *(1.0 for _ in links))
    )
    tips = Tips()
    raw, coded = _crossing_sizes(data)
    panels: list[tuple[Any, str, Callable[[float], float]]] = [(grid[0, 0], "payload, bytes (log)", float)]
    panels += [
        (axes, f"{link.name}, ms (modelled)", _milliseconds(link))
        for axes, link in zip(grid[0, 1:], links, strict=True)
    ]
    for axes, label, measure in panels:
        for y, split in enumerate(data.splits):
            before = measure(raw[split])
            if split in coded:
                size, row = coded[split]
                after = measure(size)
                axes.plot([after, before], [y, y], color="#AAAAAA", lw=1.2, zorder=1)
                (dot,) = axes.plot([after], [y], marker="o", ms=5, ls="", color=OKABE_ITO["vermilion"], zorder=3)
                tips.add(dot, f"{split}, {row}: {label.split(',')[0]} {short(after)}")
            (square,) = axes.plot([before], [y], marker="s", ms=5, ls="", color=GREY, zorder=2)
            tips.add(square, f"{split}, raw tensor: {label.split(',')[0]} {short(before)}")
        axes.set_xlabel(label)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        if axes is not grid[0, 0]:
            axes.set_xlim(0, 1.08 * max(measure(size) for size in raw.values()))
    first = grid[0, 0]
    log_axis(first.xaxis)
    for y, split in enumerate(data.splits):
        found = coded.get(split)
        text = f"{found[1]}: {short(raw[split] / found[0])} times fewer" if found else "no codec within the budget"
        first.annotate(
            text, (raw[split], y), xytext=(0, 4.5), textcoords="offset points", ha="right", fontsize=POINTS - 1
        )
    first.set_yticks(range(len(data.splits)), data.splits)
    first.set_ylim(len(data.splits) - 0.5, -0.75)
    legend_above(figure, _crossing_handles())
    best = min(coded, key=lambda split: coded[split][0] / raw[split], default=None)
    told = (
        f"At {best}, {raw[best]:,.0f} bytes become {coded[best][0]:,.1f} with {coded[best][1]}."
        if best else "No codec is within the budget."
    )  # fmt: skip
    names = " and ".join(link.name for link in links)
    return Drawing(
        name="crossing",
        title=f"What crosses at each split point of {data.workload}, raw and coded",
        figure=figure,
        alt=f"For each of {len(data.splits)} split points the bytes of the raw tensor and of the smallest payload "
        f"within the budget, and the time of both over {names}. {told}",
        caption=f"{data.workload}. Squares: the raw {_dtypes(data)} tensor; dots: of all codecs the smallest mean "
        f"payload within {data.budget_text}. Times of the mean payload over {names}, modelled.",
        numbers=numbers(
            "What crosses", "split", ["raw bytes", "codec", "bytes", *(f"{link.name} ms, raw" for link in links),
                                      *(f"{link.name} ms, coded" for link in links)],
            [_crossing_row(split, raw[split], coded.get(split), links) for split in data.splits],
        ),
        tips=tips.texts,
    )  # fmt: skip


def _crossing_sizes(data: FigureData) -> tuple[dict[str, float], dict[str, tuple[float, str]]]:
    raw: dict[str, float] = {}
    coded: dict[str, tuple[float, str]] = {}
    for record in data.measured:
        raw.setdefault(record.key.split, groups(record)[0].raw_bytes)
    for split in data.splits:
        best = data.best_at(split)
        if best is not None:
            coded[split] = (payload_bytes(best.record), best.record.row)
    return raw, coded


def _crossing_row(
    split: str, raw: float, found: tuple[float, str] | None, links: Sequence[Link]
) -> tuple[str, list[str]]:
    before = [short(_milliseconds(link)(raw)) for link in links]
    if found is None:
        return split, [f"{raw:,.0f}", "-", "-", *before, *("-" for _ in links)]
    after = [short(_milliseconds(link)(found[0])) for link in links]
    return split, [f"{raw:,.0f}", found[1], f"{found[0]:,.1f}", *before, *after]


def _dtypes(data: FigureData) -> str:
    return " or ".join(sorted({groups(record)[0].dtype for record in data.measured}))


def _crossing_handles() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], marker="s", ms=5, ls="", color=GREY, label="raw tensor"),
        Line2D([], [], marker="o", ms=5, ls="", color=OKABE_ITO["vermilion"], label="smallest within the budget"),
    ]


def _milliseconds(link: Link) -> Callable[[float], float]:
    return lambda size: 1000 * float(link.seconds([size])[0])


def against_bandwidth(data: FigureData) -> Drawing:
    """Latency of each row at its fastest split and point, against the bandwidth: one panel a link."""
    return _sweep(
        data, "bandwidth", [value / 1e6 for value in planner.SWEEP_BIT_PER_S], "bandwidth, Mbit/s (log)",
        lambda link, value: link.with_bandwidth(value * 1e6), lambda value: bandwidth_text(value * 1e6),
        lambda link: None if link.bandwidth_bit_per_s is None else link.bandwidth_bit_per_s / 1e6,
    )  # fmt: skip


def against_background(data: FigureData) -> Drawing:
    """Latency of each row at its fastest split and point, against the share that others take: one panel a link."""
    return _sweep(
        data, "background", PERCENT_TAKEN, "capacity taken by others, %",
        lambda link, value: link.with_background(value / 100), lambda value: f"{value:.0f} %", lambda _: None,
    )  # fmt: skip


def _sweep(
    data: FigureData,
    what: str,
    values: Sequence[float],
    label: str,
    changed: Callable[[Link, float], Link],
    shown: Callable[[float], str],
    own: Callable[[Link], float | None],
) -> Drawing:
    width_mm = PAGE_MM if len(data.scenarios) > 1 else 110
    names = [named(row) for row in (LOCAL, *data.shown, FASTEST)]
    figure, grid = canvas(width_mm, 66 + legend_mm(width_mm, names), 1, len(data.scenarios), sharey=True)
    styles = row_styles(data.shown, data.raw_rows)
    tips = Tips()
    rows: list[tuple[str, list[str]]] = []
    told: list[str] = []
    without: list[str] = []
    for axes, scenario in zip(grid[0], data.scenarios, strict=True):
        axes.set_title(scenario.link.name)
        try:
            lines = fastest_by_row(data, scenario, values, changed)
        except UsageError as error:
            axes.set_axis_off()
            axes.text(0.5, 0.5, textwrap.fill(str(error), 40), ha="center", va="center", transform=axes.transAxes)
            told.append(f"Over {scenario.link.name}: {error}.")
            continue
        without = [row for row in data.shown if row not in lines]
        best = [min((found[i] for found in lines.values()), key=_median) for i in range(len(values))]
        axes.plot(values, [1000 * _median(c) for c in best], color=FAINT, lw=4.5, solid_capstyle="round", zorder=1)
        for row in (LOCAL, *data.shown):
            if row not in lines:
                continue
            look = styles[row]
            ms = [1000 * _median(c) for c in lines[row]]
            (line,) = axes.plot(
                values, ms, color=look.colour, ls=look.line, marker=look.marker, markeredgecolor="white",
                markeredgewidth=0.3, zorder=2,
            )  # fmt: skip
            if look.marker:
                tips.add(line, *(f"{shown(v)}: {c.label} {short(t)} ms"
                                 for v, t, c in zip(values, ms, lines[row], strict=True)))  # fmt: skip
        mark = own(scenario.link)
        if mark is not None:
            axes.axvline(mark, color=INK, lw=0.7, ls=":", zorder=0.9)
        axes.set_xlabel(label)
        axes.grid()
        if what == "bandwidth":
            log_axis(axes.xaxis)
        told.append(f"Over {scenario.link.name} {_turns(values, best, shown)}.")
        for row, found in lines.items():
            rows += [(f"{scenario.link.name}, {row}", [short(1000 * _median(c)) for c in found])]
    for axes in filter(lambda panel: panel.lines, grid[0]):
        log_axis(axes.yaxis, dense=1_000)
    grid[0, 0].set_ylabel("latency, ms (median, log)")
    legend_above(figure, [*(row_handle(row, styles[row]) for row in (LOCAL, *data.shown)), _best_handle()])
    left_out = f"No point within the budget: {', '.join(without)}." if without else ""
    note_below(figure, data.small_print, left_out)
    return Drawing(
        name=f"latency-against-{what}",
        title=f"End-to-end latency against {what}{data.machines_text}",
        figure=figure,
        alt=f"Lines of the median latency of {len(data.shown)} codecs and {LOCAL} against {what}. {' '.join(told)}",
        caption=f"{data.workload}. Each codec at its fastest split and point within {data.budget_text}; the broad line "
        f"is the fastest of all rows. {'Dotted: the bandwidth of the link itself. ' if what == 'bandwidth' else ''}"
        f"{data.setting_text} {left_out}".rstrip(),
        numbers=numbers(f"Latency against {what}, ms", "link and codec", [shown(value) for value in values], rows),
        tips=tips.texts,
    )


def fastest_by_row(
    data: FigureData, scenario: Scenario, values: Sequence[float], changed: Callable[[Link, float], Link]
) -> dict[str, list[Candidate]]:
    """For each row with a point within the budget, and `local`: its fastest candidate at each value of the sweep.

    Raises UsageError for a link that cannot be changed so.
    """
    feasible = [found for found in data.candidates(scenario) if found.loss <= data.budget + _EPSILON]
    lines: dict[str, list[Candidate]] = {}
    for value in values:
        fastest: dict[str, Candidate] = {}
        for found in planner.over(feasible, changed(scenario.link, value)):
            if found.row not in fastest or _median(found) < _median(fastest[found.row]):
                fastest[found.row] = found
        for row, found in fastest.items():
            lines.setdefault(row, []).append(found)
    return lines


def _median(found: Candidate) -> float:
    return found.latency.median_s


def _turns(values: Sequence[float], best: Sequence[Candidate], shown: Callable[[float], str]) -> str:
    """Who is fastest, and from where on: `the fastest is klt at stage3, from 10 Mbit/s local`."""
    names = [found.row if found.row == LOCAL else f"{found.row} at {found.split}" for found in best]
    turns = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    told = [names[0], *(f"from {shown(values[i])} {names[i]}" for i in turns[1:])]
    return f"the fastest is {', '.join(told)}{' throughout' if len(turns) == 1 else ''}"


def _best_handle() -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=FAINT, lw=4.5, label=FASTEST)
