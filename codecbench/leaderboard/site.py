"""Writes the leaderboard as a site of plain HTML files: the rankings, and a report of each results folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from codecbench.analysis.latency import Scenario
from codecbench.errors import DataError, UsageError
from codecbench.leaderboard.ranking import Entrant, Ranked, Ranking, rankings
from codecbench.names import counted
from codecbench.report import page
from codecbench.report.build import Request, build
from codecbench.report.page import trusted
from codecbench.results.cell import slug
from codecbench.system.files import write_file
from codecbench.tables.document import Cell, Group, TableBlock, html_table, with_interval
from codecbench.tables.formats import short

INDEX = "index.html"

_OVER = "†"


def write_site(
    folders: Sequence[Path],
    into: Path,
    scenarios: Sequence[Scenario],
    budgets: Mapping[str, float] | float,
    *,
    title: str = "codecbench leaderboard",
    figures: bool = False,
) -> list[Entrant]:
    """Write the site of these results folders, and return them with what their verification found.

    Raises UsageError for a folder without results and for two folders of one name, DataError if a file cannot be
    written. Each report has the scenarios; `figures` takes most of its time.
    """
    entrants = [Entrant.of(folder) for folder in folders]
    names = [entrant.name for entrant in entrants]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two folders are named {twice}; a leaderboard names its entrants by their folders")
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write to {into} ({error.strerror}); choose another --into") from error
    shown = [entrant for entrant in entrants if entrant.found.intact]
    for entrant in shown:
        report = build(
            Request(
                records=entrant.found.intact, scenarios=scenarios, budgets=budgets, figures=figures, paper=False,
                command=f"codecbench report --out {entrant.name}",
            )
        )  # fmt: skip
        write_file(into / _report_of(entrant.name), report, advice="choose another --into", raises=DataError)
    index = page.render(
        "leaderboard.html", with_script=False, title=title, entrants=[_entrant(each) for each in entrants],
        rankings=[_ranking(each) for each in rankings(entrants, budgets, scenarios[0])],
    )  # fmt: skip
    write_file(into / INDEX, index, advice="choose another --into", raises=DataError)
    return entrants


def _report_of(name: str) -> str:
    return f"{slug(name)}.html"


def _entrant(entrant: Entrant) -> dict[str, object]:
    found = entrant.found
    seals = sorted({record.provenance.isolation for record in found.intact})
    versions = sorted({record.provenance.codecbench for record in found.intact})
    return {
        "name": entrant.name, "report": _report_of(entrant.name) if found.intact else "",
        "records": counted(found.records, "record"), "verified": not found.faults, "faults": found.faults[:20],
        "more": max(0, len(found.faults) - 20), "isolation": ", ".join(seals) or "-",
        "versions": ", ".join(versions) or "-",
    }  # fmt: skip


def _ranking(ranking: Ranking) -> dict[str, object]:
    tables = [
        {"split": split, "html": trusted(_table(ranking, split, rows)), "id": f"{slug(ranking.workload)}-{slug(split)}"}
        for split, rows in ranking.splits.items()
    ]
    return {
        "workload": ranking.workload, "samples": f"{ranking.test_samples:,} test samples ({ranking.sample_set})",
        "budget": f"{ranking.budget:g} of {ranking.metric}", "tables": tables,
    }  # fmt: skip


def _table(ranking: Ranking, split: str, rows: Sequence[Ranked]) -> str:
    headings = ("", "bytes", "% of raw", f"change of {ranking.metric}", "point", "results", "isolation")
    alignments = ("right", "right", "right", "left", "left", "left", "left")
    lines = tuple((each.entry.row, _cells(each, ranking.decimals)) for each in rows)
    block = TableBlock("codec", (Group("", headings, alignments),), lines)
    caption = f"{ranking.workload}, {split}"
    return html_table(block, caption=caption, right='class="r"', caption_id=f"{slug(caption)}-caption")


def _cells(ranked: Ranked, decimals: int) -> tuple[Cell, ...]:
    entry = ranked.entry
    assert entry.payload_bytes is not None
    marks = _OVER if ranked.place is None else ""
    return (
        Cell("" if ranked.place is None else str(ranked.place)),
        Cell(f"{entry.payload_bytes:,.0f}"),
        Cell(short(entry.payload_percent)),
        Cell(with_interval(entry.change, entry.change_low, entry.change_high, f"+.{decimals}f"), marks),
        Cell(entry.point),
        Cell(ranked.entrant),
        Cell(entry.isolation or "-"),
    )
