"""Results of earlier runs in the same folder: finds the cells that have a current record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from codecbench.errors import DataError
from codecbench.experiment.cells import PlannedCell, Reporter, Summary
from codecbench.harness.provenance import RunProvenance
from codecbench.results.record import NewerSchemaError, Record, Samples
from codecbench.results.store import Store


class EarlierResults:
    """Finds the cells that have to be measured, and removes outdated results.

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

    def accuracy(self, cell: PlannedCell) -> tuple[Mapping[str, NDArray[Any]], Samples] | None:
        """Return the columns and file of a finished accuracy pass without timing, or None if the pass has to run."""
        kept = self.store.partial(cell.key)
        if kept is None:
            return None
        columns, values, samples = kept
        complete = int((columns["subset"] == "choice").sum()) == self.choice_samples
        current = self.provenance.is_current(cell, values["source_hash"], values["weights_hash"])
        return (columns, samples) if complete and current and not self.fresh else None

    def _is_present(self, cell: PlannedCell, summary: Summary) -> bool:
        record = self._found(cell)
        if record is None:
            return False
        if self.fresh:
            self.store.discard(cell.key)
            return False
        if not self.provenance.is_current(cell, record.provenance.source_hash, record.provenance.weights_hash):
            self.reporter.log(f"{cell.label}: the codec's source or the weights have changed; measuring it again")
            self.store.discard(cell.key)
            summary.stale += 1
            return False
        if record.choice is not None and record.choice.n < self.choice_samples:
            self.reporter.log(
                f"{cell.label}: has {record.choice.n} choice samples, not {self.choice_samples}; measuring it again"
            )
            self.store.discard(cell.key)
            return False
        if record.status == "skipped" and cell.skip_reason is None:
            return False  # what was missing then, such as an optional package, is available now
        summary.present += 1
        if record.status == "failed":
            summary.failures.append(f"{cell.label}: {record.reason} (in an earlier run; --fresh tries again)")
        return True

    def _found(self, cell: PlannedCell) -> Record | None:
        """Return the cell's record or None. A damaged record is removed."""
        try:
            return self.store.find(cell.key)
        except NewerSchemaError:
            raise
        except DataError as error:
            self.reporter.log(f"{error}; measuring the cell again")
            self.store.discard(cell.key)
            return None
