"""Records to the counterpart of the paper's Table 4: how long codecs are fitted, and what part of the model's training.

Rows are the codecs that need a fit, columns the split points.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from codecbench.analysis.selection import one_set, rows_in_order, splits_in_order
from codecbench.errors import UsageError
from codecbench.names import pick
from codecbench.results.record import Record
from codecbench.tables import document as layout
from codecbench.tables.budget import SPLITS_PER_BLOCK
from codecbench.tables.formats import FORMATS, PROSE_WIDTH, batches, csv_text, short

MODEL = "the model itself"
"""The row of the model's own training."""

CSV_FIELDS = (
    "workload", "sample_set", "seed", "split", "row", "codec", "points", "fit_mean_s", "fit_min_s", "fit_max_s",
    "training_s", "training_percent",
)  # fmt: skip

_PUBLISHED_H = (("ImageNet", 4.8, 0.8, 134.0), ("LibriSpeech", 1.6, 0.3, 23.0))
"""Dataset; hours of DeepCOD's training and their deviation; hours of the model's own (Yao et al. 2020, Table 4)."""


@dataclass(frozen=True)
class ModelTraining:
    """How long a workload's model was trained, None where that is not known, and how the figure was found."""

    seconds: float | None = None
    note: str = ""


@dataclass(frozen=True)
class FitTimes:
    """The fits of a row's points at one split: seconds of each, and the codec's name."""

    codec: str
    seconds: tuple[float, ...]

    @property
    def mean_s(self) -> float:
        """Mean over the points."""
        return sum(self.seconds) / len(self.seconds)

    def percent_of(self, training_s: float | None) -> float | None:
        """The mean, in percent of the model's own training."""
        return 100 * self.mean_s / training_s if training_s else None


@dataclass(frozen=True)
class TrainingTable:
    """The fits of one workload's codecs, on one sample set. What was not fitted is not in `fits`."""

    workload: str
    model: ModelTraining
    sample_set: str
    seed: int
    splits: tuple[str, ...]
    rows: tuple[str, ...]
    fits: Mapping[tuple[str, str], FitTimes]
    remarks: tuple[str, ...]

    def document(self, splits_per_block: int = SPLITS_PER_BLOCK) -> layout.Document:
        """The table as blocks of formatted cells."""
        blocks = tuple(self._block(splits) for splits in batches(self.splits, splits_per_block))
        return layout.Document(f"{self.workload}: time to fit a codec, by split point", blocks, self.remarks)

    def csv_rows(self) -> list[dict[str, Any]]:
        """One flat line a row and split, and one for the model, numbers unrounded, by the names in CSV_FIELDS."""
        common = {"workload": self.workload, "sample_set": self.sample_set, "seed": self.seed}
        common |= {"training_s": self.model.seconds}
        lines = [
            {
                **common, "split": split, "row": row, "codec": found.codec, "points": len(found.seconds),
                "fit_mean_s": found.mean_s, "fit_min_s": min(found.seconds), "fit_max_s": max(found.seconds),
                "training_percent": found.percent_of(self.model.seconds),
            }
            for (row, split), found in self.fits.items()
        ]  # fmt: skip
        return [*lines, {**common, "row": MODEL, "training_percent": 100.0}] if self.model.seconds else lines

    def _block(self, splits: Sequence[str]) -> layout.Block:
        groups = tuple(layout.Group(split, ("seconds", "% of training"), ("right", "right")) for split in splits)
        rows = [(row, tuple(chain.from_iterable(self._cells(row, split) for split in splits))) for row in self.rows]
        if self.model.seconds:
            whole = (layout.Cell(short(self.model.seconds)), layout.Cell("100"))
            rows.append((MODEL, whole * len(splits)))
        return layout.Block("codec", groups, tuple(rows))

    def _cells(self, row: str, split: str) -> tuple[layout.Cell, layout.Cell]:
        found = self.fits.get((row, split))
        if found is None:
            return layout.Cell("-"), layout.Cell()
        text = short(found.mean_s)
        if len(found.seconds) > 1:
            text += f" [{short(min(found.seconds))}, {short(max(found.seconds))}]"
        return layout.Cell(text), layout.Cell(short(found.percent_of(self.model.seconds)))


def build(
    records: Sequence[Record], models: Mapping[str, ModelTraining], *, sample_set: str | None = None
) -> list[TrainingTable]:
    """The table of each workload, by name. Sample sets are chosen as in a table; see `table.build`.

    `models` says for each workload how long its model was trained. Raises UsageError where no record tells of a fit.
    """
    by_workload: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if _fit_s(record) is not None:
            by_workload[record.key.workload].append(record)
    if not by_workload:
        raise UsageError("no record tells how long a fit took; `codecbench run` a codec that learns makes some")
    return [
        _table(name, found, models.get(name, ModelTraining()), sample_set)
        for name, found in sorted(by_workload.items())
    ]


def render(tables: Sequence[TrainingTable], format_: str, width: int | None = None) -> str:
    """All tables in one text ending in a newline; formats and width as of `table.render`."""
    name = pick({known: known for known in FORMATS}, format_, "format")
    if name == "csv":
        return csv_text(CSV_FIELDS, chain.from_iterable(table.csv_rows() for table in tables))
    if name == "text":
        return "\n".join(_fitting_text(table, width) for table in tables)
    write = {"md": layout.markdown, "latex": layout.latex, "html": layout.html_section}[name]
    return "\n".join(write(table.document()) for table in tables)


def published() -> str:
    """What the paper measured, in a sentence."""
    told = "; ".join(
        f"{dataset}: {codec_h:g} ± {spread_h:g} h, {short(100 * codec_h / model_h)} % of {model_h:g} h"
        for dataset, codec_h, spread_h, model_h in _PUBLISHED_H
    )
    return f"Published (Yao et al., SenSys 2020, Table 4), DeepCOD and the model itself: {told}."


def _fitting_text(table: TrainingTable, width: int | None) -> str:
    """The table with as many splits in a block as the width allows."""
    documents = [table.document(count) for count in range(SPLITS_PER_BLOCK, 0, -1)]
    fitting = (d for d in documents if width is None or all(layout.text_width(b) <= width for b in d.blocks))
    return layout.text(next(fitting, documents[-1]), min(width or PROSE_WIDTH, PROSE_WIDTH))


def _table(workload: str, records: Sequence[Record], model: ModelTraining, sample_set: str | None) -> TrainingTable:
    shown, left_out = one_set(records, workload, sample_set)
    by_place: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in shown:
        by_place[record.row, record.key.split].append(record)
    splits, rows = splits_in_order(shown), rows_in_order(shown)
    places = [(row, split) for row in rows for split in splits if (row, split) in by_place]
    key = shown[0].key
    return TrainingTable(
        workload=workload,
        model=model,
        sample_set=key.sample_set,
        seed=key.seed,
        splits=splits,
        rows=rows,
        fits={place: _fits(by_place[place]) for place in places},
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


def _fits(records: Sequence[Record]) -> FitTimes:
    seconds = (_fit_s(record) for record in records)
    return FitTimes(records[0].key.codec, tuple(fit_s for fit_s in seconds if fit_s is not None))


def _fit_s(record: Record) -> float | None:
    return record.time.fit_s if record.time else None
