"""The entries of a budget table: the best operating point of each codec at each split within an accepted loss."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from codecbench.analysis.latency import (
    LOCAL,
    STEPS,
    Latency,
    NetworkTime,
    Scenario,
    latency_of,
    local_latency,
    raw_network,
)
from codecbench.analysis.other_metrics import other_values, uncompressed_values
from codecbench.analysis.selection import (
    Chosen,
    Origin,
    choose,
    groups,
    has_choices,
    is_defined,
    percent_of,
    undefined_reason,
    valid_budget,
)
from codecbench.errors import UsageError
from codecbench.results.cell import point_label
from codecbench.results.record import IsolationLevel, Record, TwoLooks

Status: TypeAlias = Literal["ok", "undefined", "skipped", "failed", "not run", "no such point"]


TWO_LOOKS = f"{LOCAL}, two looks"
"""The row of the whole network on the device, whose scores for an image and its mirror image are averaged."""


@dataclass(frozen=True)
class Entry:
    """One row at one split; values that were not measured are None.

    The status `undefined` is that of a row whose metric is undefined at all of its points. Percentages are relative to
    the raw tensor. `network_ms` is the mean over the test samples, or with `network_of_mean` that of the mean payload.
    `latency_ms` is the median end-to-end latency, `device_ms` and `edge_ms` are the medians of the steps on each side.
    `predicted` names the steps whose time a device profile predicted, separated by spaces. `decode_ms` is the median
    measured on the machine of the records. `over_budget` is True where
    no point is within the budget, `uncertain` where the paired interval of the choice crosses the budget,
    `over_on_test` where that of the test samples lies above it, and `chosen_on_test` where the records hold no choice
    samples. `notes` gives the reasons for missing points. `isolation` and `mixed_plugin` are those of the chosen
    record; `isolation` is None without a codec's record.
    """

    row: str
    split: str
    status: Status
    codec: str = ""
    point: str = ""
    payload_bytes: float | None = None
    payload_percent: float | None = None
    network_ms: float | None = None
    network_percent: float | None = None
    network_of_mean: bool = False
    device_ms: float | None = None
    edge_ms: float | None = None
    latency_ms: float | None = None
    latency_p95_ms: float | None = None
    predicted: str = ""
    decode_ms: float | None = None
    edge_state_bytes: int | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    over_budget: bool = False
    uncertain: bool = False
    over_on_test: bool = False
    chosen_on_test: bool = False
    isolation: IsolationLevel | None = None
    mixed_plugin: bool = False
    notes: tuple[str, ...] = ()
    others: Mapping[str, float | None] = field(default_factory=dict)
    """The values of the other metrics, by name."""

    @property
    def origin(self) -> Origin | None:
        """The origin of the numbers, None without a record of a codec."""
        return None if self.isolation is None else Origin(self.row, self.isolation, self.mixed_plugin)

    @property
    def changed(self) -> bool:
        """True if the paired interval of the change excludes zero."""
        return (
            self.change_low is not None
            and self.change_high is not None
            and not self.change_low <= 0 <= self.change_high
        )


def budget_of(workload: str, budgets: float | Mapping[str, float], records: Iterable[Record] = ()) -> float:
    """Returns the accepted loss of a workload.

    `budgets` is one for all workloads, or one by workload name for records that do not hold their workload's. Raises
    UsageError where the workload has none, or one below 0.
    """
    if not isinstance(budgets, Mapping):
        return valid_budget(budgets)
    budget = next((record.workload.budget for record in records if record.workload), budgets.get(workload))
    if budget is None:
        raise UsageError(
            f"no budget is known for workload {workload!r}; give one with --budget (its records were written before "
            "schema 4, and its plugin is not installed)"
        )
    return valid_budget(budget)


def entries_of(
    records: Sequence[Record], rows: Sequence[str], splits: Sequence[str], budget: float, scenario: Scenario
) -> dict[tuple[str, str], Entry]:
    """Returns the entry of every row at every split.

    Where anything was measured, entries of LOCAL, the whole network on the device, are added, and of TWO_LOOKS where
    that was measured.
    """
    entries = {(row, split): _entry(row, split, records, budget, scenario) for row in rows for split in splits}
    if any(record.task for record in records):
        local = local_latency(records, scenario)
        entries |= {(LOCAL, split): _local_entry(split, records, local) for split in splits}
        two_looks = next((record.two_looks for record in records if record.two_looks), None)
        if two_looks is not None:
            entries |= {(TWO_LOOKS, split): _two_looks_entry(split, two_looks) for split in splits}
    return entries


def _entry(row: str, split: str, records: Sequence[Record], budget: float, scenario: Scenario) -> Entry:
    """Returns the row's entry at the split: its chosen point, or a status that says why there is none."""
    codec = next(record.key.codec for record in records if record.row == row)
    at_split = [record for record in records if record.key.split == split]
    candidates = [record for record in at_split if record.row == row]
    if not candidates:
        elsewhere = any(record.key.codec == codec for record in at_split)
        return Entry(row, split, "no such point" if elsewhere else "not run", codec)
    measured = _measured(candidates)
    chosen = choose(measured, budget)
    notes = tuple(_missing_notes(candidates, every=chosen is None))
    if not measured:
        failed = any(record.status == "failed" for record in candidates)
        return Entry(row, split, "failed" if failed else "skipped", codec, notes=notes)
    if chosen is None:
        return Entry(row, split, "undefined", codec, notes=notes)
    several = len(measured) > 1
    return _chosen_entry(chosen, notes, scenario, raw_network(_measured(at_split), scenario), several)


def _measured(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record.status == "ok"]


def _missing_notes(records: Sequence[Record], every: bool) -> Iterator[str]:
    """Yields one note for each reason that points are missing; it names the points, unless `every` point is missing."""
    by_choice = has_choices(_measured(records))
    missing: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if record.status != "ok":
            reason = f"{record.status}: {' '.join((record.reason or 'no reason given').split())}"
            missing[reason].append(point_label(record.key.point))
        elif not is_defined(record, by_choice):
            missing[f"left out: {undefined_reason(record)}"].append(point_label(record.key.point))
    for reason, points in missing.items():
        yield reason if every else f"{'; '.join(points)} {reason}"


def _chosen_entry(chosen: Chosen, notes: tuple[str, ...], scenario: Scenario, raw: NetworkTime, several: bool) -> Entry:
    record = chosen.record
    tensor, size, task, _ = groups(record)
    payload_bytes = size.payload_bytes.mean
    network = scenario.network_s(record)
    return Entry(
        row=record.row,
        split=record.key.split,
        status="ok",
        codec=record.key.codec,
        point=point_label(record.key.point),
        payload_bytes=payload_bytes,
        payload_percent=percent_of(payload_bytes, tensor.raw_bytes),
        network_ms=network.seconds * 1000,
        network_percent=percent_of(network.seconds, raw.seconds),
        network_of_mean=network.of_mean or raw.of_mean,
        **_latency_fields(latency_of(record, scenario)),
        decode_ms=1000 * record.time.decode_s.median if record.time else None,
        edge_state_bytes=size.edge_state_bytes,
        value=task.value,
        low=task.low,
        high=task.high,
        change=task.change,
        change_low=task.change_low,
        change_high=task.change_high,
        over_budget=chosen.over_budget,
        uncertain=chosen.uncertain,
        over_on_test=chosen.over_on_test,
        chosen_on_test=several and chosen.on_test,
        isolation=record.provenance.isolation,
        mixed_plugin=record.provenance.mixed_plugin,
        notes=notes,
        others=other_values(record),
    )


def _latency_fields(found: Latency) -> dict[str, Any]:
    p95_s = found.p95_s
    return {
        "device_ms": 1000 * found.device_s, "edge_ms": 1000 * found.edge_s, "latency_ms": 1000 * found.median_s,
        "latency_p95_ms": None if p95_s is None else 1000 * p95_s,
        "predicted": " ".join(step for step in STEPS if step in found.predicted),
    }  # fmt: skip


def _two_looks_entry(split: str, found: TwoLooks) -> Entry:
    return Entry(TWO_LOOKS, split, "ok", payload_bytes=0.0, payload_percent=0.0, **found.model_dump())


def _local_entry(split: str, records: Sequence[Record], local: Latency) -> Entry:
    """Returns the entry of the uncompressed model.

    Its interval is taken from a point that changed no outcome on the same samples, None where there is no such point.
    """
    tasks = [record.task for record in records if record.task and record.key.split == split]
    tasks = tasks or [record.task for record in records if record.task]
    exact = next((task for task in tasks if task.change == task.change_low == task.change_high == 0), None)
    uncompressed = next((task.uncompressed for task in tasks if task.uncompressed is not None), None)
    return Entry(
        row=LOCAL,
        split=split,
        status="ok",
        payload_bytes=0.0,
        payload_percent=0.0,
        **_latency_fields(local),
        value=uncompressed,
        low=exact.low if exact else None,
        high=exact.high if exact else None,
        change=None if uncompressed is None else 0.0,
        others=uncompressed_values(records),
    )
