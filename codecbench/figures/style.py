"""The style of all figures: sizes, colours, markers, hatches, axes and legends.

Colours are those of Okabe and Ito (Color Universal Design, 2008), which people with colour vision deficiencies can
distinguish. Nothing is distinguished by colour only: parts of a bar also differ in hatch, rows of a chart in marker.
matplotlib is imported inside functions, so that figures can be listed without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, Any

from codecbench.analysis.latency import LOCAL
from codecbench.analysis.selection import value_of
from codecbench.analysis.study import Study
from codecbench.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO: Mapping[str, str] = {
    "blue": "#0072B2", "orange": "#E69F00", "green": "#009E73", "purple": "#CC79A7", "vermilion": "#D55E00",
    "sky": "#56B4E9", "yellow": "#F0E442", "black": "#000000",
}  # fmt: skip
INK = "#222222"
FAINT = "#D9D9D9"
GREY = "#777777"

POINTS = 7.0
"""The font size of all text, in points."""
MM_PER_CHARACTER = 1.36
LABEL_CHARACTERS = 36
LEGEND_HANDLE_MM = 10.5
LEGEND_COLUMNS = 6
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
LABELS_DENSE = 60.0
"""A logarithmic axis that covers less than this factor also has labels at 2 and 5."""
LOSS_SHOWN = 10.0
"""An axis of the metric covers losses of up to this many times the budget."""

PARTS = {
    "device": (("head", "encode"), OKABE_ITO["orange"], "////"),
    "network": (("network",), OKABE_ITO["sky"], ""),
    "edge": (("decode", "tail"), OKABE_ITO["green"], "\\\\\\\\"),
}
"""The parts of a stacked bar: their steps, colour and hatch."""

_ROW_COLOURS = (
    *(OKABE_ITO[name] for name in ("vermilion", "blue", "green", "orange", "purple", "sky")),
    "#332288", "#882255", "#999933", "#44AA99", "#661100",
)  # fmt: skip
"""The first are those of Okabe and Ito, the others of Paul Tol's scheme "muted" (2021)."""
LINE_CHANGE = 6
"""After this number of rows, the next kind of line is drawn."""
_ROW_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p", "*", "d", "8")
_RAW_MARKERS = ("s", "D", "^", "v")

RC: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": POINTS,
    "axes.titlesize": POINTS,
    "axes.labelsize": POINTS,
    "xtick.labelsize": POINTS,
    "ytick.labelsize": POINTS,
    "legend.fontsize": POINTS,
    "figure.titlesize": POINTS,
    "figure.labelsize": POINTS,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "patch.linewidth": 0.4,
    "hatch.linewidth": 0.4,
    "legend.frameon": False,
    "legend.handlelength": 2.0,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.3,
    "legend.borderaxespad": 0.0,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 200,
    "text.usetex": False,
    "text.parse_math": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "codecbench",
    "svg.image_inline": True,
    "path.simplify": True,
}


UNCOMPRESSED_LINE: dict[str, Any] = {"color": INK, "lw": 0.7, "ls": (0, (4, 2))}
BUDGET_LINE: dict[str, Any] = {"color": INK, "lw": 0.7, "ls": ":"}
"""The lines of the uncompressed model's metric, and of that less the budget."""


@dataclass(frozen=True)
class RowStyle:
    """The colour, marker and line of a row in charts."""

    colour: str
    marker: str
    line: Any


@contextmanager
def style() -> Iterator[None]:
    """Applies the style while a figure is drawn or written. Raises UsageError where matplotlib is not installed."""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise UsageError("figures need matplotlib; run: pip install 'codecbench[figures]'") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def canvas(width_mm: float, height_mm: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """Returns a figure and its axes, an array of (rows, columns). `options` are those of `Figure.subplots`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_mm / 25.4, height_mm / 25.4))
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, axes


def freeze_layout(figure: Figure) -> None:
    """Computes the layout once and keeps it for all formats; a second constrained layout would differ slightly."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")


def row_styles(rows: Sequence[str], raw_rows: Sequence[str]) -> dict[str, RowStyle]:
    """Returns a style for each row: raw rows grey, `local` black. Equal rows in equal order get equal styles."""
    found = {LOCAL: RowStyle(OKABE_ITO["black"], "", (0, (4, 2)))}
    raw_markers, markers = cycle(_RAW_MARKERS), cycle(_ROW_MARKERS)
    lines = ("-", "--", ":", "-.")
    plain = 0
    for row in rows:
        if row in raw_rows:
            found[row] = RowStyle(GREY, next(raw_markers), "-")
        else:
            line = lines[plain // LINE_CHANGE % len(lines)]
            found[row] = RowStyle(_row_colour(plain), next(markers), line)
            plain += 1
    return found


def _row_colour(number: int) -> str:
    """Returns the colour of a row; no two rows have the same. Beyond _ROW_COLOURS, hues follow the golden ratio."""
    if number < len(_ROW_COLOURS):
        return _ROW_COLOURS[number]
    from matplotlib.colors import hsv_to_rgb, to_hex

    beyond = number - len(_ROW_COLOURS)
    red, green, blue = hsv_to_rgb(((0.05 + beyond * GOLDEN_RATIO) % 1.0, 0.55 + 0.4 * (beyond % 2), 0.7))
    return to_hex((red, green, blue)).upper()


def log_axis(axis: Any, dense: float = LABELS_DENSE) -> None:
    """Makes an axis logarithmic with plain labels: 0.1, 1, 10, 1k. Call it after everything is drawn.

    Labels at 2 and 5 are added where the axis covers less than the factor `dense`. Where something lies at 0, which has
    no logarithm, the axis is linear from 0 to the power of ten below the least value above 0.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, SymmetricalLogLocator

    values = _drawn_at(axis)
    above = [value for value in values if value > 0]
    if len(above) < len(values):
        linear_to = 10.0 ** math.floor(math.log10(min(above, default=1.0)))
        set_scale = axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale
        set_scale("symlog", linthresh=linear_to)
        axis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=linear_to))
        axis.axes.autoscale_view()
    else:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.axes.autoscale_view()
        low, high = axis.get_view_interval()
        subs = (1.0, 2.0, 5.0) if high < dense * low else (1.0,)
        axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick_label(value)))
    axis.set_minor_formatter(NullFormatter())
    if axis.axis_name == "y" and not axis.axes.get_subplotspec().is_first_col():
        axis.set_tick_params(which="minor", length=0)


def _drawn_at(axis: Any) -> list[float]:
    """Returns the coordinates along an axis of all lines of its panel, and of the panels that share the axis."""
    is_x = axis.axis_name == "x"
    shared = axis.axes.get_shared_x_axes() if is_x else axis.axes.get_shared_y_axes()
    found = []
    for axes in shared.get_siblings(axis.axes):
        for line in axes.lines:
            of_data = line.get_transform().contains_branch_seperately(axes.transData)
            if of_data[0 if is_x else 1]:  # the ends of a line across the whole panel are no data
                found += (line.get_xdata(orig=False) if is_x else line.get_ydata(orig=False)).tolist()
    return [value for value in found if math.isfinite(value)]


def tick_label(value: float) -> str:
    """Returns a tick's label: 0.02, 5, 20k, 1M."""
    for unit, scale in (("M", 1e6), ("k", 1e3)):
        if value >= scale * 0.9999:
            return f"{value / scale:g}{unit}"
    return f"{value:g}"


def legend_above(figure: Any, handles: Sequence[Any]) -> None:
    """Draws a legend above all panels, in as many columns as fit."""
    width_mm = figure.bbox.width / figure.dpi * 25.4
    columns = _legend_columns(width_mm, [handle.get_label() for handle in handles])
    figure.legend(handles=list(handles), loc="outside upper left", ncols=columns)


def legend_mm(width_mm: float, labels: Sequence[str]) -> float:
    """Returns the height of a legend above a figure of this width, in millimetres."""
    return 4.0 * -(-len(labels) // _legend_columns(width_mm, labels))


def _legend_columns(width_mm: float, labels: Sequence[str]) -> int:
    """Returns the number of legend columns that fit into a width, by the lengths of the labels."""
    for columns in range(min(len(labels), LEGEND_COLUMNS), 1, -1):
        rows, extra = divmod(len(labels), columns)
        starts = [i * rows + min(i, extra) for i in range(columns + 1)]
        longest = [max(map(len, labels[a:b])) for a, b in pairwise(starts)]
        if sum(LEGEND_HANDLE_MM + MM_PER_CHARACTER * length for length in longest) <= width_mm:
            return columns
    return 1


def legend_in(axes: Axes, handles: Sequence[Any]) -> None:
    """Draws a legend in the place of an unused panel."""
    axes.set_axis_off()
    axes.legend(handles=list(handles), loc="center left")


def note_below(figure: Any, *sentences: str) -> None:
    """Writes small print below all panels, wrapped to the figure's width."""
    import textwrap

    width = int(figure.bbox.width / figure.dpi * 25.4 / (MM_PER_CHARACTER * (POINTS - 1) / POINTS))
    lines = textwrap.wrap(" ".join(filter(None, sentences)), width)
    if lines:
        figure.supxlabel("\n".join(lines), x=0.005, ha="left", fontsize=POINTS - 1, color="#444444")


def short_name(row: str) -> str:
    """Returns a row's name for labels, cut to LABEL_CHARACTERS."""
    return row if len(row) <= LABEL_CHARACTERS else f"{row[: LABEL_CHARACTERS - 1]}…"


def part_handles(predicted: frozenset[str]) -> list[Any]:
    """Returns legend entries of the parts of a stacked bar, each marked as measured, modelled or predicted."""
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=colour, hatch=hatch, edgecolor=INK, label=f"{part}{_kind(part, steps, predicted)}")
        for part, (steps, colour, hatch) in PARTS.items()
    ]


def _kind(part: str, steps: Sequence[str], predicted: frozenset[str]) -> str:
    if part == "network":
        return " (modelled)"
    return " (predicted)" if predicted & set(steps) else " (measured)"


def line_handle(**properties: Any) -> Any:
    """Returns a legend entry of a line or a marker, with these properties of a matplotlib line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **properties)


def row_handle(row: str, row_style: RowStyle, *, with_line: bool = True) -> Any:
    """Returns the legend entry of a row."""
    return line_handle(
        color=row_style.colour, marker=row_style.marker, linestyle=row_style.line if with_line else "",
        label=short_name(row), markeredgecolor="white", markeredgewidth=0.3,
    )  # fmt: skip


def reference_handles() -> list[Any]:
    """Returns the legend entries of the lines of the uncompressed model and of the budget."""
    return [
        line_handle(label="uncompressed model", **UNCOMPRESSED_LINE),
        line_handle(label="budget", **BUDGET_LINE),
    ]


def metric_limits(study: Study) -> tuple[float, float]:
    """Returns the ends of an axis of the metric; points that lose far more than the budget lie beyond it."""
    uncompressed, sign = study.uncompressed, study.sign
    values = [value_of(record) for record in study.scored]
    widest = max((max(v.high - v.value, v.value - v.low) for v in values), default=0.0)
    reach = max(LOSS_SHOWN * study.budget, 2 * widest)
    worst_shown = uncompressed - sign * reach
    ends = [end for v in values for end in (v.low, v.high)] + [uncompressed]
    shown = [value for value in ends if sign * value >= sign * worst_shown]
    low, high = min(shown), max(shown)
    margin = 0.04 * (high - low or abs(high) or 1.0)
    return low - margin, high + margin
