"""Columns, rows, order, intervals and the best: what the options of a table choose."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import make_others, make_record
from support.tables import build_one, full_grid, jpeg, raw

from codecbench.analysis import bd_rate, curves
from codecbench.errors import UsageError
from codecbench.tables import bd_rate as bd_rate_table
from codecbench.tables import budget, equal_accuracy, training
from codecbench.tables import curves as curves_table
from codecbench.tables.papers import kinds, rendering
from codecbench.tables.papers.best import with_best
from codecbench.tables.papers.columns import MEANINGS, NAMES, Column
from codecbench.tables.papers.sheet import Line, PaperOptions, Sheet, chosen, width_of

PAYLOAD, CHANGE = Column("payload_bytes", "bytes", ",.0f", "lower"), Column("change", "change", "+.1f", "higher")


def sheet(*rows: tuple[str, Mapping[str, Any]], split: str = "input", **fields: Any) -> Sheet:
    lines = tuple(Line(row, row, split, values, **fields) for row, values in rows)
    return Sheet("t", (PAYLOAD, CHANGE), ("payload_bytes", "change"), lines, ("split", "row"), front="payload_bytes")


def rows_of(found: Sheet) -> list[str]:
    return [line.row for line in found.lines]


def as_lines(options: PaperOptions, *sheets: Sheet) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(rendering.render(sheets, options, "csv"))))


def grid() -> Sheet:
    return kinds.of_budget(build_one(full_grid()))


def test_columns_stand_in_the_order_asked_for_with_their_intervals() -> None:
    (line, *_) = as_lines(PaperOptions(columns=("change", "payload_bytes")), grid())
    assert list(line) == ["workload", "split", "row", "status", "change", "change_low", "change_high", "payload_bytes"]
    (line, *_) = as_lines(PaperOptions(columns=("change", "payload_bytes"), intervals=False), grid())
    assert list(line) == ["workload", "split", "row", "status", "change", "payload_bytes"]


def test_csv_has_a_line_for_each_row_and_split_unrounded() -> None:
    lines = as_lines(PaperOptions(columns=("payload_bytes", "speed_up")), grid())
    cells = [(line["split"], line["row"]) for line in lines]
    assert len(set(cells)) == len(cells) == 5 * 6
    found = next(line for line in lines if (line["split"], line["row"]) == ("input", "jpeg"))
    assert (found["workload"], float(found["payload_bytes"])) == ("toy", 12_288 / 8)
    assert float(found["speed_up"]) > 0
    assert next(line for line in lines if line["status"] == "skipped")["payload_bytes"] == ""


def test_rows_stand_in_the_order_asked_for() -> None:
    (found,) = chosen([grid()], PaperOptions(rows=("raw (float32)", "jpeg")))
    assert rows_of(found)[:4] == ["raw (float32)", "jpeg"] * 2


def test_a_point_is_asked_for_by_its_label() -> None:
    records = [jpeg("input", quality, quality, -1.0) for quality in (10, 50)]
    points = kinds.of_curves(curves.build([*records, raw("input")])[0], 1.0)
    (one,) = chosen([points], PaperOptions(rows=("jpeg quality=50",)))
    assert [line.label for line in one.lines] == ["jpeg quality=50"]
    (both,) = chosen([points], PaperOptions(rows=("jpeg",)))
    assert len(both.lines) == 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (
            PaperOptions(columns=("payload",)),
            "no column 'payload'; did you mean 'payload_bytes'[?]; there are: payload_b",
        ),
        (PaperOptions(rows=("jpg",)), "no row 'jpg'; did you mean 'jpeg'[?]; there are: jpeg, odd_codec"),
        (
            PaperOptions(sort="-chnge"),
            "no column to sort by 'chnge'; did you mean 'change'[?]; there are: row, payload",
        ),
    ],
)
def test_an_unknown_name_is_answered_with_the_near_and_the_right_ones(options: PaperOptions, error: str) -> None:
    with pytest.raises(UsageError, match=error) as raised:
        chosen([grid()], options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["wide", "nan", "inf", "-3", "99"])
def test_a_width_is_a_name_or_points(text: str) -> None:
    assert (width_of("page"), width_of("469.5")) == (320, 469.5)
    with pytest.raises(UsageError, match=r"it is page .320 pt., column .220 pt., or points from 100 on"):
        width_of(text)


numbers = st.one_of(st.none(), st.floats(allow_nan=True), st.integers(-5, 5))


@given(st.lists(numbers, max_size=12), st.booleans())
def test_sorted_lines_are_in_order_and_those_without_a_number_come_last(values: list[float | None], down: bool) -> None:
    unsorted = sheet(*((str(place), {"payload_bytes": value}) for place, value in enumerate(values)))
    found = [
        line for each in chosen([unsorted], PaperOptions(sort="-" * down + "payload_bytes")) for line in each.lines
    ]
    assert sorted(line.row for line in found) == sorted(map(str, range(len(values))))
    shown = [line.fields["payload_bytes"] for line in found]
    known = [value for value in shown if value is not None and value == value]
    assert known == sorted(known, reverse=down)
    assert all(value is None or value != value for value in shown[len(known) :])
    for one, other in pairwise(found):
        if one.fields["payload_bytes"] == other.fields["payload_bytes"]:
            assert int(one.row) < int(other.row), "equal ones keep their order"


@given(st.lists(st.sampled_from(NAMES["budget"]), min_size=1, max_size=5), st.booleans())
def test_any_columns_are_those_of_the_csv(names: list[str], intervals: bool) -> None:
    (found,) = chosen([GRID], PaperOptions(columns=tuple(names), intervals=intervals))
    assert list(found.shown) == list(dict.fromkeys(names))
    assert intervals or not any(column.interval for column in found.visible)


GRID = grid()


def test_each_split_is_sorted_by_itself_in_a_block_of_its_own() -> None:
    (found,) = chosen([GRID], PaperOptions(sort="-payload_bytes"))
    assert [line.row for line in found.lines if line.split == "stem"][:2] == ["raw (float32)", "jpeg"]
    assert list(dict.fromkeys(line.split for line in found.lines)) == ["input", "stem", "stage1", "stage2", "stage3"]
    assert not found.side_by_side
    (named,) = chosen([GRID], PaperOptions(sort="-row"))
    assert rows_of(named)[0] == "raw (uint8)"


def test_the_best_is_that_of_the_candidates_and_the_front_is_marked() -> None:
    lines = {"a": (10, -1.0), "b": (20, -0.5), "c": (30, -0.7), "d": (20, -0.9)}
    able = sheet(*((row, {"payload_bytes": size, "change": change}) for row, (size, change) in lines.items()))
    out = sheet(("over", {"payload_bytes": 1, "change": 0.0}), candidate=False)
    found = with_best(Sheet(**{**vars(able), "lines": able.lines + out.lines}))
    best = {line.row: sorted(line.best) for line in found.lines}
    assert best == {"a": ["payload_bytes"], "b": ["change"], "c": [], "d": [], "over": []}
    assert [line.row for line in found.lines if line.pareto] == ["a", "b"]
    assert [line.row for line in found.lines if "•" in line.marks] == ["a", "b"]
    assert any("Bold" in remark.text for remark in found.remarks)


def test_numbers_that_are_shown_alike_are_equally_good_and_what_most_have_is_not_bold() -> None:
    found = with_best(
        sheet(
            *(
                (row, {"payload_bytes": size, "change": 0.0})
                for row, size in zip("abcd", (9.6, 10.4, 11, 12), strict=True)
            )
        )
    )
    assert [line.row for line in found.lines if "payload_bytes" in line.best] == ["a", "b"]
    assert not any("change" in line.best for line in found.lines)


places = st.tuples(st.integers(0, 6), st.integers(-6, 6).map(float))


@given(st.lists(places, max_size=10))
def test_the_front_holds_what_nothing_beats(found: list[tuple[int, float]]) -> None:
    values = [{"payload_bytes": size, "change": change} for size, change in found]
    judged = with_best(sheet(*((str(place), fields) for place, fields in enumerate(values))))
    for line, (size, change) in zip(judged.lines, found, strict=True):
        beaten = any(s <= size and c >= change and (s < size or c > change) for s, c in found)
        assert line.pareto != beaten


def test_where_lower_is_better_the_lowest_is_the_best() -> None:
    records = [make_record("input", name, payload_bytes=size, change=change, higher_is_better=False)
               for name, size, change in (("a", 50, 0.02), ("b", 70, 0.01), ("c", 90, 0.015))]  # fmt: skip
    found = with_best(kinds.of_budget(build_one(records, budget=1.0)))
    best = {line.row: line.best for line in found.lines if line.row != "local"}
    assert "change" in best["b"]
    assert "payload_bytes" in best["a"]
    assert [line.row for line in found.lines if line.pareto] == ["a", "b"]


def test_only_codecs_within_the_budget_can_be_the_best() -> None:
    lucky = jpeg("input", 10, 100, change=-1.6, choice_change=-0.2)
    over = make_record("input", "quant", payload_bytes=20, change=-3.0)
    sound = make_record("input", "sound", payload_bytes=500, change=-0.5)
    candidates = {line.row: line.candidate for line in kinds.of_budget(build_one([lucky, over, sound])).lines}
    assert candidates == {"jpeg": False, "quant": False, "sound": True, "local": False}
    points = kinds.of_curves(curves.build([lucky, over, sound])[0], 1.0)
    assert {line.row: line.candidate for line in points.lines} == {"jpeg": True, "quant": False, "sound": True}


def test_csv_names_the_best_columns_and_the_front() -> None:
    options = PaperOptions(columns=("payload_bytes",), best=True)
    records = [jpeg("input", 10, 100, -0.5), make_record("input", "zlib", payload_bytes=500, change=-0.6)]
    found = {
        line["row"]: (line["best"], line["pareto"]) for line in as_lines(options, kinds.of_budget(build_one(records)))
    }
    assert found == {"jpeg": ("payload_bytes", "True"), "zlib": ("", "False"), "local": ("", "False")}


def test_a_mark_stands_for_an_interval_that_is_not_shown() -> None:
    table = kinds.of_budget(build_one([jpeg("input", 10, 100, -0.8)]))
    shown, hidden, without = (
        rendering.render([table], options, "text", 120)
        for options in (
            PaperOptions(sort="row"), PaperOptions(intervals=False),
            PaperOptions(columns=("payload_bytes",), intervals=False),
        )
    )  # fmt: skip
    assert "-0.8 [-1.1, -0.6] ~\n" in shown
    assert "[low, high]" in shown
    assert "-0.8 ~*\n" in hidden
    assert "* the paired 95 % interval of the change excludes zero" in hidden
    assert "[low, high]" not in hidden
    assert "excludes zero" not in without


def test_other_metrics_are_columns_of_their_names() -> None:
    record = jpeg("input", 50, 500, -0.5)
    built = build_one([record.model_copy(update={"others": make_others(record, **{"top-5": 98.0})})])
    (line, _) = as_lines(PaperOptions(columns=("top-5",)), kinds.of_budget(built))
    assert float(line["top-5"]) == 98


def every_sheet() -> dict[str, Sheet]:
    records = [
        make_record("stem", codec, {"q": q}, payload_bytes=factor * q, change=change, fit_s=2.0, n=100)
        for codec, factor in (("alpha", 1), ("beta", 2))
        for q, change in ((10, -20.0), (20, -10.0), (40, -5.0), (80, -2.0), (160, -0.5))
    ]
    return {
        "budget": kinds.of_budget(build_one(records)),
        "latency": kinds.of_latency(build_one(records)),
        "points": kinds.of_curves(curves.build(records)[0], 1.0),
        "bd-rate": kinds.of_bd_rates(bd_rate.build(records, "alpha")[0]),
        "training": kinds.of_trainings(training.build(records, {})[0]),
    }


@pytest.mark.parametrize("kind", ["budget", "latency", "points", "bd-rate", "training"])
@pytest.mark.parametrize("format_", ["text", "md", "csv", "latex", "html"])
def test_every_kind_takes_all_options_in_every_format(kind: str, format_: str) -> None:
    found = every_sheet()[kind]
    names = tuple(column.name for column in found.columns)
    assert names == NAMES["budget" if kind == "latency" else kind]
    for options in (PaperOptions(columns=names, best=True, sort=names[0]), PaperOptions(intervals=False)):
        text = rendering.render([found], options, format_, 80)
        assert text.endswith("\n")
        assert "beta" in text


def test_every_column_and_field_has_a_meaning() -> None:
    written = (budget.CSV_FIELDS, curves_table.CSV_FIELDS, bd_rate_table.CSV_FIELDS, equal_accuracy.CSV_FIELDS)
    fields = {field for fields in (*written, training.CSV_FIELDS) for field in fields}
    names = {name for names in NAMES.values() for name in names}
    assert fields | names | {"best", "pareto", "other_metrics"} == MEANINGS.keys()
