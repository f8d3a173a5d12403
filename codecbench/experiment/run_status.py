"""The status of a run, in a small file of its results folder, which `codecbench status` reads from another shell."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from codecbench.errors import UsageError
from codecbench.experiment.cells import PlannedCell, Reporter
from codecbench.experiment.time_left import TimeLeft
from codecbench.measure import utc_now
from codecbench.names import counted
from codecbench.results.store import is_locked
from codecbench.system.files import replace_file
from codecbench.system.textfiles import decoded

FILE = ".status.json"
EVERY_S = 1.0
"""The file is written at most once in this time, and when a cell is finished."""


@dataclass(frozen=True)
class RunStatus:
    """The number of cells of a run, in all and by status, and its current step (`doing`).

    A sample counts once for each cell: `samples` are scored, of `all_samples` that the run scores. `elapsed_s` are the
    seconds from its start to `updated_utc`. `left` is the time left then, in words, if something is known of it.
    """

    process: int
    started_utc: str
    updated_utc: str
    elapsed_s: float = 0.0
    cells: int = 0
    ok: int = 0
    scored: int = 0
    skipped: int = 0
    failed: int = 0
    samples: int = 0
    all_samples: int = 0
    doing: str = ""
    left: str = ""

    def text(self, *, running: bool) -> str:
        """Return the status in a few lines."""
        finished = self.ok + self.scored + self.skipped + self.failed
        scored = f"{self.scored} scored, " if self.scored else ""
        counts = f"{finished} of {counted(self.cells, 'cell')}: {self.ok} measured, {scored}{self.skipped} skipped, "
        lines = [self._first_line(running, finished), f"{counts}{self.failed} failed"]
        if self.all_samples and self.elapsed_s:
            rate = self.samples / self.elapsed_s
            lines.append(f"{self.samples:,} of {self.all_samples:,} samples scored, {rate:,.0f} a second")
        if running:
            if self.left and finished < self.cells:
                lines.append(self.left)
            lines.append(f"now: {self.doing}")
        return "\n".join(lines)

    def _first_line(self, running: bool, finished: int) -> str:
        if running:
            return f"running since {self.started_utc} (process {self.process})"
        ended = "finished" if finished >= self.cells else "stopped; the same command goes on from there"
        return f"no run is writing here; the last one, of {self.started_utc}, has {ended}"


def status_of(out: Path) -> str:
    """Return how far the run of a results folder is, as text. Raises UsageError if no run has left a status there."""
    try:
        values: Any = json.loads(decoded((out / FILE).read_bytes()))
        found = RunStatus(**values)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"no run has left its status in {out}; 'codecbench run --out {out}' writes one") from error
    return found.text(running=is_locked(out))


class StatusFile:
    """A reporter that passes everything on to another, and keeps the run's status in its results folder.

    A folder that cannot be written to costs the status, not the run.
    """

    def __init__(self, reporter: Reporter, out: Path) -> None:
        self.reporter = reporter
        self.path = out / FILE
        self.status = RunStatus(os.getpid(), utc_now(), utc_now())
        self.time = TimeLeft()
        self._written_s = -EVERY_S

    def plan(self, cells: int) -> None:
        """Set the number of cells."""
        self.reporter.plan(cells)
        self._set(cells=cells)

    def expect(self, samples: int) -> None:
        """Add to the number of samples that will be scored."""
        self.reporter.expect(samples)
        self.time.expect(samples)
        self._set(all_samples=self.time.all_samples)

    def scored(self, samples: int) -> None:
        """Count samples that were scored."""
        self.reporter.scored(samples)
        self.time.scored(samples)
        self._set(samples=self.time.samples)

    def expect_fits(self, cells: Sequence[PlannedCell], limit_s: float) -> None:
        """Note the cells that will be fitted."""
        self.reporter.expect_fits(cells, limit_s)
        self.time.expect_fits(cells, limit_s)

    def fitting(self, cell: PlannedCell, share: float, text: str) -> None:
        """Note how far the fit of a cell is."""
        self.reporter.fitting(cell, share, text)
        self.time.fitting(cell, share, text)
        self._set(doing=str(self.time.fit))

    def fitted(self) -> None:
        """Note that the fit has ended."""
        self.reporter.fitted()
        self.time.fitted()

    def stage(self, text: str) -> None:
        """Note the stage."""
        self.reporter.stage(text)
        self._set(doing=text)

    def update(self, text: str) -> None:
        """Note the step."""
        self.reporter.update(text)
        self._set(doing=text)

    def finish(self, status: str, text: str) -> None:
        """Count a cell."""
        self.reporter.finish(status, text)
        self._set(at_once=True, **{status: getattr(self.status, status) + 1})

    def log(self, line: str) -> None:
        """Pass the line on."""
        self.reporter.log(line)

    def _set(self, *, at_once: bool = False, **values: Any) -> None:
        now_s = self.time.elapsed_s()
        self.status = replace(
            self.status, updated_utc=utc_now(), elapsed_s=round(now_s, 3), left=str(self.time), **values
        )
        if at_once or now_s - self._written_s >= EVERY_S:
            self._written_s = now_s
            try:
                replace_file(self.path, (json.dumps(asdict(self.status), indent=1) + "\n").encode())
            except OSError:
                return
