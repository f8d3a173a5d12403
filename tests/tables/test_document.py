"""Documents: every format holds together, whatever the texts in it are."""

import re
from html.parser import HTMLParser

import pytest
from support.factories import make_record
from support.tables import RAW_BYTES, build_one, full_grid, jpeg

from codecbench.tables.document import Cell, Document, Group, TableBlock, html_section, markdown, with_interval


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


@pytest.mark.parametrize(
    ("number", "text"),
    [(159.2, "159"), (60.5, "60.5"), (3.14, "3.1"), (0.974, "0.97"), (0.0123, "0.012"), (0, "0"), (99.97, "100")],
)
def test_short_numbers(number: float, text: str) -> None:
    record = jpeg("input", 50, RAW_BYTES["input"] * number / 100, -0.5)
    assert f"({text})" in build_one([record]).render("text")


def test_a_strong_text_is_bold() -> None:
    block = TableBlock("codec", (Group("", ("x",), ("left",)),), (("a", (Cell("1", "†", strong=True),)),))
    document = Document("t", (block,))
    assert "**1** †" in markdown(document)
    assert "<td><strong>1</strong> †</td>" in html_section(document)


def test_a_number_that_rounds_to_zero_has_no_sign() -> None:
    assert with_interval(-0.01, -1.0, 0.04, "+.1f") == "0.0 [-1.0, 0.0]"
    assert with_interval(0.06, None, None, "+.1f") == "+0.1"
    assert with_interval(None, None, None, ".1f") == "-"
    assert with_interval(12_345.6, None, None, ",.0f") == "12,346"
