"""The table of fits: which rows it has, what stands in a cell, and what the percentages are of."""

from __future__ import annotations

import csv
import io

import pytest
from support.factories import make_record

from codecbench.errors import UsageError
from codecbench.results.record import Record
from codecbench.tables import training
from codecbench.tables.formats import FORMATS
from codecbench.tables.training import CSV_FIELDS, MODEL, ModelTraining, TrainingTable

MODELS = {"toy": ModelTraining(2_000.0, "by the log.")}


def records() -> list[Record]:
    return [
        make_record("input", "deep", {"width": 1}, fit_s=100.0),
        make_record("input", "deep", {"width": 2}, fit_s=300.0),
        make_record("stem", "deep", {"width": 1}, fit_s=50.0), make_record("stem", "plain"),
        make_record("stem", "broken", status="failed"), make_record("stem", "quick", fit_s=0.5),
    ]  # fmt: skip


def built(models: dict[str, ModelTraining] | None = None) -> TrainingTable:
    (found,) = training.build(records(), MODELS if models is None else models)
    return found


def test_rows_are_what_was_fitted_and_the_model() -> None:
    (block,) = built().document().blocks
    cells = {label: [cell.text for cell in row] for label, row in block.rows}
    assert cells == {
        "deep": ["200 [100, 300]", "10.0", "50.0", "2.5"],
        "quick": ["-", "", "0.5", "0.025"],
        MODEL: ["2,000", "100", "2,000", "100"],
    }
    assert [group.title for group in block.groups] == ["input", "stem"]


def test_remarks_say_what_the_percentages_are_of_and_what_was_published() -> None:
    remarks = built().remarks
    assert remarks[1] == "% of training: of 2,000 s, the training of the model itself: by the log."
    assert remarks[2].endswith(
        "ImageNet: 4.8 ± 0.8 h, 3.6 % of 134 h; LibriSpeech: 1.6 ± 0.3 h, 7.0 % of 23 h."
    )  # fmt: skip


def test_a_workload_that_does_not_say_has_no_percentages() -> None:
    found = built({})
    (block,) = found.document().blocks
    assert MODEL not in [label for label, _ in block.rows]
    assert [cell.text for cell in block.rows[0][1]] == ["200 [100, 300]", "-", "50.0", "-"]
    assert "does not say" in found.remarks[1]


def test_csv_has_a_line_a_fit_and_one_for_the_model() -> None:
    lines = list(csv.DictReader(io.StringIO(training.render([built()], "csv"))))
    assert list(lines[0]) == list(CSV_FIELDS)
    assert [(line["row"], line["split"], line["fit_mean_s"], line["points"]) for line in lines] == [
        ("deep", "input", "200.0", "2"), ("deep", "stem", "50.0", "1"), ("quick", "stem", "0.5", "1"),
        (MODEL, "", "", ""),
    ]  # fmt: skip
    assert (lines[0]["fit_min_s"], lines[0]["fit_max_s"], lines[0]["training_percent"]) == ("100.0", "300.0", "10.0")


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_shows_every_row(format_: str) -> None:
    text = training.render([built()], format_)
    assert all(row in text for row in ("deep", "quick", MODEL))
    assert text.endswith("\n")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_text_fits_the_terminal_where_it_can(width: int) -> None:
    block = training.render([built()], "text", width).split("\n\n")[1]
    assert ("stem" in block) == (width > 40)


def test_records_without_a_fit_are_an_error() -> None:
    with pytest.raises(UsageError, match="no record holds the time of a fit"):
        training.build([make_record()], MODELS)
