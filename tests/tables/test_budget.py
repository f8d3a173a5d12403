"""Tables for a budget: what is shown of a choice, and what the table says beside it."""

import csv
import io
import json
import re

import pytest
from support.factories import CPU, LINK, make_group, make_others, make_record, sizes_of, undefined
from support.tables import build_one, full_grid, jpeg, latex_rows, raw, rendered

from codecbench.analysis.latency import Scenario
from codecbench.errors import DataError, UsageError
from codecbench.links.model import TcpRampLink
from codecbench.results.record import Record, TwoLooks
from codecbench.tables import budget
from codecbench.tables.budget import Table, choice_marks


def test_without_a_point_within_the_budget_the_best_is_shown_and_marked() -> None:
    records = [jpeg("input", 10, 100, -9.0), jpeg("input", 50, 500, -4.0), jpeg("input", 90, 900, -4.5)]
    built = build_one(records)
    assert built.entries["jpeg", "input"].point == "quality=50"
    assert choice_marks(built.entries["jpeg", "input"]) == "†"
    assert "-4.0 [-4.2, -3.8] †" in built.render("text")
    assert "† no point is within the budget" in built.render("text")


def test_an_interval_that_crosses_the_budget_is_marked() -> None:
    crossing = build_one([jpeg("input", 10, 100, -0.9, choice_half_width=0.5)])
    clear = build_one([jpeg("input", 10, 100, -0.4, choice_half_width=0.5)])
    assert choice_marks(crossing.entries["jpeg", "input"]) == "~"
    assert choice_marks(clear.entries["jpeg", "input"]) == ""
    assert "~ the paired interval" in crossing.render("text")
    assert "~ the paired interval" not in clear.render("text")


def test_a_point_over_the_budget_may_be_uncertain_too() -> None:
    built = build_one([jpeg("input", 10, 100, -1.2, choice_half_width=0.5)])
    assert choice_marks(built.entries["jpeg", "input"]) == "†~"


def test_a_lower_metric_may_be_better() -> None:
    records = [
        make_record("input", "quant", {"bits": bits}, payload_bytes=bits, change=change, higher_is_better=False)
        for bits, change in ((2, 0.09), (4, 0.008), (8, -0.02))
    ]
    built = build_one(records, budget=0.01)
    assert built.entries["quant", "input"].point == "bits=4"
    assert "WER" in built.title
    assert built.entries["quant", "input"].uncertain, "an interval of 0.25 either way crosses 0.01"


def test_without_choice_samples_the_test_samples_choose_and_the_table_says_so() -> None:
    records = [jpeg("input", q, q, change, with_choice=False) for q, change in ((10, -3.0), (50, -0.5))]
    built = build_one(records)
    assert choice_marks(built.entries["jpeg", "input"]) == "‡"
    assert "‡ chosen on the test samples" in built.render("text")


def test_percentages_are_of_the_raw_tensor_and_times_come_from_the_link() -> None:
    entry = build_one([jpeg("input", 50, 1_228.8, -0.5)]).entries["jpeg", "input"]
    assert entry.payload_percent == pytest.approx(10.0)
    sent, whole = LINK.seconds([1_228.8, 12_288])
    assert entry.network_ms == pytest.approx(1000 * sent)
    assert entry.network_percent == pytest.approx(100 * sent / whole)


def test_raw_stands_once_as_float32_and_at_the_input_as_uint8() -> None:
    built = build_one([raw("input"), raw("input", "uint8"), raw("stem")])
    assert built.rows == ("raw (float32)", "raw (uint8)", "local")
    assert built.entries["raw (uint8)", "input"].payload_percent == 25.0
    assert built.entries["raw (uint8)", "stem"].status == "no such point"
    assert built.entries["raw (float32)", "stem"].payload_percent == 100.0


def test_local_sends_nothing_and_keeps_the_uncompressed_accuracy() -> None:
    built = build_one([raw("input"), jpeg("input", 10, 100, -0.5)])
    local = built.entries["local", "input"]
    assert (local.payload_bytes, local.payload_percent, local.network_ms) == (0.0, 0.0, None)
    assert (local.value, local.change) == (91.0, 0.0)
    assert (local.low, local.high) == (89.0, 93.0), "the interval of raw, which changed no outcome"
    assert build_one([jpeg("input", 10, 100, -0.5)]).entries["local", "input"].low is None


def test_skipped_and_failed_cells_show_with_their_reason() -> None:
    text = build_one(full_grid()).render("text", width=None)
    assert "skipped [1]" in text
    assert "[1] skipped: needs 100 % of a_tensor & more, #1 {x}" in text
    assert "failed [2]" in text
    assert "[2] failed: timed out after 3 s" in text


def test_a_point_that_failed_is_named_beside_the_one_that_stands() -> None:
    built = build_one(full_grid())
    entry = built.entries["odd_codec", "stage1"]
    assert (entry.status, entry.point) == ("ok", "bits=4")
    assert entry.notes == ("bits=2 failed: timed out after 3 s",)
    assert entry.notes[0] in built.render("text")


def test_a_cell_that_was_never_run_says_so() -> None:
    built = build_one(full_grid())
    assert built.entries["odd_codec", "stage3"].status == "not run"
    assert "not run" in built.render("text")


def test_equal_reasons_share_a_footnote() -> None:
    records = [make_record(split, "jpeg", status="skipped", reason="needs an image") for split in ("input", "stem")]
    text = build_one([*records, raw("input")]).render("text")
    assert text.count("skipped [1]") == 2
    assert text.count("needs an image") == 1


def test_a_codec_that_only_failed_still_has_a_table() -> None:
    built = build_one([make_record(status="failed", reason="died")])
    assert built.rows == ("alpha",)
    assert "[1] failed: died" in built.render("text")


def test_each_workload_has_its_table_and_its_budget() -> None:
    records = [make_record(workload="b"), make_record(workload="a")]
    built = budget.build(records, budgets={"a": 1.0, "b": 0.1}, scenario=Scenario(LINK))
    assert [t.workload for t in built] == ["a", "b"]
    assert [t.entries["alpha", "input"].over_budget for t in built] == [False, True]


def test_the_budget_is_that_of_the_records_or_else_the_installed_workloads() -> None:
    def budgets(records: list[Record], known: float | dict[str, float]) -> list[object]:
        return [table.context["budget"] for table in budget.build(records, budgets=known, scenario=Scenario(LINK))]

    new = make_record(made_by=make_group(budget=2.5))
    assert budgets([new], {}) == budgets([new], {"toy": 9.0}) == [2.5]
    assert budgets([new], 0.5) == [0.5]
    assert budgets([make_record()], {"toy": 9.0}) == [9.0]


def test_bad_budgets_and_no_records_are_refused() -> None:
    with pytest.raises(UsageError, match="no budget is known for workload 'toy'; give one with --budget"):
        budget.build([make_record()], budgets={}, scenario=Scenario(LINK))
    with pytest.raises(UsageError, match="at least 0, not -1"):
        budget.build([make_record()], budgets=-1.0, scenario=Scenario(LINK))
    with pytest.raises(UsageError, match="no records"):
        budget.build([], budgets=1.0, scenario=Scenario(LINK))


def test_an_ok_record_without_measurements_is_named() -> None:
    record = make_record().model_copy(update={"task": None})
    with pytest.raises(DataError, match=record.cell):
        build_one([record])


def test_an_unknown_format_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="no format 'txt'; did you mean 'text'"):
        build_one([make_record()]).render("txt")


def test_the_caption_says_what_was_measured() -> None:
    text = " ".join(build_one(full_grid(), budget=1.1).render("text").split())
    for part in (
        "toy",
        "100 test samples",
        "1.1 points of top-1",
        "test-link",
        "raw float32",
        CPU,
        "95 %",
        "50 held-out",
    ):
        assert part in text


def test_the_chosen_points_are_listed_once_where_all_splits_agree() -> None:
    text = " ".join(build_one(full_grid()).render("text").split())
    assert "jpeg quality=50;" in text
    differing = [jpeg("input", 10, 100, -0.1), jpeg("stem", 50, 100, -0.1)]
    assert "jpeg quality=10 (input), quality=50 (stem)" in build_one(differing).render("text")


@pytest.mark.parametrize(("width", "blocks"), [(None, 2), (250, 2), (160, 3), (100, 5), (80, 5), (70, 5)])
def test_text_stacks_as_many_splits_as_fit(width: int | None, blocks: int) -> None:
    text = build_one(full_grid()).render("text", width)
    assert text.count("bytes (%)") == 5
    assert len(re.findall(r"^codec ", text, re.MULTILINE)) == blocks
    assert width is None or max(map(len, text.split("\n"))) <= width


def test_a_narrow_table_marks_the_changes_whose_interval_it_leaves_out() -> None:
    text = build_one(full_grid()).render("text", 70)
    assert "-0.9 ~*" in text
    assert "* the paired 95 % interval of the change" in text
    assert re.search(r"raw \(float32\).* 0\.0$", text, re.MULTILINE)


def test_csv_has_a_line_an_entry_and_unrounded_numbers() -> None:
    built = build_one(full_grid())
    lines = list(csv.DictReader(io.StringIO(built.render("csv"))))
    assert len(lines) == len(built.rows) * len(built.splits)
    line = next(line for line in lines if line["row"] == "jpeg" and line["split"] == "input")
    assert (line["point"], line["status"], line["link"], line["n"]) == ("quality=50", "ok", "test-link", "100")
    assert float(line["change"]) == -0.9
    assert float(line["payload_bytes"]) == 12_288 / 8
    assert next(line for line in lines if line["status"] == "skipped")["notes"].startswith("skipped: needs 100 %")


def test_paper_rows_follow_in_a_table_of_their_own() -> None:
    ours, published = budget.build(full_grid(), budgets=1.0, scenario=Scenario(LINK), paper=True)
    assert ours.source == "measured"
    assert "another model and dataset" in published.title
    assert published.rows[0] == "DeepCOD"
    entry = published.entries["DeepCOD", "input"]
    assert (entry.payload_percent, entry.network_ms, entry.value, entry.change) == (0.97, 4.3, 92.0, -1.1)
    assert "5.7 (0.97)" in published.render("text")
    latex_rows(rendered(published, "latex"))


def test_paper_table_of_the_same_direction_is_taken() -> None:
    record = make_record(change=0.001, higher_is_better=False)
    _, published = budget.build([record], budgets=0.01, scenario=Scenario(LINK), paper=True)
    assert published.metric == "WER"
    assert published.splits[-1] == "layer5"
    assert published.entries["DeepCOD", "input"].value == 0.085


def test_csv_of_several_tables_has_one_header() -> None:
    text = budget.render(budget.build(full_grid(), budgets=1.0, scenario=Scenario(LINK), paper=True), "csv")
    assert text.count("payload_bytes") == 1
    sources = [line["source"] for line in csv.DictReader(io.StringIO(text))]
    assert sources.count("paper") == 30


RAMP = TcpRampLink("ramp", round_trip_s=0.05, bandwidth_bit_per_s=1e8)


def table_over_ramp(records: list[Record], sizes: dict[str, list[int]] | None) -> Table:
    scenario = Scenario(RAMP, payload_sizes=None if sizes is None else sizes_of(sizes))
    (built,) = budget.build(records, budgets=1.0, scenario=scenario)
    return built


def words(built: Table) -> str:
    return " ".join(built.render("text").split())


def test_ms_is_the_mean_over_the_samples() -> None:
    record = jpeg("input", 50, 10_000, -0.5)
    sizes = [100] * 7 + [79_300]
    built = table_over_ramp([record], {record.cell: sizes})
    entry = built.entries["jpeg", "input"]
    raw_s = float(RAMP.seconds([12_288])[0])
    assert entry.network_ms == pytest.approx(1000 * RAMP.seconds(sizes).mean())
    assert entry.network_percent == pytest.approx(100 * RAMP.seconds(sizes).mean() / raw_s)
    assert not entry.network_of_mean
    assert "ms: network time over the link ramp (), modelled, the mean over the test samples. Percent" in words(built)


def test_records_without_parquet_files_have_the_time_of_the_mean_payload_and_a_remark() -> None:
    records = [jpeg("input", 50, 10_000, -0.5), make_record("input", "quant", payload_bytes=100)]
    alone = table_over_ramp(records, {})
    assert alone.entries["jpeg", "input"].network_ms == pytest.approx(1000 * float(RAMP.seconds([10_000])[0]))
    why = "no Parquet file there holds the sizes of single payloads."
    assert f"ms: network time of the mean payload over the link ramp (), modelled: {why}" in words(alone)
    partly = table_over_ramp(records, {records[0].cell: [10_000] * 4})
    assert f"the mean over the test samples; in 1 of 2 entries that of the mean payload: {why}" in words(partly)
    lines = list(csv.DictReader(io.StringIO(partly.render("csv"))))
    assert [line["network_of_mean"] for line in lines if line["row"] != "local"] == ["False", "True"]


@pytest.mark.parametrize("format_", ["text", "md", "latex", "html", "csv"])
def test_a_row_that_is_over_the_budget_on_the_test_samples_is_marked_in_every_format(format_: str) -> None:
    lucky = jpeg("input", 10, 100, change=-1.6, choice_change=-0.2)
    built = build_one([lucky])
    assert choice_marks(built.entries["jpeg", "input"]) == "¶"
    text = rendered(built, format_)
    if format_ == "csv":
        (line,) = (line for line in csv.DictReader(io.StringIO(text)) if line["row"] == "jpeg")
        assert line["over_on_test"] == "True"
        return
    mark = r"{\P}" if format_ == "latex" else "¶"
    assert text.count(mark) == 2, "once beside the number, once with its meaning"
    assert "over the budget on the test samples, by the whole paired interval" in " ".join(text.split())
    assert mark not in rendered(build_one([jpeg("input", 10, 100, change=-1.1, choice_change=-0.2)]), format_)


def test_where_most_rows_miss_the_budget_the_table_names_the_command() -> None:
    missing = [jpeg("input", 10, 100, -9.0), make_record("input", "quant", change=-3.0)]
    line = "Most rows miss the budget (†, 2 of 3): 'codecbench run --points auto' searches better points."
    assert line in words(build_one([*missing, raw("input")]))
    half = build_one([*missing, raw("input"), raw("input", "uint8")])
    assert "miss the budget" not in half.render("text")


def test_a_row_without_a_metric_has_a_reason_and_no_mark() -> None:
    records = [undefined(jpeg("input", q, q, -9.0)) for q in (10, 50)]
    built = build_one(records)
    entry = built.entries["jpeg", "input"]
    assert (entry.status, entry.value, entry.change, choice_marks(entry)) == ("undefined", None, None, "")
    local = built.entries["local", "input"]
    assert (local.value, local.change) == (None, None)
    text = built.render("text")
    assert "nan" not in text.lower()
    assert re.search(r"^jpeg +- \[1\]$", text, re.MULTILINE)
    assert "[1] left out: top-1 is undefined: its denominators sum to 0" in words(built)
    assert "miss the budget" not in text
    assert "undefined" in built.render("csv")


def test_a_point_without_a_metric_is_left_out_by_name() -> None:
    built = build_one([undefined(jpeg("input", 10, 10, -0.1)), jpeg("input", 50, 500, -0.5)])
    entry = built.entries["jpeg", "input"]
    assert (entry.point, entry.payload_bytes) == ("quality=50", 500)
    (note,) = entry.notes
    assert note.startswith("quality=10 left out: top-1 is undefined")


def test_payloads_of_no_bytes_have_a_row_like_others() -> None:
    built = build_one([jpeg("input", 10, 0, -0.1), raw("input")])
    entry = built.entries["jpeg", "input"]
    assert (entry.payload_bytes, entry.payload_percent) == (0, 0)
    for format_ in ("text", "md", "latex", "html", "csv"):
        assert rendered(built, format_)


def several() -> list[Record]:
    """Points with two other metrics, of which the second has no value at one point."""
    records = [raw("input"), jpeg("input", 10, 100, -5.0), jpeg("input", 50, 500, -0.5)]
    values = ({"top-5": 99.0, "AUC": 0.75}, {"top-5": 99.5, "AUC": 0.5}, {"top-5": 98.0, "AUC": None})
    return [
        record.model_copy(update={"others": make_others(record, **found)})
        for record, found in zip(records, values, strict=True)
    ]


def test_other_metrics_have_columns_and_choose_nothing() -> None:
    built = build_one(several())
    assert built.entries["jpeg", "input"].point == "quality=50", "the smaller payload has the better top-5"
    (block,) = built.document().blocks
    (group,) = block.groups
    assert group.headings[-3:] == ("change", "top-5 %", "AUC %")
    shown = {row: [cell.text for cell in cells[-2:]] for row, cells in block.rows}
    assert shown == {"jpeg": ["98.0", "-"], "raw (float32)": ["99.0", "0.8"], "local": ["99.0", "99.0"]}
    assert "top-5, AUC: on the test samples, beside top-1, by which points are chosen." in built.remarks


@pytest.mark.parametrize("format_", ["md", "html"])
def test_every_format_has_the_other_metrics(format_: str) -> None:
    found = build_one(several()).render(format_)
    assert found.count("AUC") == 2
    assert "98.0" in found


def test_csv_has_the_other_metrics_unrounded_only_where_there_are_any() -> None:
    (jpeg_line, raw_line, local) = csv.DictReader(io.StringIO(build_one(several()).render("csv")))
    assert json.loads(jpeg_line["other_metrics"]) == {"top-5": 98.0, "AUC": None}
    assert json.loads(raw_line["other_metrics"]) == {"top-5": 99.0, "AUC": 0.75}
    assert json.loads(local["other_metrics"]) == {"top-5": 99.0, "AUC": 99.0}
    assert "other_metrics" not in build_one([raw("input")]).render("csv")


def test_a_row_without_numbers_has_as_many_cells_where_there_are_other_metrics() -> None:
    records = [*several(), make_record("input", "odd", status="failed", reason="timed out")]
    (block,) = build_one(records).document().blocks
    assert {len(cells) for _, cells in block.rows} == {6}


def test_the_uncut_model_with_two_looks_has_a_row_where_a_record_knows_it() -> None:
    looks = TwoLooks(value=92.0, low=90.5, high=93.5, change=0.75, change_low=0.25, change_high=1.25)
    record = make_record("input", "alpha", change=-0.5)
    built = build_one([record.model_copy(update={"two_looks": looks})])
    assert built.rows == ("alpha", "local", "local, two looks")
    (line,) = [line for line in built.render("text").splitlines() if line.startswith("local, two looks  ")]
    assert " ".join(line.split()) == "local, two looks 0 (0) - 92.0 [90.5, 93.5] +0.8 [+0.2, +1.2]"
    assert "the mean of its scores for an image and its mirror image" in built.render("text").replace("\n ", "")
    assert build_one([record]).rows == ("alpha", "local")


def test_points_are_said_without_what_the_names_of_the_rows_hold() -> None:
    records = [
        make_record("input", "a", {"mode": "x"}, row="a (x)"),
        make_record("input", "b", {"level": 3, "mode": "y"}, row="b (y)"),
        make_record("input", "c", {"level": 5}),
    ]
    assert "Points: c level=5; b (y) level=3." in build_one(records).render("text")
