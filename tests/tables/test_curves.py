"""Tables of curves: a table a split of all that was measured, and a CSV line a point."""

from __future__ import annotations

import csv
import io
import re

import pytest
from support.factories import make_others, make_record, undefined
from support.rates import point

from codecbench.analysis.curves import build
from codecbench.results.record import Record
from codecbench.tables import curves
from codecbench.tables.formats import FORMATS


def records() -> list[Record]:
    return [
        point(1, 100, -3.0, estimated_bytes=99.25), point(9, 150, -5.0), make_record("stem", "raw", payload_bytes=1000),
        make_record(codec="avif", status="skipped", reason="no library"),
        *(make_record(codec="cs", point={"variant": "best", "rate": rate}, row="cs (best)") for rate in (4, 5)),
    ]  # fmt: skip


def test_each_split_has_a_table_of_all_that_was_measured() -> None:
    (found,) = build(records())
    first, second = curves.documents(found)
    assert first.title == "toy, input: every operating point, by payload"
    (block,) = first.blocks
    assert [label for label, _ in block.rows] == [
        "cs (best) rate=4",
        "cs (best) rate=5",
        "zlib level=1",
        "zlib level=9",
    ]
    cells = dict(block.rows)
    assert cells["zlib level=1"][1].text == "99.2"
    assert cells["zlib level=9"][1].text == "-"
    assert cells["zlib level=9"][3].marks == "↓"
    assert [mark for mark, _ in first.marks] == ["↓"]
    assert [label for label, _ in second.blocks[0].rows] == ["raw"]
    assert second.marks == ()


def test_csv_has_a_line_a_point_with_unrounded_numbers() -> None:
    lines = list(csv.DictReader(io.StringIO(curves.render(build(records()), "csv"))))
    assert [line["row"] for line in lines] == ["cs (best)", "cs (best)", "zlib", "zlib", "raw"]
    assert tuple(lines[0]) == curves.CSV_FIELDS
    assert (lines[2]["bound_bytes"], lines[3]["bound_bytes"]) == ("99.25", "")
    assert (lines[2]["falls"], lines[3]["falls"]) == ("False", "True")


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_shows_every_point(format_: str) -> None:
    text = curves.render(build(records()), format_)
    assert text.count("zlib") >= 2
    assert text.endswith("\n")


def test_a_point_without_a_metric_stands_with_a_reason() -> None:
    (found,) = build([make_record(point={"q": 1}), undefined(make_record(point={"q": 2}, raw_bytes=0.0))])
    text = curves.render([found], "text")
    assert re.search(r"^alpha q=2 +100\.0 +- +- +- ", text, re.MULTILINE)
    assert "-: top-1 is undefined" in text
    assert "nan" not in text


def test_other_metrics_have_columns_at_every_point() -> None:
    first, second = make_record(point={"q": 1}), make_record(point={"q": 2})
    first = first.model_copy(update={"others": make_others(first, AUC=0.5)})
    built = build([first, second])
    (block,) = curves.documents(built[0])[0].blocks
    assert block.groups[0].headings[3:5] == ("change", "AUC %")
    assert [cells[4].text for _, cells in block.rows] == ["0.5", "-"]
    assert {len(cells) for _, cells in block.rows} == {len(block.groups[0].headings)} == {8}
    lines = list(csv.DictReader(io.StringIO(curves.render(built, "csv"))))
    assert [line["other_metrics"] for line in lines] == ['{"AUC": 0.5}', '{"AUC": null}']
