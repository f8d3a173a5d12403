"""Results of earlier runs in the same folder: finds the cells that have a current record."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from codecbench.errors import DataError
from codecbench.experiment.cells import PlannedCell, Reporter, Summary
from codecbench.harness.provenance import RunProvenance, sources_of
from codecbench.harness.scored_cell import ScoredCell
from codecbench.results.record import NewerSchemaError, Record
from codecbench.results.store import Store


class EarlierResults:
    """Finds the cells that have to be measured. Outdated records stay until new ones replace them.

    A record needs at least `choice_samples` choice samples to be current. With `fresh` no record is current.
    """

    def __init__(
        self, store: Store, provenance: RunProvenance, reporter: Reporter, *, choice_samples: int, fresh: bool
    ) -> None:
        self.store = store
        self.provenance = provenance
        self.reporter = reporter
        self.choice_samples = choice_samples
        self.fresh = fresh

    def missing(self, cells: Sequence[PlannedCell]) -> tuple[list[PlannedCell], Summary]:
        """Return the cells without a current record, and a summary that counts the others.

        Raises NewerSchemaError for a record of a later version.
        """
        summary = Summary()
        return [cell for cell in cells if not self._is_present(cell, summary)], summary

    def has_current(self, cell: PlannedCell) -> bool:
        """Return True if the cell has a current record. Nothing is written or reported."""
        try:
            record = None if self.fresh else self.store.find(cell.key)
        except DataError:
            return False
        if record is None or (record.status == "skipped" and cell.skip_reason is None):
            return False
        enough = record.choice is None or record.choice.n >= self.choice_samples
        return enough and self.provenance.changes(cell, sources_of(record)) is None

    def resume(self, scored: ScoredCell, boundaries: Collection[int], *, own: bool = False) -> None:
        """Give a cell the samples that an interrupted run has scored, if they are current and end at a boundary.

        With `own`, it is this run itself that has scored them, so that a fresh one takes them, too.
        """
        kept = self.store.partial(scored.cell.key)
        if kept is None or (self.fresh and not own):
            return
        columns, values, samples = kept
        if len(columns["payload_bytes"]) not in boundaries or "progress" not in values:
            return
        if self.provenance.changes(scored.cell, values) is not None:
            return
        try:
            scored.resume(dict(columns), values["progress"], samples)
        except (KeyError, TypeError, ValueError, DataError):
            scored.forget()  # written by another version

    def _is_present(self, cell: PlannedCell, summary: Summary) -> bool:
        record = self._found(cell)
        if record is None:
            return False
        if self.fresh:
            return False
        changes = self.provenance.changes(cell, sources_of(record))
        if changes is not None:
            self.reporter.log(f"{cell.label}: {changes}; measuring it again")
            summary.stale += 1
            return False
        if record.choice is not None and record.choice.n < self.choice_samples:
            self.reporter.log(
                f"{cell.label}: has {record.choice.n} choice samples, not {self.choice_samples}; measuring it again"
            )
            return False
        if record.status == "skipped" and cell.skip_reason is None:
            return False  # what was missing then, such as an optional package, is available now
        self.store.forget_pass(cell.key, record)
        summary.present += 1
        if record.status == "failed":
            line = f"{cell.label}: {record.reason} (in an earlier run; --fresh tries again)"
            summary.add_failure(line, record.frames)
        return True

    def _found(self, cell: PlannedCell) -> Record | None:
        """Return the cell's record, or None if there is none or it is damaged."""
        try:
            record = self.store.find(cell.key)
        except NewerSchemaError:
            raise
        except DataError as error:
            self.reporter.log(f"{error}; measuring the cell again")
            return None
        return None if record is None else self.store.settle(cell.key, record)
