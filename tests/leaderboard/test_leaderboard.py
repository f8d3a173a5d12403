"""`codecbench leaderboard`: rankings of several results folders, each verified, as a site."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli
from support.factories import make_record, make_samples

from codecbench.analysis.latency import Scenario
from codecbench.errors import UsageError
from codecbench.leaderboard import Entrant, Ranking, rankings
from codecbench.leaderboard.ranking import Ranked
from codecbench.registry import links, manager
from codecbench.results.cell import CellKey
from codecbench.results.record import Record
from codecbench.results.store import Store
from codecbench.verification import Verification


def entrant(name: str, *records: Record, faults: tuple[str, ...] = ()) -> Entrant:
    return Entrant(name, Path(name), Verification(len(records), 0, faults, (), records))


def ranked(*entrants: Entrant) -> list[Ranking]:
    return rankings(entrants, 1.0, Scenario(links(manager())["wifi-450"]))


def row(codec: str, payload_bytes: float, change: float = -0.5, **fields: Any) -> Record:
    return make_record(codec=codec, payload_bytes=payload_bytes, change=change, **fields)


def shown(rows: list[Ranked]) -> list[tuple[int | None, str, str]]:
    return [(each.place, each.entrant, each.entry.row) for each in rows]


def test_rows_of_several_folders_are_ranked_by_bytes() -> None:
    a, b = entrant("a", row("alpha", 300), row("beta", 100)), entrant("b", row("gamma", 200), row("delta", 200))
    (found,) = ranked(a, b)
    assert shown(list(found.splits["input"])) == [
        (1, "a", "beta"), (2, "b", "delta"), (2, "b", "gamma"), (4, "a", "alpha"),
    ]  # fmt: skip


def test_a_row_over_the_budget_has_no_place() -> None:
    (found,) = ranked(entrant("a", row("alpha", 300), row("beta", 10, change=-30)))
    assert shown(list(found.splits["input"])) == [(1, "a", "alpha"), (None, "a", "beta")]


def test_a_folder_with_a_fault_is_not_ranked() -> None:
    (found,) = ranked(entrant("a", row("alpha", 300)), entrant("b", row("beta", 1), faults=("broken",)))
    assert shown(list(found.splits["input"])) == [(1, "a", "alpha")]


def test_other_models_and_other_samples_are_ranked_apart() -> None:
    other = row("beta", 100, provenance={"weights_hash": "f" * 64})
    found = ranked(entrant("a", row("alpha", 300)), entrant("b", other, row("gamma", 50, n=200)))
    assert sorted(len(ranking.splits["input"]) for ranking in found) == [1, 1, 1]


class Links(HTMLParser):
    """The targets of a page's links, and its ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.targets |= {target} if tag == "a" and (target := values.get("href")) else set()
        self.ids += [found] if (found := values.get("id")) else []


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = []
    for name, outcomes in (("ours", [1, 1, 1, 0]), ("<i>theirs", [1, 0, 1, 0])):
        store = Store(tmp_path / name)
        record = make_record(codec="alpha", workload="cifar10-resnet20")
        key = CellKey(**record.key.model_dump())
        store.write(key, record.model_copy(update={"samples": store.write_samples(key, make_samples(outcomes), {})}))
        made.append(store.out)
    return made


def test_the_site(folders: list[Path], tmp_path: Path, cli: Cli) -> None:
    """Made-up records have summaries that their samples do not give: they are shown as faults, and not ranked."""
    ended = cli("leaderboard", *folders, "--into", tmp_path / "site", "--title", "Trial & error")
    assert ended.status == 1
    assert "ours: cifar10-resnet20/input/alpha-" in ended.err
    text = (tmp_path / "site" / "index.html").read_text()
    assert "<title>Trial &amp; error</title>" in text
    assert "&lt;i&gt;theirs" in text
    assert "<i>theirs" not in text
    assert text.count("not verified, not ranked") == 2
    page = Links(text)
    assert len(page.ids) == len(set(page.ids))
    for target in page.targets:
        assert target.removeprefix("#") in page.ids if target.startswith("#") else (tmp_path / "site" / target).exists()
    assert not re.search(r"https?://", text)


def test_two_folders_of_one_name(folders: list[Path], tmp_path: Path, cli: Cli) -> None:
    ended = cli("leaderboard", folders[0], folders[0], "--into", tmp_path / "site")
    assert ended.error == "codecbench: two folders are named ours; a leaderboard names its entrants by their folders"
    with pytest.raises(UsageError, match="no results in"):
        Entrant.of(tmp_path / "none")
