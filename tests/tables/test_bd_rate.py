"""Tables of BD-rates: a cell for every row but the anchor, and a note where there is no number."""

from __future__ import annotations

import csv
import io

import pytest
from support.rates import LEVELS, curve_of, mixed, rising

from codecbench.analysis.bd_rate import build
from codecbench.tables import bd_rate
from codecbench.tables.formats import FORMATS


def test_every_row_but_the_anchor_has_a_cell_and_reasons_are_notes() -> None:
    (found,) = build(mixed(), "alpha")
    assert found.rows == ("beta", "raw")
    (block,) = bd_rate.document(found).blocks
    assert [group.title for group in block.groups] == ["input"]
    assert [label for label, _ in block.rows] == ["beta", "raw"]
    assert [cell.text for cell in block.rows[0][1]] == ["-60.0", "83.0 - 90.5", "0"]
    assert block.rows[1][1][0].notes == (1,)
    assert bd_rate.document(found).notes == ("its curve has 1 point on its envelope, and a BD-rate takes 4",)
    assert any("--preset full" in remark for remark in bd_rate.document(found).remarks)


@pytest.mark.parametrize("format_", FORMATS)
def test_all_formats(format_: str) -> None:
    text = bd_rate.render(build(mixed(), "alpha"), format_, width=60)
    assert text.endswith("\n")
    assert "beta" in text
    assert "-60.0" in text or "$-$60.0" in text or "-59.99" in text


def test_csv_holds_numbers_unrounded_and_reasons() -> None:
    rows = list(csv.DictReader(io.StringIO(bd_rate.render(build(mixed(), "alpha"), "csv"))))
    assert tuple(rows[0]) == bd_rate.CSV_FIELDS
    beta = next(row for row in rows if row["row"] == "beta")
    assert float(beta["bd_rate_percent"]) == pytest.approx(-60)
    assert (beta["anchor_points"], beta["dropped"]) == ("5", "0")
    assert next(row for row in rows if row["row"] == "raw")["reason"].startswith("its curve has 1 point")


def test_a_narrow_terminal_gets_one_split_a_block() -> None:
    records = [record for split in ("input", "stem", "stage1") for codec in ("alpha", "beta")
               for record in curve_of(codec, rising(), [*LEVELS], split=split)]  # fmt: skip
    found = build(records, "alpha")
    wide, narrow = bd_rate.render(found, "text", 200), bd_rate.render(found, "text", 50)
    assert wide.count("codec  ") < narrow.count("codec  ") == 3
