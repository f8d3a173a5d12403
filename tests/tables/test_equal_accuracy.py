"""Tables of bytes at one loss: a cell for each number with its interval, and notes and marks where there is none."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from support.factories import make_record

from codecbench.analysis.equal_accuracy import EqualAccuracy, Estimate, RateAtLoss
from codecbench.analysis.selection import origin_of
from codecbench.tables import equal_accuracy
from codecbench.tables.formats import FORMATS


def found(**rates: RateAtLoss) -> EqualAccuracy:
    return EqualAccuracy(
        "toy", "top-1", "%", 1.1, ("alpha",), {"input": rates, "stem": {"alpha": rates["alpha"]}},
        (origin_of(make_record()),), 100, "test-100-00c0ffee", 0, ("Left out: something.",),
    )  # fmt: skip


def example() -> EqualAccuracy:
    record = make_record(codec="alpha", point={"q": 3})
    return found(
        alpha=RateAtLoss(Estimate(1234.4, 1000.0, float("inf")), {"alpha": Estimate(1, 1, 1)}, finer=record),
        beta=RateAtLoss(Estimate(617.2, 500.0, 700.0), {"alpha": Estimate(0.5, 0.0, 0.625)}, "", True, record),
        gamma=RateAtLoss(None, {}, "no point of it is within the budget"),
    )


def test_cells() -> None:
    document = equal_accuracy.document(example())
    (block,) = document.blocks
    assert document.title == "toy: bytes at a loss of 1.1 points of top-1, interpolated"
    assert block.groups[0].headings == ("bytes", "x alpha", "encode ms", "decode ms", "edge state, MB")
    rows = dict(block.rows)
    assert [cell.text for cell in rows["alpha"][:5]] == ["1,234 [1,000, ...]", "1.00 [1.00, 1.00]", "1.0", "2.0", "0"]
    assert [cell.text for cell in rows["beta"][:2]] == ["617 [500, 700]", "0.50 [..., 0.62]"]
    assert rows["beta"][0].marks == equal_accuracy.UPPER_BOUND
    assert document.notes == ("no point of it is within the budget",)
    assert rows["gamma"][0].notes == (1,)
    assert "Left out: something." in document.remarks


def test_a_block_has_the_rows_of_its_splits() -> None:
    blocks = equal_accuracy.document(example(), splits_per_block=1).blocks
    assert [[label for label, _ in block.rows] for block in blocks] == [["alpha", "beta", "gamma"], ["alpha"]]


@pytest.mark.parametrize("format_", FORMATS)
def test_all_formats(format_: str) -> None:
    text = equal_accuracy.render([example()], format_, width=60)
    assert text.endswith("\n")
    assert "beta" in text
    assert "617" in text


def test_csv_holds_numbers_unrounded_and_open_ends_empty() -> None:
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(equal_accuracy.render([example()], "csv"))))
    assert tuple(rows[0]) == equal_accuracy.CSV_FIELDS
    alpha, beta, gamma = rows[:3]
    assert (alpha["payload_bytes"], alpha["high"], alpha["finer_point"]) == ("1234.4", "", "alpha q=3")
    assert (beta["anchor"], beta["ratio"], beta["upper_bound"]) == ("alpha", "0.5", "True")
    assert (gamma["payload_bytes"], gamma["reason"]) == ("", "no point of it is within the budget")
