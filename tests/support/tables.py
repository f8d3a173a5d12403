"""Records with every kind of entry of a table, and a reader of LaTeX tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from codecbench.analysis.latency import Scenario
from codecbench.results.record import Record
from codecbench.tables import budget as budget_table
from codecbench.tables.budget import Table
from codecbench.tables.papers import kinds, rendering
from codecbench.tables.papers.sheet import PaperOptions, Sheet
from support.factories import LINK, make_record

RAW_BYTES = {"input": 12_288, "stem": 65_536, "stage1": 65_536, "stage2": 32_768, "stage3": 16_384}


def build_one(records: Sequence[Record], budget: float = 1.0, **options: object) -> Table:
    (built,) = budget_table.build(records, budgets=budget, scenario=Scenario(LINK), **options)  # type: ignore[arg-type]
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


def as_latex(*sheets: Sheet, **options: Any) -> str:
    """The sheets in LaTeX."""
    return rendering.render(sheets, PaperOptions(**options), "latex")


def rendered(table: Table, format_: str) -> str:
    """A budget table in any format, LaTeX included."""
    return as_latex(kinds.of_budget(table)) if format_ == "latex" else table.render(format_)


_WRAPPED = r">{\raggedright\arraybackslash\hangindent=1em}"


def latex_rows(text: str) -> list[list[str]]:
    """The rows of every tabular, checked: braces and environments match, specials are escaped, rows are complete."""
    lines = text.split("\n")
    assert lines[0] == r"% \usepackage{booktabs,siunitx}"
    body = "\n".join(line for line in lines[1:] if not line.startswith("%")).replace(_WRAPPED, "")
    plain = re.sub(r"\\[\\{}%&$#_]", lambda m: "\\\\" if m[0] == "\\\\" else " ", body)
    assert not re.findall(r"[%#_~<>|\"]", plain)
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
    for spec, inner in re.findall(r"\\begin\{tabular\}\{(.*?)\}\n(.*?)\\end\{tabular\}", plain, re.DOTALL):
        columns = re.sub(r"@\{[^{}]*(\{[^{}]*\})?\}|\[[^]]*\]|(?<=p)\{[^}]*\}", "", spec)
        assert re.fullmatch("[lrpS]+", columns), columns
        for row in re.split(r"\\\\", inner)[:-1]:
            cells = row.split("&")
            spanned = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row))
            assert len(cells) + spanned == len(columns)
            rows.append([cell.strip().split("\n")[-1] for cell in cells])
    return rows
