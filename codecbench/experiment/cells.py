"""The planned cells of a run, the summaries of runs and fits, and the interface for progress reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from codecbench.codec import TensorSpec
from codecbench.descriptions.codec_info import CodecInfo, Point
from codecbench.results.cell import CellKey, point_label
from codecbench.workload import Subset

SCORED: tuple[Subset, ...] = ("test", "choice")
"""The subsets on which a run scores codecs."""


class Reporter(Protocol):
    """Receives the progress of a run."""

    def plan(self, cells: int) -> None:
        """`cells` cells will run."""

    def expect(self, samples: int) -> None:
        """So many more samples will be scored, of all cells together; fewer where an earlier run has scored some."""

    def scored(self, samples: int) -> None:
        """So many more samples of a cell were scored."""

    def expect_fits(self, cells: Sequence[PlannedCell], limit_s: float) -> None:
        """From now on, these cells will be fitted, each for at most so many seconds."""

    def fitting(self, cell: PlannedCell, share: float, text: str) -> None:
        """The fit of a cell has done this share, 0 at its start; `text` is the codec's own, such as its loss."""

    def fitted(self) -> None:
        """The fit has ended, one way or another."""

    def stage(self, text: str) -> None:
        """A stage of a whole split begins."""

    def update(self, text: str) -> None:
        """The current cell, or its current step, has changed."""

    def finish(self, status: str, text: str) -> None:
        """One cell is finished."""

    def log(self, line: str) -> None:
        """Show a line to the user."""


@dataclass(frozen=True)
class PlannedCell:
    """A cell with all that is needed to run it.

    `fault` is an error that the codec raised during planning. `needs_fit` and `starts_from`, a complete point, are the
    codec's answers; with `needs_fit_fault` or `starts_from_fault` the cell fails once it has to know the answer, and
    with `works_unfitted` it runs without a fit where there are no training samples. See `PointInfo`.
    """

    key: CellKey
    codec: CodecInfo
    spec: TensorSpec
    skip_reason: str | None = None
    fault: str | None = None
    needs_fit: bool = False
    needs_fit_fault: str | None = None
    starts_from: Point | None = field(default=None, hash=False)
    starts_from_fault: str | None = None
    works_unfitted: bool = False

    @property
    def is_runnable(self) -> bool:
        """True if the codec takes the tensor at this point, and raised nothing when it was asked."""
        return self.fault is None and self.skip_reason is None

    @property
    def label(self) -> str:
        """The text `split codec point`, for people."""
        return " ".join(filter(None, (self.key.split, self.key.codec, point_label(self.key.point))))


@dataclass(kw_only=True)
class _Failures:
    """A line for each failure in `failures`, and in `frames` the lines of the plugin's own code of those with some."""

    failures: list[str] = field(default_factory=list)
    frames: dict[str, Sequence[str]] = field(default_factory=dict)

    def add_failure(self, line: str, frames: Sequence[str]) -> None:
        """Add the line of a failure."""
        self.failures.append(line)
        if frames:
            self.frames[line] = frames


@dataclass
class Summary(_Failures):
    """The counts of a run: cells by status, `present` ones with a current record, and `stale` ones measured again.

    `scored` ones were not to be timed; `unscored` ones were only to be timed, and could not.
    """

    ok: int = 0
    skipped: int = 0
    failed: int = 0
    present: int = 0
    stale: int = 0
    scored: int = 0
    unscored: int = 0


@dataclass
class FitSummary(_Failures):
    """The counts of fits: fitted now, and present already."""

    fitted: int = 0
    present: int = 0
