"""The best line of each column and the Pareto-optimal lines of each split, among those within the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from codecbench.tables.papers.columns import Column
from codecbench.tables.papers.sheet import Line, Mark, Remark, Sheet

PARETO = "•"
"""The mark of Pareto-optimal lines."""


def with_best(sheet: Sheet) -> Sheet:
    """Returns the sheet with its best lines named and its Pareto-optimal lines marked, split by split.

    Numbers that are shown alike are equally good; a number that more than half of the candidates share is not named.
    The front is that of the sheet's `front` and of the loss.
    """
    change = next((column for column in sheet.columns if column.name == "change"), None)
    lines: list[Line] = []
    for split in dict.fromkeys(line.split for line in sheet.lines):
        found = [line for line in sheet.lines if line.split == split]
        able = [line.candidate and not line.status for line in found]
        candidates = [line for line, is_able in zip(found, able, strict=True) if is_able]
        best = {column.name: text for column in sheet.visible if (text := _best(column, candidates)) != "-"}
        front = _front(candidates, sheet.front, change) if sheet.front and change else frozenset()
        lines += [
            _judged(line, sheet.visible, best, _place(line, sheet.front) in front) if is_able else line
            for line, is_able in zip(found, able, strict=True)
        ]
    cost = {"latency_ms": "latency"}.get(sheet.front, "payload")
    meaning = f"Pareto-optimal in {cost} and loss, among the codecs within the budget"
    remark = Remark("Bold: the best of its column and split, among the codecs within the budget.")
    return replace(
        sheet,
        lines=tuple(lines),
        marks=(*sheet.marks, *((Mark(PARETO, meaning),) if sheet.front else ())),
        remarks=(*sheet.remarks, remark),
    )


def _best(column: Column, lines: Sequence[Line]) -> str:
    """Returns the best number of a column as it is shown, a hyphen where there is none or most lines share it."""
    valued = [line.fields for line in lines if (value := column.value(line.fields)) is not None and value == value]
    if not valued or not column.better:
        return "-"
    pick = min if column.better == "lower" else max
    found = column.number(pick(valued, key=lambda fields: column.value(fields) or 0.0))
    alike = sum(column.number(fields) == found for fields in valued)
    return "-" if alike > 1 and 2 * alike > len(valued) else found


def _judged(line: Line, columns: Sequence[Column], best: Mapping[str, str], optimal: bool) -> Line:
    names = (name for column in columns if (name := column.name) in best)
    shown = {column.name: column.number(line.fields) for column in columns}
    return replace(
        line,
        best=frozenset(name for name in names if shown[name] == best[name]),
        pareto=optimal,
        marks=line.marks + (PARETO if optimal else ""),
    )


def _place(line: Line, cost: str) -> tuple[Any, Any]:
    return line.fields.get(cost), line.fields.get("change")


def _front(lines: Sequence[Line], cost: str, change: Column) -> frozenset[tuple[Any, Any]]:
    """Returns cost and change of the lines that no other equals in cost and loss and beats in one of them."""
    sign = 1 if change.better == "lower" else -1
    found_at = {place for line in lines if None not in (place := _place(line, cost))}
    front, lowest = set(), float("inf")
    for found, changed in sorted(found_at, key=lambda place: (place[0], sign * place[1])):
        if sign * changed < lowest:
            front.add((found, changed))
            lowest = sign * changed
    return frozenset(front)
