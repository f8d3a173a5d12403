"""Names of curves beside the curves themselves, where there is room."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from codecbench.figures.style import POINTS, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right, top, in pixels."""

MARKER_POINTS, GAP_POINTS = 4.0, 3.0
CHARACTER_WIDTH = 0.6
"""The mean width of a character, as a share of the size of the font."""


@dataclass(frozen=True)
class Curve:
    """The name, the colour and the points of a curve in the coordinates of its panel."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]


def label_curves(axes: Axes, curves: Sequence[Curve], named: Container[str], lines_at: Sequence[float]) -> list[str]:
    """Writes the names of curves beside one of their ends, and returns those that found room.

    A name covers no marker, no curve, no horizontal line of `lines_at` and no other name. Curves in `named` get none.
    The figure has its final layout.
    """
    pixels = axes.figure.dpi / 72
    of_curves = [[(float(x), float(y)) for x, y in axes.transData.transform(curve.points)] for curve in curves]
    taken = [_box_at(x, y, MARKER_POINTS * pixels) for points in of_curves for x, y in points]
    panel = axes.get_window_extent()
    heights = [float(axes.transData.transform((1, y))[1]) for y in lines_at]
    segments = [pair for points in of_curves for pair in pairwise(points)]
    segments += [((float(panel.x0), y), (float(panel.x1), y)) for y in heights]
    height = (POINTS - 1) * pixels
    labelled = []
    for curve, points in zip(curves, of_curves, strict=True):
        if curve.name in named:
            continue
        text = short_name(curve.name)
        width = len(text) * CHARACTER_WIDTH * height
        for box in _positions(points, width, height, GAP_POINTS * pixels):
            inside = panel.x0 <= box[0] and box[2] <= panel.x1 and panel.y0 <= box[1] and box[3] <= panel.y1
            if inside and not any(_overlap(box, other) for other in taken) and not any(_hit(box, s) for s in segments):
                x, y = axes.transAxes.inverted().transform((box[0], (box[1] + box[3]) / 2))
                axes.text(x, y, text, transform=axes.transAxes, va="center", fontsize=POINTS - 1, color=curve.colour)
                taken.append(box)
                labelled.append(curve.name)
                break
    return labelled


def _positions(points: Sequence[tuple[float, float]], width: float, height: float, gap: float) -> Iterator[Box]:
    """Yields boxes beside the ends of a curve: to the right, to the left, below and above."""
    for x, y in (points[-1], points[0]):
        yield (x + gap, y - height / 2, x + gap + width, y + height / 2)
        yield (x - gap - width, y - height / 2, x - gap, y + height / 2)
        yield (x - width / 2, y - gap - height, x + width / 2, y - gap)
        yield (x - width / 2, y + gap, x + width / 2, y + gap + height)


def _box_at(x: float, y: float, side: float) -> Box:
    return (x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _hit(box: Box, segment: tuple[tuple[float, float], tuple[float, float]]) -> bool:
    """Returns True if a line from point to point crosses a box, by clipping it to the box (Liang and Barsky 1984)."""
    (x0, y0), (x1, y1) = segment
    start, end = 0.0, 1.0
    for delta, low, high in ((x1 - x0, box[0] - x0, box[2] - x0), (y1 - y0, box[1] - y0, box[3] - y0)):
        if delta == 0:
            if low > 0 or high < 0:
                return False
            continue
        first, last = sorted((low / delta, high / delta))
        start, end = max(start, first), min(end, last)
    return start < end
