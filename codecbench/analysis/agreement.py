"""Groups records that may stand in one table: of equal weights, workload source and data, and codec source.

A record written before schema 4 says nothing of the workload's source and data: unknown equals unknown, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from codecbench.names import counted
from codecbench.results.record import Record

DIGITS = 8
"""The hex digits of a hash that people are shown."""

Kind = TypeVar("Kind", bound=Hashable)


class MadeWith(NamedTuple):
    """The hashes of the model's weights, the workload's source and its data; None where a record does not say."""

    weights: str
    workload_source: str | None
    data: str | None


def made_with(record: Record) -> MadeWith:
    """Returns what a record was made with."""
    workload = record.workload
    return MadeWith(
        record.provenance.weights_hash, workload.source_hash if workload else None,
        workload.data_hash if workload else None,
    )  # fmt: skip


class Machine(NamedTuple):
    """The machine and the settings that times were measured with."""

    cpu: str
    cores: int
    threads: int
    torch_device: str

    def __str__(self) -> str:
        """Returns its name for people."""
        where = "" if self.torch_device == "cpu" else f", {self.torch_device}"
        return f"{self.cpu}, {counted(self.cores, 'core')}, {counted(self.threads, 'thread')}{where}"


def machine_of(record: Record) -> Machine:
    """Returns the machine that timed a record."""
    where = record.provenance
    return Machine(where.cpu, where.cores, where.threads, where.torch_device)


def one_machine(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Returns the records without those timed on other machines than most, and a sentence on each group left out.

    Records without times, of skipped and failed cells, stay.
    """
    groups = _grouped((record for record in records if record.status == "ok"), machine_of)
    if len(groups) < 2:
        return list(records), []
    chosen = _largest(groups)
    shown = [record for record in records if record.status != "ok" or machine_of(record) == chosen]
    remarks = [
        f"Left out: {counted(len(found), 'record')} timed on {machine}, not on {chosen}; --mix-machines takes both."
        for machine, found in groups.items()
        if machine != chosen
    ]
    return shown, remarks


def one_model(records: Sequence[Record], made: MadeWith | None = None) -> tuple[list[Record], list[str]]:
    """Returns the records that were made with the same weights, workload and data, and a sentence on each other group.

    The group is the one of `made`, or else the largest: the most measured records, then the most records, then the
    latest.
    """
    groups = _grouped(records, made_with)
    chosen = _largest(groups) if made is None else made
    shown = groups.get(chosen, [])
    remarks = [
        f"Left out: {counted(len(found), 'record')} of {_other_model(other, chosen, _age(found, shown))}."
        for other, found in groups.items()
        if other != chosen
    ]
    return shown, remarks


def one_source_each(
    records: Sequence[Record], sources: Mapping[str, str] | None = None
) -> tuple[list[Record], list[str]]:
    """Returns the records that were made by one source of each codec, and a sentence on each codec with others.

    `sources` has the source of codecs by name; of other codecs the largest group is shown, as in `one_model`.
    """
    kept: dict[str, str] = dict(sources or {})
    remarks = []
    for codec, found in _grouped(records, lambda record: record.key.codec).items():
        groups = _grouped(found, lambda record: record.provenance.source_hash)
        chosen = kept.setdefault(codec, _largest(groups))
        for other, left in groups.items():
            if other != chosen:
                age = _age(left, groups.get(chosen, []))
                remarks.append(f"Left out: {counted(len(left), 'record')} of {age} source of codec {codec}.")
    return [record for record in records if record.provenance.source_hash == kept[record.key.codec]], remarks


def differences(a: MadeWith, b: MadeWith) -> Iterator[str]:
    """Yields what is known to differ between A and B that makes their outcomes incomparable, with both hashes."""
    if a.weights != b.weights:
        yield f"weights ({a.weights[:DIGITS]}, {b.weights[:DIGITS]})"
    if a.data is not None and b.data is not None and a.data != b.data:
        yield f"data ({a.data[:DIGITS]}, {b.data[:DIGITS]})"


def _grouped(records: Iterable[Record], kind: Callable[[Record], Kind]) -> dict[Kind, list[Record]]:
    found: dict[Kind, list[Record]] = {}
    for record in records:
        found.setdefault(kind(record), []).append(record)
    return found


def _largest(groups: Mapping[Kind, Sequence[Record]]) -> Kind:
    def rank(kind: Kind) -> tuple[int, int, str, str]:
        found = groups[kind]
        return sum(record.status == "ok" for record in found), len(found), _latest(found), str(kind)

    return max(groups, key=rank)


def _latest(records: Iterable[Record]) -> str:
    return max((record.provenance.started_utc for record in records), default="")


def _age(records: Sequence[Record], shown: Sequence[Record]) -> str:
    """Returns whether records are older or newer than those that are shown, for the name of their source."""
    here, there = _latest(records), _latest(shown)
    return "another" if here == there or not there else "an earlier" if here < there else "a later"


def _other_model(other: MadeWith, chosen: MadeWith, age: str) -> str:
    """Returns in words what a group of records was made with, as far as it differs from the chosen one."""
    parts = []
    if other.weights != chosen.weights:
        parts.append(f"another model (weights {other.weights[:DIGITS]}, not {chosen.weights[:DIGITS]})")
    elif other.workload_source is None and chosen.workload_source is not None:
        parts.append("an unknown source of the workload, and of unknown data (written before schema 4)")
    else:
        if other.workload_source != chosen.workload_source:
            parts.append(f"{age} source of the workload")
        if other.data not in (None, chosen.data):
            parts.append(f"other data (hash {_short(other.data)}, not {_short(chosen.data)})")
    return " and of ".join(parts)


def _short(digest: str | None) -> str:
    return "unknown" if digest is None else digest[:DIGITS]
