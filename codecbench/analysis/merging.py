"""Merges results folders: records that agree with one another go into one folder, and a sentence names the rest.

Records of one workload, sample set and seed have to agree in weights, workload source and data, and those of one codec
in its source, as in a table (`codecbench.analysis.agreement`); the folder that is written to decides, if it has some,
else the largest group. Of several records of one cell the best is taken: a measured one rather than a failed or skipped
one, then that with the most choice samples, then the latest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from codecbench.analysis.agreement import made_with, one_model, one_source_each
from codecbench.devices.layers import ModelLayers
from codecbench.errors import DataError, UsageError
from codecbench.names import counted
from codecbench.results.record import Record
from codecbench.results.store import Store


@dataclass(frozen=True)
class Merged:
    """The numbers of records in the folder now and of new ones among them, and sentences on what was left out."""

    records: int
    added: int
    left_out: tuple[str, ...]


class _Found(NamedTuple):
    """A record and the folder that it is in."""

    store: Store
    record: Record


def merge(folders: Sequence[Path], out: Path) -> Merged:
    """Copy the records of results folders into `out`, which may have records already; see the module's docstring.

    Nothing is removed from `out` but records that a better one of the same cell replaces. Raises UsageError for a
    folder without results, or if `out` is locked.
    """
    stores = [Store(folder) for folder in folders]
    same = next((folder for folder in folders if folder.resolve() == out.resolve()), None)
    if same is not None:
        raise UsageError(f"--out {same} is one of the folders to merge; name another one")
    target = Store(out)
    with target.locked():
        found, left_out = _intact([*([target] if any(target.scan()) else []), *stores])
        chosen, disagreeing = _agreeing(found, target)
        best = _best(chosen)
        doubles = len(chosen) - len(best)
        if doubles:
            left_out.append(f"{counted(doubles, 'record')} of cells that others are of, too: the best is kept.")
        added = [each for each in best if each.store is not target]
        for each in added:
            target.adopt(each.record, each.store)
        _merge_notes(best, stores, target)
    return Merged(len(best), len(added), (*left_out, *disagreeing))


def _intact(stores: Sequence[Store]) -> tuple[list[_Found], list[str]]:
    """Return the records that can be read and have their samples, and a sentence on each other one."""
    found, left_out = [], []
    for store in stores:
        count = 0
        for each in store.scan():
            count += 1
            if isinstance(each, DataError):
                left_out.append(f"Left out: {each}.")
                continue
            fault = store.samples_fault(each)
            if fault is not None:
                left_out.append(f"Left out: {fault}.")
            else:
                found.append(_Found(store, each))
        if not count:
            raise UsageError(f"no results in {store.out}; name a folder that 'codecbench run' has written")
    return found, left_out


def _agreeing(found: Sequence[_Found], target: Store) -> tuple[list[_Found], list[str]]:
    """Return the records that agree with those of `target`, else with most; and a sentence on each group of others."""
    stores = {id(each.record): each.store for each in found}
    by_set: dict[tuple[str, str, int], list[Record]] = {}
    for each in found:
        key = each.record.key
        by_set.setdefault((key.workload, key.sample_set, key.seed), []).append(each.record)
    chosen, sentences = list[_Found](), dict[str, None]()
    for records in by_set.values():
        own = [record for record in records if stores[id(record)] is target]
        here = one_model(own)[0] if own else []
        of_model, others = one_model(records, made_with(here[0]) if here else None)
        sources = {record.key.codec: record.provenance.source_hash for record in one_source_each(here)[0]}
        of_source, older = one_source_each(of_model, sources)
        chosen += [_Found(stores[id(record)], record) for record in of_source]
        sentences |= dict.fromkeys([*others, *older])
    return chosen, list(sentences)


def _best(found: Iterable[_Found]) -> list[_Found]:
    """Return the best record of each cell; of equally good ones the first."""
    best: dict[str, _Found] = {}
    for each in found:
        known = best.get(each.record.cell)
        if known is None or _rank(each.record) > _rank(known.record):
            best[each.record.cell] = each
    return list(best.values())


def _rank(record: Record) -> tuple[bool, int, str]:
    choice = record.choice.n if record.choice is not None else 0
    return record.status == "ok", choice, record.provenance.started_utc


def _merge_notes(best: Sequence[_Found], stores: Sequence[Store], target: Store) -> None:
    """Copy what runs keep beside the records: the layers of the model, and what searches have found."""
    weights = {each.record.key.workload: each.record.provenance.weights_hash for each in best}
    for workload, digest in weights.items():
        searches: Mapping[str, object] = {}
        for store in stores:
            searches = {**store.searches(workload), **searches}
            layers = _layers(store, workload)
            if layers is not None and layers.weights_sha256 == digest and _layers(target, workload) is None:
                target.write_layers(workload, layers)
        if searches:
            target.write_searches(workload, {**searches, **target.searches(workload)})


def _layers(store: Store, workload: str) -> ModelLayers | None:
    try:
        return store.layers(workload)
    except DataError:
        return None
