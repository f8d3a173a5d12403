"""Progress of a run: a bar on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Lines:
    """Prints one line for each finished cell."""

    def __init__(self) -> None:
        self.total = 0
        self.ended = 0

    def plan(self, cells: int) -> None:
        """Set the number of cells."""
        self.total = cells

    def expect(self, samples: int) -> None:
        """Show nothing: cells are counted."""

    def scored(self, samples: int) -> None:
        """Show nothing."""

    def stage(self, text: str) -> None:
        """Print a line for a longer stage of the run."""
        self.log(text)

    def update(self, text: str) -> None:
        """Print nothing: a cell gets its line when it is finished."""

    def finish(self, status: str, text: str) -> None:
        """Print a line such as `[3/50] ok input raw`."""
        self.ended += 1
        self.log(f"[{self.ended}/{self.total}] {status} {text}")

    def log(self, line: str) -> None:
        """Print the line."""
        with suppress(OSError):  # nobody reads it any more, which is no reason to stop the run
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


class Bar:
    """Shows a bar with the current cell; skipped and failed cells leave a line above it."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.task: TaskID = progress.add_task("starting", total=None)

    def plan(self, cells: int) -> None:
        """Set the bar's length."""
        self.progress.update(self.task, total=cells)

    def expect(self, samples: int) -> None:
        """Show nothing: cells are counted."""

    def scored(self, samples: int) -> None:
        """Show nothing."""

    def stage(self, text: str) -> None:
        """Show the text beside the bar."""
        self.update(text)

    def update(self, text: str) -> None:
        """Show the text beside the bar."""
        self.progress.update(self.task, description=text)

    def finish(self, status: str, text: str) -> None:
        """Advance the bar by one cell."""
        if status != "ok":
            self.log(f"{status} {text}")
        self.progress.advance(self.task)

    def log(self, line: str) -> None:
        """Print a line above the bar."""
        self.progress.console.print(line, markup=False, highlight=False)


@contextmanager
def reporter() -> Iterator[Lines | Bar]:
    """Yield a reporter that writes to standard error."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bar(progress)
