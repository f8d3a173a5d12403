"""Figures of the network: bytes that cross at each split, and latency against bandwidth and background traffic."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codecbench.analysis import planner
from codecbench.analysis.latency import LOCAL, Scenario, raw_network
from codecbench.analysis.planner import Candidate
from codecbench.analysis.selection import LOSS_TOLERANCE, groups, payload_bytes
from codecbench.analysis.study import Study
from codecbench.errors import UsageError
from codecbench.figures.drawing import Drawing, Tips, numbers
from codecbench.figures.sizes import PAPER, PageSize
from codecbench.figures.style import (
    FAINT,
    GREY,
    INK,
    OKABE_ITO,
    POINTS,
    RowStyle,
    canvas,
    legend_above,
    legend_mm,
    line_handle,
    log_axis,
    note_below,
    row_handle,
    row_styles,
)
from codecbench.figures.texts import budget_text, machines_text, setting_text, small_print
from codecbench.links.model import Link
from codecbench.names import counted
from codecbench.tables.formats import short
from codecbench.tables.plan import bandwidth as bandwidth_text

PERCENT_TAKEN = tuple(map(float, range(0, 100, 5)))
"""Shares of the link's capacity that other traffic takes, in percent."""

FASTEST = "fastest of all rows"


@dataclass(frozen=True)
class _Sent:
    """The bytes of a raw tensor or of a row's payloads, and their mean network time over each link."""

    row: str
    payload_bytes: float
    link_ms: tuple[float, ...]


@dataclass(frozen=True)
class _Sizes:
    """The sizes and times of the raw tensor and of the smallest payload within the budget, by split."""

    raw: dict[str, _Sent]
    coded: dict[str, _Sent]


def crossing(study: Study, size: PageSize = PAPER) -> Drawing:
    """Draws the bytes that cross at each split, raw and as the smallest payload within the budget, and their times."""
    links = [scenario.link for scenario in study.scenarios]
    figure, grid = canvas(
        size.page_mm,
        8.5 * len(study.splits) + 21,
        1,
        1 + len(links),
        sharey=True,
        width_ratios=(1.6, *(1.0 for _ in links)),
    )
    tips = Tips()
    sizes = _crossing_sizes(study)
    raw, coded = sizes.raw, sizes.coded
    _crossing_panel(grid[0, 0], "payload, bytes (log)", lambda sent: sent.payload_bytes, study.splits, sizes, tips)
    for number, (axes, link) in enumerate(zip(grid[0, 1:], links, strict=True)):
        measure = _milliseconds(number)
        _crossing_panel(axes, f"{link.name}, ms (modelled)", measure, study.splits, sizes, tips)
        axes.set_xlim(0, 1.08 * max(measure(sent) for sent in raw.values()))
    _label_splits(grid[0, 0], study.splits, sizes)
    legend_above(figure, _crossing_handles())
    best = min(coded, key=lambda split: coded[split].payload_bytes / max(raw[split].payload_bytes, 1), default=None)
    finding = (
        f"At {best}, {raw[best].payload_bytes:,.0f} bytes become {coded[best].payload_bytes:,.1f} with "
        f"{coded[best].row}." if best else "No codec is within the budget."
    )  # fmt: skip
    names = " and ".join(link.name for link in links)
    return Drawing(
        name="crossing",
        title=f"What crosses at each split point of {study.workload}, raw and coded",
        figure=figure,
        alt=f"For each of {counted(len(study.splits), 'split point')} the bytes of the raw tensor and of the smallest "
        f"payload within the budget, and the time of both over {names}. {finding}",
        caption=f"{study.workload}. Squares: the raw {_dtypes(study)} tensor; dots: of all codecs the smallest mean "
        f"payload within {budget_text(study)}. Mean times of the payloads over {names}, modelled.",
        numbers=numbers(
            "What crosses", "split", ["raw bytes", "codec", "bytes", *(f"{link.name} ms, raw" for link in links),
                                      *(f"{link.name} ms, coded" for link in links)],
            [_crossing_row(split, raw[split], coded.get(split)) for split in study.splits],
        ),
        tips=tips.texts,
    )  # fmt: skip


def _crossing_panel(
    axes: Any, label: str, measure: Callable[[_Sent], float], splits: Sequence[str], sizes: _Sizes, tips: Tips
) -> None:
    """Draws a line between both sizes for each split, in the unit that `measure` returns."""
    unit = label.split(",")[0]
    for y, split in enumerate(splits):
        before = measure(sizes.raw[split])
        if split in sizes.coded:
            coded = sizes.coded[split]
            after = measure(coded)
            axes.plot([after, before], [y, y], color="#AAAAAA", lw=1.2, zorder=1)
            (dot,) = axes.plot([after], [y], marker="o", ms=5, ls="", color=OKABE_ITO["vermilion"], zorder=3)
            tips.add(dot, f"{split}, {coded.row}: {unit} {short(after)}")
        (square,) = axes.plot([before], [y], marker="s", ms=5, ls="", color=GREY, zorder=2)
        tips.add(square, f"{split}, raw tensor: {unit} {short(before)}")
    axes.set_xlabel(label)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)


def _label_splits(axes: Any, splits: Sequence[str], sizes: _Sizes) -> None:
    """Writes the names of the splits beside the first panel, and the best codec with its gain at each split."""
    log_axis(axes.xaxis)
    for y, split in enumerate(splits):
        raw, found = sizes.raw[split], sizes.coded.get(split)
        text = _gain(raw, found) if found else "no codec within the budget"
        axes.annotate(
            text, (raw.payload_bytes, y), xytext=(0, 4.5), textcoords="offset points", ha="right", fontsize=POINTS - 1
        )
    axes.set_yticks(range(len(splits)), splits)
    axes.set_ylim(len(splits) - 0.5, -0.75)


def _gain(raw: _Sent, coded: _Sent) -> str:
    if coded.payload_bytes == 0:
        return f"{coded.row}: 0 bytes"
    return f"{coded.row}: {short(raw.payload_bytes / coded.payload_bytes)} times fewer"


def _crossing_sizes(study: Study) -> _Sizes:
    raw: dict[str, _Sent] = {}
    coded: dict[str, _Sent] = {}
    for split in study.splits:
        measured = [record for record in study.measured if record.key.split == split]
        seconds = [raw_network(measured, scenario).seconds for scenario in study.scenarios]
        raw[split] = _Sent("", groups(measured[0]).tensor.raw_bytes, tuple(1000 * each for each in seconds))
        best = study.best_at(split)
        if best is not None:
            seconds = [scenario.network_s(best.record).seconds for scenario in study.scenarios]
            coded[split] = _Sent(best.record.row, payload_bytes(best.record), tuple(1000 * each for each in seconds))
    return _Sizes(raw, coded)


def _crossing_row(split: str, raw: _Sent, coded: _Sent | None) -> tuple[str, list[str]]:
    before = [f"{raw.payload_bytes:,.0f}"]
    before_ms = [short(ms) for ms in raw.link_ms]
    if coded is None:
        return split, [*before, "-", "-", *before_ms, *("-" for _ in before_ms)]
    return split, [*before, coded.row, f"{coded.payload_bytes:,.1f}", *before_ms, *(short(ms) for ms in coded.link_ms)]


def _dtypes(study: Study) -> str:
    return " or ".join(sorted({groups(record).tensor.dtype for record in study.measured}))


def _crossing_handles() -> list[Any]:
    return [
        line_handle(marker="s", ms=5, ls="", color=GREY, label="raw tensor"),
        line_handle(marker="o", ms=5, ls="", color=OKABE_ITO["vermilion"], label="smallest within the budget"),
    ]


def _milliseconds(number: int) -> Callable[[_Sent], float]:
    return lambda sent: sent.link_ms[number]


@dataclass(frozen=True)
class _Sweep:
    """A property of links that is varied along the x axis, over `values`.

    `label` is the label of the axis. `changed(link, value)` returns the link with another value, `shown(value)` the
    value as text, and `own(link)` the link's own value for a dotted line, None for no line.
    """

    name: str
    label: str
    values: Sequence[float]
    changed: Callable[[Link, float], Link]
    shown: Callable[[float], str]
    own: Callable[[Link], float | None]


_BANDWIDTH = _Sweep(
    "bandwidth", "bandwidth, Mbit/s (log)", [value / 1e6 for value in planner.SWEEP_BIT_PER_S],
    lambda link, value: link.with_bandwidth(value * 1e6), lambda value: bandwidth_text(value * 1e6),
    lambda link: None if link.bandwidth_bit_per_s is None else link.bandwidth_bit_per_s / 1e6,
)  # fmt: skip
_BACKGROUND = _Sweep(
    "background", "capacity taken by others, %", PERCENT_TAKEN, lambda link, value: link.with_background(value / 100),
    lambda value: f"{value:.0f} %", lambda _: None,
)  # fmt: skip


OWN_LINE: Mapping[str, Any] = {"color": INK, "lw": 0.7, "ls": ":"}


def against_bandwidth(study: Study, size: PageSize = PAPER) -> Drawing:
    """Draws the latency of each row at its fastest split and point against bandwidth: one panel for each link."""
    return _against(study, _BANDWIDTH, size)


def against_background(study: Study, size: PageSize = PAPER) -> Drawing:
    """Draws the latency of each row at its fastest split and point against background traffic, a panel a link."""
    return _against(study, _BACKGROUND, size)


def _against(study: Study, sweep: _Sweep, size: PageSize) -> Drawing:
    width_mm = size.page_mm if len(study.scenarios) > 1 else 110
    styles = row_styles(study.shown, study.raw_rows)
    own = [line_handle(label="the link's own bandwidth", **OWN_LINE)] if sweep is _BANDWIDTH else []
    handles = [
        *(row_handle(row, styles[row]) for row in (LOCAL, *study.shown)),
        line_handle(color=FAINT, lw=4.5, label=FASTEST),
        *own,
    ]
    names = [handle.get_label() for handle in handles]
    figure, grid = canvas(width_mm, 66 + legend_mm(width_mm, names), 1, len(study.scenarios), sharey=True)
    tips = Tips()
    rows: list[tuple[str, list[str]]] = []
    findings: list[str] = []
    without: list[str] = []
    for axes, scenario in zip(grid[0], study.scenarios, strict=True):
        name = scenario.link.name
        axes.set_title(name)
        try:
            lines = fastest_by_row(study, scenario, sweep.values, sweep.changed)
        except UsageError as error:
            axes.set_axis_off()
            axes.text(0.5, 0.5, textwrap.fill(str(error), 40), ha="center", va="center", transform=axes.transAxes)
            findings.append(f"Over {name}: {error}.")
            continue
        without = [row for row in study.shown if row not in lines]
        best = [min((found[i] for found in lines.values()), key=_median_s) for i in range(len(sweep.values))]
        _sweep_panel(axes, sweep, scenario.link, lines, best, styles, tips)
        findings.append(f"Over {name} {_ranges_text(sweep.values, best, sweep.shown)}.")
        rows += [(f"{name}, {row}", [short(1000 * _median_s(c)) for c in found]) for row, found in lines.items()]
    for axes in filter(lambda panel: panel.lines, grid[0]):
        log_axis(axes.yaxis, dense=1_000)
    grid[0, 0].set_ylabel("latency, ms (median, log)")
    legend_above(figure, handles)
    left_out = f"No point within the budget: {', '.join(without)}." if without else ""
    note_below(figure, small_print(study), left_out)
    dotted = "Dotted: the bandwidth of the link itself. " if sweep is _BANDWIDTH else ""
    return Drawing(
        name=f"latency-against-{sweep.name}",
        title=f"End-to-end latency against {sweep.name}{machines_text(study)}",
        figure=figure,
        alt=f"Lines of the median latency of {counted(len(study.shown), 'codec')} and {LOCAL} against {sweep.name}. "
        f"{' '.join(findings)}",
        caption=f"{study.workload}. Each codec at its fastest split and point within {budget_text(study)}; the broad "
        f"line is the fastest of all rows. {dotted}{setting_text(study)} {left_out}".rstrip(),
        numbers=numbers(
            f"Latency against {sweep.name}, ms", "link and codec", list(map(sweep.shown, sweep.values)), rows
        ),
        tips=tips.texts,
    )


def _sweep_panel(
    axes: Any,
    sweep: _Sweep,
    link: Link,
    lines: Mapping[str, Sequence[Candidate]],
    best: Sequence[Candidate],
    styles: Mapping[str, RowStyle],
    tips: Tips,
) -> None:
    """Draws a line for each row with a point within the budget, and a broad line for the fastest of all rows."""
    values = sweep.values
    axes.plot(values, [1000 * _median_s(c) for c in best], color=FAINT, lw=4.5, solid_capstyle="round", zorder=1)
    for row in (row for row in styles if row in lines):
        style = styles[row]
        ms = [1000 * _median_s(c) for c in lines[row]]
        (line,) = axes.plot(
            values, ms, color=style.colour, ls=style.line, marker=style.marker, markeredgecolor="white",
            markeredgewidth=0.3, zorder=2,
        )  # fmt: skip
        if style.marker:
            tips.add(line, *(f"{sweep.shown(v)}: {c.label} {short(t)} ms"
                             for v, t, c in zip(values, ms, lines[row], strict=True)))  # fmt: skip
    own = sweep.own(link)
    if own is not None:
        axes.axvline(own, zorder=0.9, **OWN_LINE)
    axes.set_xlabel(sweep.label)
    axes.grid()
    if sweep is _BANDWIDTH:
        log_axis(axes.xaxis)


def fastest_by_row(
    study: Study, scenario: Scenario, values: Sequence[float], changed: Callable[[Link, float], Link]
) -> dict[str, list[Candidate]]:
    """Returns the fastest candidate at each value of the sweep, for `local` and each row within the budget.

    Raises UsageError for a link whose property cannot be changed.
    """
    feasible = [found for found in study.candidates(scenario) if found.loss <= study.budget + LOSS_TOLERANCE]
    lines: dict[str, list[Candidate]] = {}
    for value in values:
        fastest: dict[str, Candidate] = {}
        for found in planner.over_link(feasible, changed(scenario.link, value)):
            if found.row not in fastest or _median_s(found) < _median_s(fastest[found.row]):
                fastest[found.row] = found
        for row, found in fastest.items():
            lines.setdefault(row, []).append(found)
    return lines


def _median_s(found: Candidate) -> float:
    return found.latency.median_s


def _ranges_text(values: Sequence[float], best: Sequence[Candidate], shown: Callable[[float], str]) -> str:
    """Returns the fastest row of each range of values: `the fastest is klt at stage3, from 10 Mbit/s local`."""
    names = [found.row if found.row == LOCAL else f"{found.row} at {found.split}" for found in best]
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    ranges = [names[0], *(f"from {shown(values[i])} {names[i]}" for i in starts[1:])]
    return f"the fastest is {', '.join(ranges)}{' throughout' if len(starts) == 1 else ''}"
