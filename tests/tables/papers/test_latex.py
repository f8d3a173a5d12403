"""Tables in LaTeX and Markdown: they fit by count, escape everything, and compile without an overfull box."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.factories import make_record
from support.tables import as_latex, build_one, full_grid, jpeg, latex_rows, raw

from codecbench.analysis import curves
from codecbench.analysis.published import published_points
from codecbench.tables.papers import kinds, rendering
from codecbench.tables.papers.blocks import MARKDOWN_WIDTH, Part, parts_that_fit
from codecbench.tables.papers.sheet import COLUMN_PT, PAGE_PT, PaperOptions, Sheet
from codecbench.tables.papers.tabular import Tabular, plain_number
from codecbench.tables.papers.typesetting import latex_text, lines_of, longest_piece_pt, width_pt

printable = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), min_size=1, max_size=60)


def grid() -> Sheet:
    return kinds.of_budget(build_one(full_grid()))


def points() -> Sheet:
    records = [
        make_record(
            "input", "a-codec", {"quality": quality, "tables": "shared"}, payload_bytes=quality * 10, change=-0.5
        )
        for quality in range(1, 90)
    ]
    return kinds.of_curves(curves.build(records)[0], 1.0)


def test_latex_is_balanced_and_escaped() -> None:
    text = as_latex(grid())
    rows = latex_rows(text)
    assert [row[0] for row in rows].count("jpeg") == 5, "a split each"
    assert r"needs 100 \% of a\_\allowbreak{}tensor \& more, \#1 \{x\}" in text
    assert r"skipped\textsuperscript{1}" in text
    assert r"3.0 & {[}$-$3.2, $-$2.8{]} & ${\dagger}$" in text
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\small", "S[table-format=+1.1]", r"\begin{table*}"):
        assert part in text
    assert "resizebox" not in text


@given(printable)
def test_latex_escapes_any_reason(reason: str) -> None:
    latex_rows(as_latex(kinds.of_budget(build_one([make_record(status="failed", reason=reason)]))))


@given(printable, printable)
def test_latex_escapes_any_name(row: str, split: str) -> None:
    record = make_record(split, "x", row=row, change=-0.5)
    latex_rows(as_latex(kinds.of_budget(build_one([record]))))


def test_latex_leaves_hyphens_in_words() -> None:
    assert latex_text("jpeg-2000 lost -1.5 (-2)") == "jpeg-2000 lost $-$1.5 ($-$2)"
    assert latex_text("é → x\N{EN DASH}y") == r"e $\to$ x--y"


def test_a_column_is_a_table_and_a_page_is_one_of_both_columns() -> None:
    column = as_latex(grid(), width_pt=COLUMN_PT)
    assert r"\begin{table}" in column
    assert "table*" not in column
    assert r"\begin{table}" not in as_latex(grid(), width_pt=PAGE_PT)


@pytest.mark.parametrize("width", [150.0, COLUMN_PT, PAGE_PT, 469.0])
@pytest.mark.parametrize("intervals", [True, False])
def test_parts_fit_the_width_by_count(width: float, intervals: bool) -> None:
    for found in (grid(), points()):
        options = PaperOptions(intervals=intervals, columns=("payload_bytes", "change"))
        (found,) = rendering.chosen([found], options)
        parts = parts_that_fit(found, lambda part: tabular(found, part, width).width_pt <= width)  # noqa: B023 - called at once
        assert all(tabular(found, part, width).width_pt <= width for part in parts)
        shown = {(line.label, line.split) for part in parts for line in part.lines if not line.status}
        assert shown == {(line.label, line.split) for line in found.lines if not line.status}


def tabular(found: Sheet, part: Part, width: float) -> Tabular:
    return Tabular(part, found.stub, found.notes, width)


def test_splits_stand_side_by_side_where_they_fit() -> None:
    names = {"columns": ("payload_bytes",), "intervals": False}
    narrow, wide = (as_latex(grid(), width_pt=width, **names) for width in (COLUMN_PT, 469.0))
    assert narrow.count(r"\begin{tabular}") > wide.count(r"\begin{tabular}")
    assert re.search(r"\\multicolumn\{\d\}\{c\}\{input\} & \\multicolumn\{\d\}\{c\}\{stem\}", wide)


def test_where_the_usual_columns_are_too_wide_payload_and_change_remain() -> None:
    text = as_latex(grid(), width_pt=COLUMN_PT)
    assert r"codec & {bytes} & \multicolumn{2}{c}{change}" in text
    assert "top-1" in as_latex(grid())
    asked = as_latex(grid(), width_pt=150.0, columns=("payload_bytes", "value", "change"))
    assert all(heading in asked for heading in ("{bytes}", "{top-1 \\%}", "{change}")), "what is asked for is stacked"


def test_rows_that_do_not_fit_on_a_page_go_on_in_another_float() -> None:
    text = as_latex(points())
    floats = text.split(r"\begin{table*}")[1:]
    assert len(floats) > 2
    assert all(r"\addtocounter{table}{-1}" in each and "(continued)" in each for each in floats[1:])
    assert "continued" not in floats[0]
    assert sum("95 \\% bootstrap" in each for each in floats) == 1
    labels = [row[0] for row in latex_rows(text) if row[0].startswith("a-codec")]
    assert len(labels) == 89


def test_numbers_have_no_separators_and_no_exponent() -> None:
    assert [plain_number(text) for text in ("12,345.6", "+1,000", "1e-05", "-", "a, b")] == [
        "12345.6", "+1000", "0.00001", "-", "a, b",
    ]  # fmt: skip


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60), st.floats(40, 400))
def test_a_text_takes_as_many_lines_as_its_width_needs(text: str, room: float) -> None:
    assert longest_piece_pt(text) <= width_pt(text) + 1e-9
    assert (lines_of(text, room) - 1) * (room / 2) <= 1.1 * width_pt(text) + longest_piece_pt(text) * lines_of(
        text, room
    )
    assert lines_of(text, room) >= width_pt(text) / room or longest_piece_pt(text) > room


@pytest.mark.parametrize("options", [PaperOptions(sort="row"), PaperOptions(best=True), PaperOptions(intervals=False)])
def test_rows_of_markdown_fit_a_page(options: PaperOptions) -> None:
    for found in (grid(), points()):
        lines = rendering.render([found], options, "md").splitlines()
        assert max(len(line) for line in lines if line.startswith("|")) <= MARKDOWN_WIDTH
    assert "**" in rendering.render([grid()], PaperOptions(best=True), "md").split("\n\n")[1]


TWO_COLUMNS = r"\documentclass[10pt,twocolumn]{article}"


def compiled(folder: Path, document_class: str, *tables: str) -> str:
    """The log of a document with these tables."""
    body = "\n".join(("Text.", *tables))
    packages = r"\usepackage{booktabs,siunitx}"
    source = "\n".join((document_class, packages, r"\begin{document}", body, r"\end{document}"))
    (folder / "paper.tex").write_text(source)
    words = ("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex")
    ended = subprocess.run(words, cwd=folder, capture_output=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stdout[-2000:]
    return (folder / "paper.log").read_text(errors="replace")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_tables_compile_without_an_overfull_box(tmp_path: Path) -> None:
    if subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, check=False).returncode:
        pytest.skip("siunitx is not installed")
    records = [
        make_record(split, f"codec-{name}", {"quality": 5}, row=f"codec-{name} (shared, steered)", payload_bytes=size,
                    change=change, raw_bytes=65_536)
        for split in ("input", "stage1")
        for name, size, change in (("a", 99, -0.1), ("bb", 12_345, -10.6), ("c", 7, -0.9))
    ]  # fmt: skip
    built = build_one([*records, *full_grid(), jpeg("stem", 5, 10, -1.0), raw("stem")])
    sheets = (kinds.of_budget(built), kinds.of_latency(built), points(), kinds.of_published(published_points()))
    pages = [as_latex(each, **options) for each in sheets for options in ({}, {"best": True, "intervals": False})]
    columns = [as_latex(each, width_pt=COLUMN_PT, best=True) for each in sheets[:3]]
    for name, document_class, tables in (
        ("page", r"\documentclass{article}", pages), ("twelve", r"\documentclass[12pt]{article}", pages),
        ("columns", TWO_COLUMNS, [*columns, *pages]),
    ):  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        log = compiled(folder, document_class, *(f"{table}\n\\clearpage" for table in tables))
        assert re.findall(r"^(?:Overfull.*|.*Float too large.*|.*undefined.*|!.*)$", log, re.MULTILINE) == []
