"""Outcomes of samples as columns, by name: how processes exchange them, and how a record's Parquet file keeps them.

The outcomes of a ratio metric are two columns of float64, `numerator` and `denominator` for the metric that decides,
`numerator:NAME` and `denominator:NAME` for another one, NAME being that of the outcome. Those of a set metric are a
column for each array, `outcome:NAME:0` and so on, with an array for each sample. The outcomes of the full model have
the same names with `uncompressed_` before them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from codecbench.errors import DataError
from codecbench.workload import Metric, Outcome, RatioMetric

Columns: TypeAlias = dict[str, NDArray[Any]]
"""Columns by name, all with a row for each sample. The arrays of a set metric's column are objects."""

FULL_MODEL = "uncompressed_"
"""The beginning of the names of the full model's outcomes."""

TWO_LOOKS = "two_looks_"
"""The beginning of the names of the full model's outcomes for two looks at an image, as a process sends them."""

_ARRAYS = "outcome:"
_AXES = b"axes"
"""The key of a Parquet column's metadata: the axes behind the first of its arrays, which are stored flat."""


def holds_arrays(column: str) -> bool:
    """Return True for the name of a column that has an array for each sample."""
    return column.removeprefix(FULL_MODEL).startswith(_ARRAYS)


def ratio_columns(metric: Metric, metrics: Sequence[Metric]) -> tuple[str, str]:
    """Return the names of the columns of a ratio metric. It is one of the `metrics`, of which the first decides."""
    decides = metric.outcome_name == metrics[0].outcome_name
    end = "" if decides else f":{metric.outcome_name}"
    return f"numerator{end}", f"denominator{end}"


def as_columns(metrics: Sequence[Metric], outcomes: Sequence[Mapping[str, Outcome]]) -> Columns:
    """Return the columns of the outcomes of samples, by outcome name each."""
    columns: Columns = {}
    for metric in {metric.outcome_name: metric for metric in metrics}.values():
        found = [outcome[metric.outcome_name] for outcome in outcomes]
        if isinstance(metric, RatioMetric):
            pairs = np.array(found, dtype=np.float64).reshape(-1, 2)
            columns |= dict(zip(ratio_columns(metric, metrics), np.ascontiguousarray(pairs.T), strict=True))
        else:
            for number in range(len(found[0]) if found else 0):
                arrays = [np.asarray(outcome[number]) for outcome in found]
                columns[f"{_ARRAYS}{metric.outcome_name}:{number}"] = object_column(arrays)
    return columns


def set_outcomes(metric: Metric, columns: Mapping[str, NDArray[Any]]) -> list[tuple[NDArray[Any], ...]]:
    """Return the outcomes of a set metric, one for each sample. Raises KeyError if the columns have none of them."""
    name = f"{_ARRAYS}{metric.outcome_name}"
    parts = [columns[f"{name}:0"]]
    while (following := columns.get(f"{name}:{len(parts)}")) is not None:
        parts.append(following)
    return list(zip(*parts, strict=True))


def set_columns(metric: Metric, columns: Mapping[str, NDArray[Any]], *, full_model: bool = False) -> Columns:
    """Return the columns of a set metric's outcomes, or of those of the full model under the same names."""
    start, before = f"{_ARRAYS}{metric.outcome_name}:", FULL_MODEL if full_model else ""
    found = {name.removeprefix(before): column for name, column in columns.items() if name.startswith(before + start)}
    return {name: column for name, column in found.items() if name.removeprefix(start).isdigit()}


def of_full_model(columns: Mapping[str, NDArray[Any]]) -> Columns:
    """Return outcomes under the names of those of the full model."""
    return {FULL_MODEL + name: column for name, column in columns.items()}


def joined(parts: Sequence[Mapping[str, NDArray[Any]]]) -> Columns:
    """Return the columns of several groups of samples, one after another."""
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def replaced(
    columns: Mapping[str, NDArray[Any]], rows: NDArray[np.bool_], found: Mapping[str, NDArray[Any]]
) -> Columns:
    """Return columns with the rows that were found anew. Raises DataError if these have arrays of another form."""
    changed = {name: column.copy() for name, column in columns.items()}
    if rows.any():
        for name, column in changed.items():
            old, new = column[:1], found[name][:1]
            if holds_arrays(name) and _form(old[0]) != _form(new[0]):
                raise DataError(
                    f"score gives {_form(old[0])} for the full model and {_form(new[0])} for the tail ({name}); give "
                    "arrays of one form"
                )
            column[rows] = found[name]
    return changed


def object_column(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return a column of arrays, which are objects of it."""
    column = np.empty(len(arrays), dtype=object)
    for row, array in enumerate(arrays):
        column[row] = array
    return column


def parquet(columns: Mapping[str, NDArray[Any]], metadata: Mapping[bytes, bytes]) -> bytes:
    """Return a Parquet file of per-sample columns."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    fields, arrays = [], []
    for name, column in columns.items():
        array, axes = _list_array(column) if holds_arrays(name) else (pa.array(column), None)
        fields.append(pa.field(name, array.type, metadata=None if axes is None else {_AXES: json.dumps(axes).encode()}))
        arrays.append(array)
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=dict(metadata)))
    buffer = io.BytesIO()
    # Dictionaries suit columns of few distinct values. They would enlarge float32 columns and sample_id.
    encodings = {field.name: "BYTE_STREAM_SPLIT" for field in fields if pa.types.is_float32(field.type)}
    if "sample_id" in columns and pa.types.is_integer(table.schema.field("sample_id").type):
        encodings["sample_id"] = "DELTA_BINARY_PACKED"
    pq.write_table(
        table, buffer, compression="zstd", compression_level=12, write_statistics=False,
        use_dictionary=[name for name in columns if name not in encodings and not holds_arrays(name)],
        column_encoding=encodings,
    )  # fmt: skip
    return buffer.getvalue()


def from_table(table: Any) -> Columns:
    """Return the columns of a table that was read from such a file."""
    columns: Columns = {}
    for field in table.schema:
        column = table.column(field.name)
        if holds_arrays(field.name):
            array = column.combine_chunks()
            ends = np.cumsum(array.value_lengths().to_numpy(zero_copy_only=False))
            parts = np.split(array.flatten().to_numpy(zero_copy_only=False), ends[:-1])
            axes = json.loads((field.metadata or {}).get(_AXES, b"[]"))
            columns[field.name] = object_column([part.reshape(-1, *axes) for part in parts[: len(ends)]])
        else:
            columns[field.name] = column.to_numpy()
    return columns


def _list_array(column: NDArray[Any]) -> tuple[Any, list[int]]:
    """Return a column of arrays as Arrow's lists of numbers, and the axes behind the first, equal for all samples."""
    import pyarrow as pa

    arrays = column.tolist()
    values = np.concatenate([array.reshape(-1) for array in arrays])
    offsets = np.cumsum([0, *(array.size for array in arrays)])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values))
    return lists, list(arrays[0].shape[1:])


def _form(array: NDArray[Any]) -> tuple[str, tuple[int, ...]]:
    return str(array.dtype), array.shape[1:]
