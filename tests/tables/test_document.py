"""Documents: every format holds together, whatever the texts in it are."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import make_record
from support.tables import RAW_BYTES, build_one, full_grid, jpeg, latex_rows

from codecbench.tables.document import Cell, Document, Group, TableBlock, latex, with_interval


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
    cell = Cell("jpeg-2000 lost -1.5 (-2)")
    block = TableBlock("codec", (Group("input", ("x",), ("left",)),), (("a", (cell,)),))
    assert "jpeg-2000 lost $-$1.5 ($-$2)" in latex(Document("t", (block,)))


@pytest.mark.parametrize(
    ("number", "text"),
    [(159.2, "159"), (60.5, "60.5"), (3.14, "3.1"), (0.974, "0.97"), (0.0123, "0.012"), (0, "0"), (99.97, "100")],
)
def test_short_numbers(number: float, text: str) -> None:
    record = jpeg("input", 50, RAW_BYTES["input"] * number / 100, -0.5)
    assert f"({text})" in build_one([record]).render("text")


def test_a_number_that_rounds_to_zero_has_no_sign() -> None:
    assert with_interval(-0.01, -1.0, 0.04, "+.1f") == "0.0 [-1.0, 0.0]"
    assert with_interval(0.06, None, None, "+.1f") == "+0.1"
    assert with_interval(None, None, None, ".1f") == "-"
