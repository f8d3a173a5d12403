"""The counterpart of the paper's Table 4: seconds to fit each codec, and their share of the model's own training.

Rows are the codecs that need a fit, columns the splits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, product
from typing import Any

from codecbench.analysis.published import PUBLISHED_TRAININGS
from codecbench.analysis.selection import (
    Origin,
    by_row_and_split,
    by_workload,
    one_set,
    origin_of,
    rows_in_order,
    splits_in_order,
)
from codecbench.errors import UsageError
from codecbench.results.record import Record
from codecbench.tables import formats, reservations
from codecbench.tables.document import Cell, Document, Group, TableBlock
from codecbench.tables.formats import SPLITS_PER_BLOCK, batches, short
from codecbench.tables.reservations import Reservations

MODEL = "the model itself"
"""The label of the row with the model's own training."""

CSV_FIELDS = (
    "workload", "sample_set", "seed", "split", "row", "codec", "points", "fit_mean_s", "fit_min_s", "fit_max_s",
    "training_s", "training_percent", "isolation", "mixed_plugin",
)  # fmt: skip


@dataclass(frozen=True)
class ModelTraining:
    """Training seconds of a workload's model, None where unknown, and a note on their source."""

    seconds: float | None = None
    note: str = ""


@dataclass(frozen=True)
class FitTimes:
    """The codec of a row, and the seconds and origins of its fits at one split, one for each operating point."""

    codec: str
    seconds: tuple[float, ...]
    origins: tuple[Origin, ...]

    @property
    def mean_s(self) -> float:
        """Mean seconds over the points."""
        return sum(self.seconds) / len(self.seconds)

    def percent_of(self, training_s: float | None) -> float | None:
        """Returns the mean in percent of the model's own training, None where that is unknown."""
        return 100 * self.mean_s / training_s if training_s else None


@dataclass(frozen=True)
class TrainingTable:
    """The fit times of one workload's codecs on one sample set; `fits` lacks the cells without a fit."""

    workload: str
    model: ModelTraining
    sample_set: str
    seed: int
    splits: tuple[str, ...]
    rows: tuple[str, ...]
    fits: Mapping[tuple[str, str], FitTimes]
    remarks: tuple[str, ...]

    def document(self, splits_per_block: int = SPLITS_PER_BLOCK) -> Document:
        """Returns the table as blocks of formatted cells."""
        blocks = tuple(self._block(splits) for splits in batches(self.splits, splits_per_block))
        return Document(
            f"{self.workload}: time to fit a codec, by split point",
            blocks,
            (*self.remarks, *self.reservations.remarks),
            self.reservations.marks,
        )

    @cached_property
    def reservations(self) -> Reservations:
        """The reservations of the fits' cells."""
        return reservations.of_origins(chain.from_iterable(found.origins for found in self.fits.values()))

    def csv_rows(self) -> list[dict[str, Any]]:
        """Returns a line for each row and split, then one for the model, with the keys of CSV_FIELDS, unrounded."""
        common = {"workload": self.workload, "sample_set": self.sample_set, "seed": self.seed}
        common |= {"training_s": self.model.seconds}
        lines = [
            {
                **common, "split": split, "row": row, "codec": found.codec, "points": len(found.seconds),
                "fit_mean_s": found.mean_s, "fit_min_s": min(found.seconds), "fit_max_s": max(found.seconds),
                "training_percent": found.percent_of(self.model.seconds), **reservations.csv_values(found.origins),
            }
            for (row, split), found in self.fits.items()
        ]  # fmt: skip
        return [*lines, {**common, "row": MODEL, "training_percent": 100.0}] if self.model.seconds else lines

    def _block(self, splits: Sequence[str]) -> TableBlock:
        groups = tuple(Group(split, ("seconds", "% of training"), ("right", "right")) for split in splits)
        rows = [(row, tuple(chain.from_iterable(self._cells(row, split) for split in splits))) for row in self.rows]
        if self.model.seconds:
            cells = (Cell(short(self.model.seconds)), Cell("100"))
            rows.append((MODEL, cells * len(splits)))
        return TableBlock("codec", groups, tuple(rows))

    def _cells(self, row: str, split: str) -> tuple[Cell, Cell]:
        found = self.fits.get((row, split))
        if found is None:
            return Cell("-"), Cell()
        text = short(found.mean_s)
        if len(found.seconds) > 1:
            text += f" [{short(min(found.seconds))}, {short(max(found.seconds))}]"
        return Cell(text, self.reservations.marks_of(*found.origins)), Cell(short(found.percent_of(self.model.seconds)))


def build(
    records: Sequence[Record], models: Mapping[str, ModelTraining], *, sample_set: str | None = None
) -> list[TrainingTable]:
    """Returns the table of each workload, sorted by name. The sample set is chosen as in `tables.budget.build`.

    `models` holds the training of each workload's model, for records that do not hold it. Raises UsageError where no
    record has the seconds of a fit.
    """
    if not _fitted(records):
        raise UsageError("no record holds the time of a fit; `codecbench run` with a codec that learns makes some")
    return [
        _table(name, found, models.get(name, ModelTraining()), sample_set)
        for name, found in by_workload(records).items()
        if _fitted(found)
    ]


def render(tables: Sequence[TrainingTable], format_: str, width: int | None = None) -> str:
    """Returns all tables as one text; see `formats.render`. CSV has one header for all tables."""
    rows = chain.from_iterable(table.csv_rows() for table in tables)
    return formats.render(map(_layouts, tables), CSV_FIELDS, rows, format_, width)


def published() -> str:
    """Returns the paper's training times, in a sentence."""
    trainings = "; ".join(
        f"{dataset}: {codec_h:g} ± {deviation_h:g} h, {short(100 * codec_h / model_h)} % of {model_h:g} h"
        for dataset, codec_h, deviation_h, model_h in PUBLISHED_TRAININGS
    )
    return f"Published (Yao et al., SenSys 2020, Table 4), DeepCOD and the model itself: {trainings}."


def _layouts(table: TrainingTable) -> Iterator[Document]:
    """Returns the possible layouts of the table, widest first."""
    return (table.document(splits_per_block) for splits_per_block in range(SPLITS_PER_BLOCK, 0, -1))


def _table(workload: str, records: Sequence[Record], model: ModelTraining, sample_set: str | None) -> TrainingTable:
    # The records of other tables, where they hold a fit.
    of_set, left_out = one_set(records, workload, sample_set)
    shown = _fitted(of_set)
    if not shown:
        shown, left_out = one_set(_fitted(records), workload, sample_set)
    held = next((record.workload for record in shown if record.workload), None)
    model = ModelTraining(held.training_s, held.training_note) if held else model
    found = by_row_and_split(shown)
    splits, rows = splits_in_order(shown), rows_in_order(shown)
    key = shown[0].key
    return TrainingTable(
        workload=workload,
        model=model,
        sample_set=key.sample_set,
        seed=key.seed,
        splits=splits,
        rows=rows,
        fits={at: _fit_times(found[at]) for at in product(rows, splits) if at in found},
        remarks=(
            "Seconds of one fit, all cores: mean over the operating points [least, greatest]. Each is kept with the "
            "fitted state, by the machine that made it; a fit that starts from another point's state counts its own "
            f"seconds alone. Seed {key.seed}.",
            _model_remark(model),
            published(),
            *left_out,
        ),
    )


def _model_remark(model: ModelTraining) -> str:
    if not model.seconds:
        return "% of training: the workload does not say how long its model was trained."
    note = f": {model.note}" if model.note else "."
    return f"% of training: of {short(model.seconds)} s, the training of the model itself{note}"


def _fit_times(records: Sequence[Record]) -> FitTimes:
    seconds = (_fit_s(record) for record in records)
    return FitTimes(
        records[0].key.codec,
        tuple(fit_s for fit_s in seconds if fit_s is not None),
        tuple(origin_of(record) for record in records),
    )


def _fitted(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if _fit_s(record) is not None]


def _fit_s(record: Record) -> float | None:
    return record.time.fit_s if record.time else None
