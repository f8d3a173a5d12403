"""Progress of a run: a bar on a terminal, lines with their time otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

from codecbench.experiment.cells import PlannedCell
from codecbench.experiment.time_left import TimeLeft, clock

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

EVERY_S = 60.0
"""Where no terminal shows a bar, a line comes at least that often, or up to twice that after another one."""
BAR_COLUMNS = 20


class Counts:
    """The numbers that a reporter shows: cells, the current step, and the time."""

    def __init__(self) -> None:
        self.total = 0
        self.ended = 0
        self.time = TimeLeft()
        self._step = ""

    @property
    def step(self) -> str:
        """The current step in words."""
        return self._step if self.time.fit is None else str(self.time.fit)

    @property
    def elapsed(self) -> str:
        """The time since the start, as `0:12:34`."""
        return clock(self.time.elapsed_s())

    def plan(self, cells: int) -> None:
        """Set the number of cells."""
        self.total = cells

    def expect(self, samples: int) -> None:
        """Add to the number of samples that will be scored."""
        self.time.expect(samples)

    def scored(self, samples: int) -> None:
        """Count samples that were scored."""
        self.time.scored(samples)

    def expect_fits(self, cells: Sequence[PlannedCell], limit_s: float) -> None:
        """Note the cells that will be fitted."""
        self.time.expect_fits(cells, limit_s)

    def fitting(self, cell: PlannedCell, share: float, text: str) -> None:
        """Note how far the fit of a cell is."""
        self.time.fitting(cell, share, text)

    def fitted(self) -> None:
        """Note that the fit has ended."""
        self.time.fitted()

    def stage(self, text: str) -> None:
        """Note the stage."""
        self._step = text

    def update(self, text: str) -> None:
        """Note the step."""
        self._step = text

    def finish(self, status: str, text: str) -> None:
        """Count a cell."""
        self.ended += 1


class Silence(Counts):
    """Shows nothing."""

    def log(self, line: str) -> None:
        """Show nothing."""


class Lines(Counts):
    """Prints a line for each finished cell, and now and then for a long step, with the time since the start."""

    def __init__(self) -> None:
        super().__init__()
        self._printed = False

    def stage(self, text: str) -> None:
        """Print a line for a longer stage of the run."""
        super().stage(text)
        self.log(text)

    def finish(self, status: str, text: str) -> None:
        """Print a line such as `0:01:05 [3/50] ok input raw (about 12 min left)`."""
        super().finish(status, text)
        self.log(f"[{self.ended}/{self.total}] {status} {text}{self._left()}")

    def log(self, line: str) -> None:
        """Print the line."""
        self._printed = True
        with suppress(OSError):  # nobody reads it any more, which is no reason to stop the run
            sys.stderr.write(f"{self.elapsed} {line}\n")
            sys.stderr.flush()

    def beat(self) -> None:
        """Print the current step, unless something was printed since the last call."""
        if self.step and not self._printed:
            self.log(f"{self.step}{self._left()}")
        self._printed = False

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Call `beat` every `EVERY_S` seconds."""
        ended = Event()

        def beat() -> None:
            while not ended.wait(EVERY_S):
                self.beat()

        thread = Thread(target=beat, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _left(self) -> str:
        left = str(self.time)
        return f" ({left})" if left else ""


class Bar(Counts):
    """Shows a bar with the time left, and beneath it the current step; skipped and failed cells leave a line above."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self._step = "starting"

    def finish(self, status: str, text: str) -> None:
        """Advance the bar by one cell."""
        super().finish(status, text)
        if status != "ok":
            self.log(f"{status} {text}")

    def log(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(line, markup=False, highlight=False)

    def __rich__(self) -> RenderableType:
        """Return the bar as it is now: a line of the run, and a line of its step."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        def line(text: str, share: float | None) -> RenderableType:
            row = Table.grid(padding=(0, 1))
            row.add_row(
                ProgressBar(1.0, share or 0.0, width=BAR_COLUMNS, pulse=share is None),
                Text(text, no_wrap=True, overflow="ellipsis"),
            )
            return row

        fit, counted = self.time.fit, [f"{self.ended}/{self.total}"] if self.total else []
        run = line(", ".join(filter(None, [*counted, self.elapsed, str(self.time)])), self._share())
        step = Text(self.step, no_wrap=True, overflow="ellipsis") if fit is None else line(self.step, fit.share)
        return Group(run, step)

    def _share(self) -> float | None:
        """Return the share of samples that are scored, or of cells that are finished; None before these are known."""
        if self.time.all_samples > 0:
            return min(1.0, self.time.samples / self.time.all_samples)
        fit_share = 0.0 if self.time.fit is None else self.time.fit.share
        return min(1.0, (self.ended + fit_share) / self.total) if self.total else None


@contextmanager
def reporter(*, progress: bool = True) -> Iterator[Silence | Lines | Bar]:
    """Yield a reporter that writes to standard error; without `progress`, one that shows nothing."""
    if not progress:
        yield Silence()
        return
    if not sys.stderr.isatty():
        lines = Lines()
        with lines.beating():
            yield lines
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    bar = Bar(console)
    with Live(bar, console=console, transient=True, refresh_per_second=4):
        yield bar
