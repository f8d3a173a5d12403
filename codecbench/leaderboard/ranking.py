"""Ranks the rows of several results folders, split by split, by their smallest payload within the budget.

Rows stand in one ranking where the workload, its weights, its source, its data and the test samples are the same. A
folder with a fault is not ranked. What decides is what a table shows: the point is chosen on held-out samples, and its
payload and its change are those of the test samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codecbench.analysis.agreement import MadeWith, made_with, one_source_each
from codecbench.analysis.budget import Entry, budget_of, entries_of
from codecbench.analysis.latency import LOCAL, Scenario
from codecbench.analysis.selection import rows_in_order, splits_in_order
from codecbench.results.record import Record
from codecbench.verification import Verification, verify


@dataclass(frozen=True)
class Entrant:
    """A results folder, and what its verification found."""

    name: str
    folder: Path
    found: Verification

    @classmethod
    def of(cls, folder: Path) -> Entrant:
        """Return the entrant of a folder. Raises UsageError for a folder without results."""
        return cls(folder.resolve().name, folder, verify(folder))


@dataclass(frozen=True)
class Ranked:
    """One row of one entrant at one split. `place` counts from 1; it is None where no point is within the budget."""

    place: int | None
    entrant: str
    entry: Entry


@dataclass(frozen=True)
class Ranking:
    """All rows of one model, data and sample set, split by split, the fewest bytes first."""

    workload: str
    sample_set: str
    budget: float
    metric: str
    decimals: int
    test_samples: int
    splits: Mapping[str, Sequence[Ranked]]


def rankings(entrants: Sequence[Entrant], budgets: Mapping[str, float] | float, scenario: Scenario) -> list[Ranking]:
    """Return the rankings of the records of all entrants without a fault, by workload and sample set."""
    groups: dict[tuple[str, str, int, MadeWith], dict[str, list[Record]]] = {}
    for entrant in entrants:
        if entrant.found.faults:
            continue
        for record in entrant.found.intact:
            key = record.key
            group = (key.workload, key.sample_set, key.seed, made_with(record))
            groups.setdefault(group, {}).setdefault(entrant.name, []).append(record)
    return [
        found
        for (workload, sample_set, _, _), by_entrant in sorted(groups.items(), key=lambda item: item[0][:3])
        if (found := _ranking(workload, sample_set, by_entrant, budgets, scenario)) is not None
    ]


def _ranking(
    workload: str,
    sample_set: str,
    by_entrant: Mapping[str, Sequence[Record]],
    budgets: Mapping[str, float] | float,
    scenario: Scenario,
) -> Ranking | None:
    everything = [record for records in by_entrant.values() for record in records]
    task = next((record.task for record in everything if record.task), None)
    if task is None:
        return None
    budget = budget_of(workload, budgets, everything)
    of_split: dict[str, list[tuple[str, Entry]]] = {split: [] for split in splits_in_order(everything)}
    for name, records in by_entrant.items():
        shown, _ = one_source_each(records)
        entries = entries_of(shown, rows_in_order(shown), splits_in_order(shown), budget, scenario)
        for (row, split), entry in entries.items():
            if entry.status == "ok" and not row.startswith(LOCAL):
                of_split[split].append((name, entry))
    splits = {split: _placed(found) for split, found in of_split.items() if found}
    return Ranking(workload, sample_set, budget, f"{task.metric} {task.unit}".strip(), task.decimals, task.n, splits)


def _placed(found: Iterable[tuple[str, Entry]]) -> list[Ranked]:
    """Return the rows by payload, those over the budget last and without a place; equal payloads share one."""
    ordered = sorted(found, key=lambda each: (each[1].over_budget, each[1].payload_bytes or 0.0, each[1].row))
    ranked: list[Ranked] = []
    for at, (name, entry) in enumerate(ordered, start=1):
        same = bool(ranked) and ranked[-1].entry.payload_bytes == entry.payload_bytes
        place = ranked[-1].place if same else at
        ranked.append(Ranked(None if entry.over_budget else place, name, entry))
    return ranked
