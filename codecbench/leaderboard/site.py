"""Writes the leaderboard as a site of plain HTML files: the rankings, and a report of each results folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codecbench.analysis.latency import Scenario
from codecbench.errors import DataError, UsageError
from codecbench.leaderboard.ranking import Entrant, Ranked, Ranking, rankings
from codecbench.names import counted
from codecbench.report import page, views
from codecbench.report.build import Request, build
from codecbench.report.page import Ids
from codecbench.report.views import TableView
from codecbench.results.cell import slug
from codecbench.system.files import write_file
from codecbench.tables.document import Cell, Group, TableBlock, with_interval
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
    ids = Ids()
    ranked = [_ranking(ids, each) for each in rankings(entrants, budgets, scenarios[0])]
    place = ids.of("results folders")
    links = [(table.place, table.title) for each in ranked for table in each.tables]
    index = page.render(
        "leaderboard.html", title=title, entrants=[_entrant(each) for each in entrants], rankings=ranked,
        contents=[*links, (place, "Results folders")], folders=place, how_to_read=ids.of("how to read"),
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


@dataclass(frozen=True)
class _SplitView:
    """The table of a split point: its id in the page, its title, and the split alone."""

    place: str
    title: str
    split: str
    table: TableView


@dataclass(frozen=True)
class _RankingView:
    """A ranking as texts and tables."""

    place: str
    workload: str
    samples: str
    budget: str
    tables: tuple[_SplitView, ...]


def _ranking(ids: Ids, ranking: Ranking) -> _RankingView:
    name = f"{ranking.workload} {ranking.sample_set}"
    return _RankingView(
        place=ids.fresh(name),
        workload=ranking.workload,
        samples=f"{ranking.test_samples:,} test samples ({ranking.sample_set})",
        budget=f"{ranking.budget:g} of {ranking.metric}",
        tables=tuple(
            _SplitView(ids.fresh(name, split), f"{ranking.workload}, {split}", split, _table(ids, ranking, split, rows))
            for split, rows in ranking.splits.items()
        ),
    )


def _table(ids: Ids, ranking: Ranking, split: str, rows: Sequence[Ranked]) -> TableView:
    headings = ("place", "bytes", "% of raw", f"change of {ranking.metric}", "point", "results", "isolation")
    alignments = ("right", "right", "right", "left", "left", "left", "left")
    lines = tuple((each.entry.row, _cells(each, ranking.decimals)) for each in rows)
    block = TableBlock("codec", (Group("", headings, alignments),), lines)
    return views.table(ids, block, f"{ranking.workload}, {split}: the fewest bytes within the accepted loss")


def _cells(ranked: Ranked, decimals: int) -> tuple[Cell, ...]:
    entry = ranked.entry
    assert entry.payload_bytes is not None
    marks = _OVER if ranked.place is None else ""
    return (
        Cell("" if ranked.place is None else str(ranked.place), strong=ranked.place == 1),
        Cell(f"{entry.payload_bytes:,.0f}", strong=ranked.place == 1),
        Cell(short(entry.payload_percent)),
        Cell(with_interval(entry.change, entry.change_low, entry.change_high, f"+.{decimals}f"), marks),
        Cell(entry.point),
        Cell(ranked.entrant),
        Cell(entry.isolation or "-"),
    )
