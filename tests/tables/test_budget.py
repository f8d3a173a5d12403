"""Tables: what is chosen, what is shown of it, and that every format holds together."""

import csv
import io
import re
from collections.abc import Sequence
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import CPU, LINK, make_record

from codecbench.analysis import selection
from codecbench.analysis.latency import Scenario
from codecbench.errors import DataError, UsageError
from codecbench.results.record import Record
from codecbench.tables import budget as table
from codecbench.tables import document as layout
from codecbench.tables.budget import Table

RAW_BYTES = {"input": 12_288, "stem": 65_536, "stage1": 65_536, "stage2": 32_768, "stage3": 16_384}


def build_one(records: Sequence[Record], budget: float = 1.0, **options: object) -> Table:
    (built,) = table.build(records, budgets=budget, scenario=Scenario(LINK), **options)  # type: ignore[arg-type]
    return built


def raw(split: str, values: str = "float32") -> Record:
    size = RAW_BYTES[split] // (4 if values == "uint8" else 1)
    return make_record(
        split,
        "raw",
        {"values": values},
        row=f"raw ({values})",
        payload_bytes=size,
        raw_bytes=RAW_BYTES[split],
        change=0.0,
        half_width=0.0,
        choice_half_width=0.0,
    )


def jpeg(split: str, quality: int, payload_bytes: float, change: float, **options: object) -> Record:
    return make_record(
        split,
        "jpeg",
        {"quality": quality},
        payload_bytes=payload_bytes,
        raw_bytes=RAW_BYTES[split],
        change=change,
        **options,  # type: ignore[arg-type]
    )


def full_grid() -> list[Record]:
    """Five splits with every kind of entry: within, over, uncertain, skipped, failed, partly failed, not run."""
    records = []
    for split, size in RAW_BYTES.items():
        records += [raw(split), jpeg(split, 10, size / 40, -5.0), jpeg(split, 50, size / 8, -0.9)]
        records += [make_record(split, "quant", payload_bytes=size / 16, raw_bytes=size, change=-3.0)]
    records += [raw("input", "uint8")]
    records += [make_record("input", "odd_codec", status="skipped", reason="needs 100 % of a_tensor & more, #1 {x}")]
    records += [make_record("stem", "odd_codec", {"bits": 2}, status="failed", reason="timed out\nafter 3 s")]
    records += [make_record("stage1", "odd_codec", {"bits": 4}, payload_bytes=9, change=-0.1)]
    records += [make_record("stage1", "odd_codec", {"bits": 2}, status="failed", reason="timed out\nafter 3 s")]
    return records


def test_smallest_payload_within_the_budget_is_chosen() -> None:
    records = [jpeg("input", q, q * 10, change) for q, change in ((10, -3.0), (40, -0.7), (90, -0.1))]
    entry = build_one(records).entries["jpeg", "input"]
    assert (entry.point, entry.payload_bytes, entry.marks) == ("quality=40", 400, "")


def test_the_choice_is_made_on_choice_samples_and_scored_on_test() -> None:
    records = [
        jpeg("input", 10, 100, change=-0.2, choice_change=-2.0),
        jpeg("input", 50, 500, change=-1.8, choice_change=-0.5),
    ]
    entry = build_one(records).entries["jpeg", "input"]
    assert (entry.point, entry.change) == ("quality=50", -1.8)
    assert not entry.over_budget


def test_without_a_point_within_the_budget_the_best_is_shown_and_marked() -> None:
    records = [jpeg("input", 10, 100, -9.0), jpeg("input", 50, 500, -4.0), jpeg("input", 90, 900, -4.5)]
    built = build_one(records)
    assert built.entries["jpeg", "input"].point == "quality=50"
    assert built.entries["jpeg", "input"].marks == "†"
    assert "-4.0 [-4.2, -3.8] †" in built.render("text")
    assert "† no point is within the budget" in built.render("text")


def test_a_loss_of_just_the_budget_is_within_it() -> None:
    records = [jpeg("input", 10, 100, change=90.1 - 91.2, choice_half_width=0.0), jpeg("input", 50, 500, -0.5)]
    assert build_one(records, budget=1.1).entries["jpeg", "input"].point == "quality=10"


def test_an_interval_that_crosses_the_budget_is_marked() -> None:
    crossing = build_one([jpeg("input", 10, 100, -0.9, choice_half_width=0.5)])
    clear = build_one([jpeg("input", 10, 100, -0.4, choice_half_width=0.5)])
    assert crossing.entries["jpeg", "input"].marks == "~"
    assert clear.entries["jpeg", "input"].marks == ""
    assert "~ the paired interval" in crossing.render("text")
    assert "~ the paired interval" not in clear.render("text")


def test_a_point_over_the_budget_may_be_uncertain_too() -> None:
    built = build_one([jpeg("input", 10, 100, -1.2, choice_half_width=0.5)])
    assert built.entries["jpeg", "input"].marks == "†~"


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
    assert built.entries["jpeg", "input"].marks == "‡"
    assert "‡ chosen on the test samples" in built.render("text")


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(-5, 1), st.floats(-5, 1)), min_size=1, max_size=8),
    st.floats(0, 4),
)
def test_no_other_point_within_the_budget_is_smaller(points: list[tuple[int, float, float]], budget: float) -> None:
    records = [
        make_record(point={"q": i}, payload_bytes=size, change=test, choice_change=choice)
        for i, (size, test, choice) in enumerate(points)
    ]
    chosen, over, _ = selection.choose(records, budget)
    losses = {record.key.point["q"]: -record.choice.change for record in records if record.choice}
    within = [record for record in records if losses[record.key.point["q"]] <= budget + 1e-9]
    assert over == (not within)
    if within:
        assert chosen in within
        assert chosen.size
        assert chosen.size.payload_bytes.mean == min(r.size.payload_bytes.mean for r in within if r.size)
    else:
        assert losses[chosen.key.point["q"]] == min(losses.values())


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


def test_rows_are_codecs_by_name_then_single_points_then_local() -> None:
    records = [raw("input"), make_record(codec="zlib"), make_record(codec="alpha")]
    assert build_one(records).rows == ("alpha", "zlib", "raw (float32)", "local")


def test_splits_stand_in_the_order_of_their_depth() -> None:
    records = [raw(split) for split in ("stage2", "input", "stem", "stage1")]
    records += [make_record("aaa", status="skipped")]
    assert build_one(records).splits == ("input", "stem", "stage1", "stage2", "aaa")


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


def test_the_largest_sample_set_is_shown_and_the_others_are_named() -> None:
    records = [make_record(n=500, change=-0.5), make_record(n=50, change=-0.1), make_record(n=500, change=-0.2, seed=1)]
    built = build_one(records)
    assert built.entries["alpha", "input"].change == -0.5
    text = " ".join(built.render("text").split())
    assert "500 test samples (test-500-00c0ffee), seed 0" in text
    assert "Left out: 1 record of the sample set test-50-00c0ffee, seed 0." in text
    assert "Left out: 1 record of the sample set test-500-00c0ffee, seed 1." in text


def test_a_sample_set_can_be_asked_for() -> None:
    records = [make_record(n=500, change=-0.5), make_record(n=50, change=-0.1)]
    assert build_one(records, sample_set="test-50-00c0ffee").entries["alpha", "input"].change == -0.1
    with pytest.raises(
        UsageError, match="no records of the sample set 'test-7'; there are: test-50-00c0ffee, test-500"
    ):
        build_one(records, sample_set="test-7")


def test_older_codec_versions_are_left_out_by_name() -> None:
    built = build_one([make_record(version=1, change=-0.9), make_record(version=2, change=-0.2)])
    assert built.entries["alpha", "input"].change == -0.2
    assert "Left out: 1 record of older codec versions." in built.render("text")


def test_each_workload_has_its_table_and_its_budget() -> None:
    records = [make_record(workload="b"), make_record(workload="a")]
    built = table.build(records, budgets={"a": 1.0, "b": 0.1}, scenario=Scenario(LINK))
    assert [t.workload for t in built] == ["a", "b"]
    assert [t.entries["alpha", "input"].over_budget for t in built] == [False, True]


def test_bad_budgets_and_no_records_are_refused() -> None:
    with pytest.raises(UsageError, match="no budget is known for workload 'toy'; give one with --budget"):
        table.build([make_record()], budgets={}, scenario=Scenario(LINK))
    with pytest.raises(UsageError, match="at least 0, not -1"):
        table.build([make_record()], budgets=-1.0, scenario=Scenario(LINK))
    with pytest.raises(UsageError, match="no records"):
        table.build([], budgets=1.0, scenario=Scenario(LINK))


def test_an_ok_record_without_measurements_is_named() -> None:
    record = make_record().model_copy(update={"task": None})
    with pytest.raises(DataError, match=record.cell):
        build_one([record])


def test_an_unknown_format_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="no format 'latx'; did you mean 'latex'"):
        build_one([make_record()]).render("latx")


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


def test_text_puts_each_split_above_its_columns() -> None:
    lines = build_one(full_grid()).render("text").split("\n")
    spans = next(line for line in lines if line.split() == ["input", "stem", "stage1"])
    rule = lines[lines.index(spans) + 2]
    starts = [match.start() for match in re.finditer("-+", rule)]
    assert [spans.index(split) for split in ("input", "stem", "stage1")] == [starts[1], starts[5], starts[9]]


def test_markdown_rows_have_the_columns_of_their_header() -> None:
    text = build_one(full_grid()).render("md")
    rows = [line for line in text.split("\n") if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", row)) - 1 for row in rows]
    assert set(widths) == {13, 9}
    assert "**input**<br>bytes (%)" in rows[0]
    assert r"odd\_codec" in text
    assert "skipped<sup>1</sup>" in text
    assert r"- <sup>1</sup> skipped: needs 100 % of a\_tensor &amp; more" in text


def test_markdown_text_cannot_become_a_link_or_markup() -> None:
    record = make_record(status="failed", reason="see [here](http://x) <b>*now*</b> | ~~or~~ `never`")
    text = build_one([record]).render("md")
    assert r"see [here]\(http://x) &lt;b>\*now\*&lt;/b> \| \~\~or\~\~ \`never\`" in text


class Cells(HTMLParser):
    """Counts the columns of each row, and holds every tag to its partner."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += int(dict(attrs).get("colspan") or 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_well_formed_with_spanning_headers() -> None:
    text = build_one(full_grid()).render("html")
    parser = Cells()
    parser.feed(text)
    assert parser.open == []
    assert set(parser.rows) == {13, 9}
    assert text.count('colspan="4"') == 5
    assert "a_tensor &amp; more" in text


def latex_rows(text: str) -> list[list[str]]:
    """The rows of every inner tabular, checked: braces and environments match, specials are escaped."""
    lines = text.split("\n")
    assert lines[0] == r"% \usepackage{booktabs,graphicx}"
    body = "\n".join(line.removesuffix("{%") + "{" if line.endswith("{%") else line for line in lines[1:])
    plain = re.sub(r"\\[\\{}%&$#_]", lambda m: "\\\\" if m[0] == "\\\\" else " ", body)
    assert not re.findall(r"[%#_^~<>|\"]", plain)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert all(ord(character) < 128 for character in plain)
    environments: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{([a-z*]+)\}", plain):
        if kind == "begin":
            environments.append(name)
        else:
            assert environments.pop() == name
    assert environments == []
    rows = []
    for columns, inner in re.findall(r"\\begin\{tabular\}\{([lrc]+)\}(.*?)\\end\{tabular\}", plain, re.DOTALL):
        for row in re.split(r"\\\\", inner)[:-1]:
            cells = row.split("&")
            spanned = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row))
            assert len(cells) + spanned == len(columns)
            rows.append([cell.strip() for cell in cells])
    return rows


def test_latex_is_balanced_and_escaped() -> None:
    text = build_one(full_grid()).render("latex")
    rows = latex_rows(text)
    assert len(rows) == 2 * (2 + 6)
    assert r"needs 100 \% of a\_tensor \& more, \#1 \{x\}" in text
    assert r"skipped\textsuperscript{1}" in text
    assert r"$-$3.0 {[}$-$3.2, $-$2.8{]} $\dagger$" in text
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\cmidrule(lr){2-5}"):
        assert rule in text


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_latex_escapes_any_reason(reason: str) -> None:
    latex_rows(build_one([make_record(status="failed", reason=reason)]).render("latex"))


def test_latex_leaves_hyphens_in_words() -> None:
    cell = layout.Cell("jpeg-2000 lost -1.5 (-2)")
    block = layout.Block("codec", (layout.Group("input", ("x",), ("left",)),), (("a", (cell,)),))
    assert "jpeg-2000 lost $-$1.5 ($-$2)" in layout.latex(layout.Document("t", (block,)))


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
    ours, published = table.build(full_grid(), budgets=1.0, scenario=Scenario(LINK), paper=True)
    assert ours.source == "measured"
    assert "another model and dataset" in published.title
    assert published.rows[0] == "DeepCOD"
    entry = published.entries["DeepCOD", "input"]
    assert (entry.payload_percent, entry.network_ms, entry.value, entry.change) == (0.97, 4.3, 92.0, -1.1)
    assert "5.7 (0.97)" in published.render("text")
    latex_rows(published.render("latex"))


def test_paper_table_of_the_same_direction_is_taken() -> None:
    record = make_record(change=0.001, higher_is_better=False)
    _, published = table.build([record], budgets=0.01, scenario=Scenario(LINK), paper=True)
    assert published.metric == "WER"
    assert published.splits[-1] == "layer5"
    assert published.entries["DeepCOD", "input"].value == 0.085


def test_every_published_row_is_there() -> None:
    assert sum(len(published.entries) for _, published in table.paper_tables()) == 66


def test_csv_of_several_tables_has_one_header() -> None:
    text = table.render(table.build(full_grid(), budgets=1.0, scenario=Scenario(LINK), paper=True), "csv")
    assert text.count("payload_bytes") == 1
    sources = [line["source"] for line in csv.DictReader(io.StringIO(text))]
    assert sources.count("paper") == 30


@pytest.mark.parametrize(
    ("number", "text"),
    [(159.2, "159"), (60.5, "60.5"), (3.14, "3.1"), (0.974, "0.97"), (0.0123, "0.012"), (0, "0"), (99.97, "100")],
)
def test_short_numbers(number: float, text: str) -> None:
    record = jpeg("input", 50, RAW_BYTES["input"] * number / 100, -0.5)
    assert f"({text})" in build_one([record]).render("text")


def test_a_number_that_rounds_to_zero_has_no_sign() -> None:
    assert layout.with_interval(-0.01, -1.0, 0.04, "+.1f") == "0.0 [-1.0, 0.0]"
    assert layout.with_interval(0.06, None, None, "+.1f") == "+0.1"
    assert layout.with_interval(None, None, None, ".1f") == "-"
