"""Figures by name: the counterparts of the paper's, drawn from records. Nothing is run and no clock is read.

matplotlib is needed to draw, not to list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codecbench.analysis.study import FigureData
from codecbench.errors import DataError
from codecbench.figures import case_study as figure_case
from codecbench.figures import latency as figure_latency
from codecbench.figures import network as figure_network
from codecbench.figures import rate as figure_rate
from codecbench.figures.drawing import Drawing
from codecbench.figures.style import settle, style
from codecbench.names import pick

FORMATS = ("svg", "pdf", "png")


@dataclass(frozen=True)
class Kind:
    """A figure that can be drawn.

    `paper` names its counterpart in the paper, where it has one. One of `per_link` shows one link: there is one figure
    for each, and the link's name ends the name of its file.
    """

    name: str
    title: str
    paper: str
    per_link: bool
    function: Callable[[FigureData], Drawing]

    def row(self) -> dict[str, str]:
        """What `codecbench figure --list` tells of it."""
        return {"name": self.name, "paper": self.paper or "-", "shows": self.title}


KINDS = {
    kind.name: kind
    for kind in (
        Kind("case-study", "Latency, metric and Pareto front at one split", "1a-c", True, figure_case.case_study),
        Kind("crossing", "What crosses at each split point, raw and coded", "4", False, figure_network.crossing),
        Kind("latency-by-split", "Latency by codec and split point", "6-9", True, figure_latency.by_split),
        Kind("latency-against-bandwidth", "Latency against bandwidth", "10", False, figure_network.against_bandwidth),
        Kind("latency-against-background", "Latency against background traffic", "11", False,
             figure_network.against_background),
        Kind("rate-accuracy", "Metric against payload bytes, with intervals", "", False, figure_rate.rate_accuracy),
        Kind("device-cost", "Encoding time against payload bytes", "", False, figure_rate.device_cost),
    )
}  # fmt: skip
"""Every figure, in the order of the paper."""


def draw(name: str, data: FigureData) -> Drawing:
    """One figure; one `per_link` shows the first link. Raises UsageError for an unknown name, or without matplotlib."""
    kind = pick(KINDS, name, "figure")
    with style():
        drawing = kind.function(data)
        settle(drawing.figure)
        return drawing


def draw_all(data: FigureData, names: Sequence[str] = ()) -> Iterator[Drawing]:
    """The named figures, or all; those `per_link` once a link. Raises UsageError as `draw`."""
    kinds = [pick(KINDS, name, "figure") for name in names] or list(KINDS.values())
    for kind in kinds:
        for part in [data.over(scenario) for scenario in data.scenarios] if kind.per_link else [data]:
            yield draw(kind.name, part)


def svg(name: str, data: FigureData) -> str:
    """One figure as an `<svg>` element for a page; see `Drawing.svg`."""
    return draw(name, data).svg()


def save_all(
    data: FigureData, folder: Path, formats: Sequence[str] = ("svg",), names: Sequence[str] = ()
) -> list[Path]:
    """Write figures as `<folder>/<name>.<format>`, and return the paths.

    Raises UsageError for an unknown format, DataError where a file cannot be written.
    """
    for format_ in formats:
        pick({known: known for known in FORMATS}, format_, "format")
    paths = []
    for drawing in draw_all(data, names):
        _make(folder)
        for format_ in formats:
            path = folder / f"{drawing.name}.{format_}"
            drawing.save(path)
            paths.append(path)
    return paths


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}; choose another folder") from error
