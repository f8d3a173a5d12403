"""The cells of a run, how runs and fits end, and where they report what they do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from codecbench.codec import Codec, TensorSpec
from codecbench.results.cell import CellKey, point_label
from codecbench.workload import Subset

SCORED: tuple[Subset, ...] = ("test", "choice")
"""The subsets on which a run scores codecs."""


class Reporter(Protocol):
    """Where a run says what it does."""

    def plan(self, cells: int) -> None:
        """So many cells will be worked on."""

    def stage(self, text: str) -> None:
        """A stage begins, for a whole split."""

    def update(self, text: str) -> None:
        """One cell is being worked on now."""

    def finish(self, status: str, text: str) -> None:
        """One cell has ended."""

    def log(self, line: str) -> None:
        """A line for the user."""


@dataclass(frozen=True)
class PlannedCell:
    """A cell with what is needed to run it. `fault` is what the codec raised when it was asked about this tensor."""

    key: CellKey
    codec: type[Codec]
    spec: TensorSpec
    skip_reason: str | None
    fault: str | None = None

    @property
    def label(self) -> str:
        """`split codec point`, for people."""
        return " ".join(filter(None, (self.key.split, self.key.codec, point_label(self.key.point))))


@dataclass
class Summary:
    """The counts of a run: cells by status, those that were there already, and those measured again as stale."""

    ok: int = 0
    skipped: int = 0
    failed: int = 0
    present: int = 0
    stale: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass
class FitSummary:
    """The counts of fits: those made, those that were there already, and what failed."""

    fitted: int = 0
    present: int = 0
    failures: list[str] = field(default_factory=list)
