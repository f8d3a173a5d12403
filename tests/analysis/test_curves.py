"""Curves: every point by payload, its bound, and where a larger payload does worse."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import make_record

from codecbench.analysis import curves
from codecbench.errors import UsageError
from codecbench.results.record import Record
from codecbench.tables.formats import FORMATS


def point(level: int, payload_bytes: float, change: float, **options: Any) -> Record:
    return make_record(codec="zlib", point={"level": level}, payload_bytes=payload_bytes, change=change, **options)


def test_points_stand_in_the_order_of_their_payloads() -> None:
    curve = curves.curve([point(9, 300, -0.5), point(1, 100, -4.0), point(5, 200, -2.0)])
    assert [found.payload_bytes for found in curve] == [100, 200, 300]
    assert not any(found.falls for found in curve)


def test_a_curve_falls_where_intervals_are_apart() -> None:
    curve = curves.curve([point(1, 100, -1.0), point(2, 200, -1.4), point(3, 300, -1.6), point(4, 400, -1.1)])
    assert [found.falls for found in curve] == [False, False, True, False]


def test_where_less_is_better_signs_turn() -> None:
    options: dict[str, Any] = {"higher_is_better": False, "half_width": 0.01}
    curve = curves.curve([point(1, 100, 0.02, **options), point(2, 200, 0.1, **options)])
    assert [found.falls for found in curve] == [False, True]


@given(st.lists(st.floats(-20, 0), min_size=1, max_size=8, unique=True))
def test_a_rising_curve_never_falls(changes: list[float]) -> None:
    records = [point(i, 100 + i, change) for i, change in enumerate(sorted(changes))]
    assert not any(found.falls for found in curves.curve(records))


def records() -> list[Record]:
    return [
        point(1, 100, -3.0, estimated_bytes=99.25), point(9, 150, -5.0), make_record("stem", "raw", payload_bytes=1000),
        make_record(codec="avif", status="skipped", reason="no library"),
        *(make_record(codec="cs", point={"variant": "best", "rate": rate}, row="cs (best)") for rate in (4, 5)),
    ]  # fmt: skip


def test_each_split_has_a_table_of_all_that_was_measured() -> None:
    (found,) = curves.build(records())
    first, second = found.documents()
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
    lines = list(csv.DictReader(io.StringIO(curves.render(curves.build(records()), "csv"))))
    assert [line["row"] for line in lines] == ["cs (best)", "cs (best)", "zlib", "zlib", "raw"]
    assert tuple(lines[0]) == curves.CSV_FIELDS
    assert (lines[2]["bound_bytes"], lines[3]["bound_bytes"]) == ("99.25", "")
    assert (lines[2]["falls"], lines[3]["falls"]) == ("False", "True")


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_shows_every_point(format_: str) -> None:
    text = curves.render(curves.build(records()), format_)
    assert text.count("zlib") >= 2
    assert text.endswith("\n")


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(UsageError, match="there are no measured records; `codecbench run` makes some"):
        curves.build([make_record(status="failed")])
