"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Lines:
    """One line for each cell that ends."""

    def __init__(self) -> None:
        self.total = 0
        self.ended = 0

    def plan(self, cells: int) -> None:
        """Remember how many there will be."""
        self.total = cells

    def stage(self, text: str) -> None:
        """A line for what takes a while and is not one cell."""
        self.log(text)

    def update(self, text: str) -> None:
        """Say nothing: cells have a line when they have ended."""

    def finish(self, status: str, text: str) -> None:
        """`[3/50] ok input raw`."""
        self.ended += 1
        self.log(f"[{self.ended}/{self.total}] {status} {text}")

    def log(self, line: str) -> None:
        """The line itself."""
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class Bar:
    """A bar with the cell at work; skipped and failed cells leave a line above it."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.task: TaskID = progress.add_task("starting", total=None)

    def plan(self, cells: int) -> None:
        """Set the bar's length."""
        self.progress.update(self.task, total=cells)

    def stage(self, text: str) -> None:
        """Show the text beside the bar."""
        self.update(text)

    def update(self, text: str) -> None:
        """Show the text beside the bar."""
        self.progress.update(self.task, description=text)

    def finish(self, status: str, text: str) -> None:
        """Move the bar."""
        if status != "ok":
            self.log(f"{status} {text}")
        self.progress.advance(self.task)

    def log(self, line: str) -> None:
        """A line above the bar."""
        self.progress.console.print(line, markup=False, highlight=False)


@contextmanager
def reporter() -> Iterator[Lines | Bar]:
    """A reporter for this run's standard error."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bar(progress)
