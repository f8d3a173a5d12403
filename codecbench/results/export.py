"""Exports records as one flat table, a row for each cell, in CSV or Parquet."""

from __future__ import annotations

import csv
import io
import json
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from codecbench.errors import UsageError
from codecbench.results.record import Record
from codecbench.system.files import write_file

ENDINGS = (".csv", ".parquet")


def columns() -> dict[str, type]:
    """Return each column with its type: the record's fields, nested names joined by an underscore.

    The columns do not depend on the records. Other values than numbers, booleans and texts (operating point, shape,
    packages) are JSON texts.
    """
    return dict(_fields(Record, ""))


def export(records: Sequence[Record], path: Path) -> int:
    """Write the records to `path`, replacing it, and return the number of rows.

    The ending is the format. Raises UsageError for any other ending, and if the file cannot be written.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"cannot export to {path.name!r}: the file name must end in {' or '.join(ENDINGS)}")
    found = rows(records)
    write_file(path, _csv(found) if ending == ".csv" else _parquet(found))
    return len(found)


def rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the values of `columns` for each record."""
    return [_row(record) for record in records]


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type]]:
    for name, field in model.model_fields.items():
        column = prefix + (field.alias or name)
        kind = _without_none(field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _fields(kind, f"{column}_")
        else:
            yield column, kind if kind in (bool, int, float) else str


def _without_none(annotation: Any) -> Any:
    """Return the type of a field that may be null, or str for a Literal."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
    return str if get_origin(annotation) is Literal else annotation


def _row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(columns())
    row.update(_flat(record.model_dump(mode="json", by_alias=True), "", row))
    return row


def _flat(values: Mapping[str, Any], prefix: str, known: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        column = prefix + name
        if column in known:
            yield column, json.dumps(value) if isinstance(value, dict | list) else value
        elif value is not None:
            yield from _flat(value, f"{column}_", known)


def _csv(found: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(columns()), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return stream.getvalue()


def _parquet(found: Sequence[Mapping[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    schema = pa.schema([(name, arrow[kind]) for name, kind in columns().items()])
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(found), schema=schema), stream)
    return stream.getvalue()
