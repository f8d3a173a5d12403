"""Figures by name: counterparts of the paper's figures, drawn from records. Nothing is run and no clock is read.

matplotlib is needed to draw figures, not to list them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from codecbench.analysis.study import Study
from codecbench.errors import DataError
from codecbench.figures import latency, network, rate
from codecbench.figures.case_study import case_study
from codecbench.figures.drawing import Drawing
from codecbench.figures.sizes import PAPER, PageSize
from codecbench.figures.style import freeze_layout, style
from codecbench.names import pick
from codecbench.system.files import reason_of

FORMATS = ("svg", "pdf", "png")


@dataclass(frozen=True)
class FigureKind:
    """A figure that can be drawn.

    `paper` is the number of its counterpart in the paper, empty where there is none. With `per_link`, there is one
    figure for each link, and the name of its file ends with the link's name.
    """

    name: str
    title: str
    paper: str
    per_link: bool
    function: Callable[[Study, PageSize], Drawing]

    def row(self) -> dict[str, str]:
        """Returns the figure's line in `codecbench figure --list`."""
        return {"name": self.name, "paper": self.paper or "-", "shows": self.title}


KINDS = {
    kind.name: kind
    for kind in (
        FigureKind("case-study", "Latency, metric and Pareto front at one split", "1a-c", True, case_study),
        FigureKind("crossing", "What crosses at each split point, raw and coded", "4", False, network.crossing),
        FigureKind("latency-by-split", "Latency by codec and split point", "6-9", True, latency.by_split),
        FigureKind("latency-against-bandwidth", "Latency against bandwidth", "10", False, network.against_bandwidth),
        FigureKind("latency-against-background", "Latency against background traffic", "11", False,
             network.against_background),
        FigureKind("rate-accuracy", "Metric against payload bytes, with intervals", "", False, rate.rate_accuracy),
        FigureKind("device-cost", "Encoding time against payload bytes", "", False, rate.device_cost),
    )
}  # fmt: skip
"""All figures, in the order of the paper."""


def draw(name: str, study: Study, size: PageSize = PAPER) -> Drawing:
    """Returns one figure; a figure `per_link` shows the first link.

    Raises UsageError for an unknown name, or where matplotlib is not installed, and DataError where the metric is
    undefined in all records.
    """
    kind = pick(KINDS, name, "figure")
    study.check_scored()
    with style():
        drawing = kind.function(study, size)
        freeze_layout(drawing.figure)
        return replace(drawing, dpi=size.dpi)


def draw_all(study: Study, names: Sequence[str] = (), size: PageSize = PAPER) -> Iterator[Drawing]:
    """Yields the named figures, or all; those `per_link` once for each link. Raises UsageError like `draw`."""
    kinds = [pick(KINDS, name, "figure") for name in names] or list(KINDS.values())
    for kind in kinds:
        for part in [study.with_scenario(scenario) for scenario in study.scenarios] if kind.per_link else [study]:
            yield draw(kind.name, part, size)


def svg(name: str, study: Study) -> str:
    """Returns one figure as an `<svg>` element for a page; see `Drawing.svg`."""
    return draw(name, study).svg()


def save_all(
    study: Study, folder: Path, formats: Sequence[str] = ("svg",), names: Sequence[str] = (), size: PageSize = PAPER
) -> list[Path]:
    """Writes figures as `<folder>/<name>.<format>` and returns the paths.

    Raises UsageError for an unknown format, DataError where a file cannot be written.
    """
    for format_ in formats:
        pick({known: known for known in FORMATS}, format_, "format")
    paths = []
    for drawing in draw_all(study, names, size):
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
        raise DataError(f"cannot write to {folder}: {reason_of(error)}; choose another folder") from error
