"""Checks that records and their samples agree: every file by its digest, every summary by its columns.

This is integrity, not authenticity: who changes columns, summaries and digests so that they agree is found out by
encoding again at most (`codecbench.verification.payloads`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from codecbench.errors import CodecbenchError, DataError, UsageError
from codecbench.results.record import SCHEMA, Record, parse
from codecbench.results.store import LAYERS, NEW_SAMPLES, SAMPLES, Store, record_paths
from codecbench.system.textfiles import decoded
from codecbench.verification.summaries import faults_of


@dataclass(frozen=True)
class Verification:
    """The numbers of records and of samples that were checked; a line for each fault, and for each remark.

    `intact` are the records without a fault.
    """

    records: int
    samples: int
    faults: tuple[str, ...]
    remarks: tuple[str, ...]
    intact: tuple[Record, ...]


def verify(out: Path) -> Verification:
    """Check all records of a results folder, and the samples beside them. Raises UsageError where there are none."""
    store = Store(out)
    paths = record_paths(out)
    if not paths:
        raise UsageError(f"no results in {out}; name a folder that 'codecbench run' has written")
    faults, remarks, intact, samples = list[str](), list[str](), list[Record](), 0
    for path in paths:
        name = path.relative_to(out)
        found = _record(path, store)
        if isinstance(found, str):
            faults.append(f"{name}: {found}")
            continue
        of_record = list(_faults(found, path, store))
        faults += [f"{name}: {fault}" for fault in of_record]
        if not of_record:
            intact.append(found)
            samples += found.samples.rows if found.samples else 0
        if found.schema_ != SCHEMA or found.digest is None:
            remarks.append(f"{name} is of an older schema, which has no digest of its own text")
    faults += _faults_of_layers(store)
    remarks += _left_over(out, intact, store)
    return Verification(len(paths), samples, tuple(faults), tuple(remarks), tuple(intact))


def _record(path: Path, store: Store) -> Record | str:
    """Return a record, or what is wrong with its file."""
    try:
        text = decoded(path.read_bytes())
        record = parse(text, path.name)
    except (CodecbenchError, OSError, ValueError) as error:
        return str(error).removeprefix(f"{path.name} ").removeprefix(f"{path.name}: ")
    if f'"schema": {SCHEMA},' in text and record.to_text() != text:
        return "its text is not as it was written"
    return record if path == store.path_of(record) else "its name is that of another cell"


def _faults(record: Record, path: Path, store: Store) -> Iterator[str]:
    if record.samples is None:
        if record.status == "ok":
            yield "it is measured, but names no samples"
        return
    try:
        columns = store.samples(record)
    except DataError as error:
        yield str(error).replace(f"{path.parent}/", "")
        return
    try:
        yield from faults_of(record, columns)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        yield f"its samples do not have the columns of such a record ({type(error).__name__}: {error})"


def _faults_of_layers(store: Store) -> Iterator[str]:
    """Yield a line for each description of a model's layers that cannot be read or was changed."""
    for path in sorted(store.out.glob(f"*/{LAYERS}")):
        try:
            store.layers(path.parent.name)
        except DataError as error:
            yield str(error).replace(f"{store.out}/", "")


def _left_over(out: Path, intact: list[Record], store: Store) -> list[str]:
    """Return a remark on samples that no record names."""
    named = {store.path_of(record).with_name(record.samples.file) for record in intact if record.samples}
    found = [path for ending in (SAMPLES, NEW_SAMPLES) for path in out.glob(f"*/*/*{ending}") if path not in named]
    return [
        f"{path.relative_to(out)} belongs to no intact record: a cell that is not finished" for path in sorted(found)
    ]
