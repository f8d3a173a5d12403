"""The rows that `codecbench list` prints, one for each entry, as plain values."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codecbench.descriptions.codec_info import CodecSummary
from codecbench.devices.profile import DeviceProfile
from codecbench.links.model import Link
from codecbench.workload import Workload

_INDENTED: Mapping[str, Any] = {
    "initial_indent": "  ", "subsequent_indent": "  ", "break_long_words": False, "break_on_hyphens": False,
}  # fmt: skip


def codec_rows(found: Sequence[CodecSummary]) -> list[dict[str, Any]]:
    """Returns a row for each codec: name, version, tags, points, module, and the reason where it cannot run."""
    return [
        {
            "name": c.name, "version": c.version, "tags": list(c.tags), "points": [dict(p) for p in c.points],
            "module": c.module, "unavailable": c.unavailable, "description": c.docstring.partition("\n")[0],
        }
        for c in found
    ]  # fmt: skip


def workload_rows(found: Mapping[str, type[Workload]]) -> list[dict[str, Any]]:
    """Returns a row for each workload: name, metric, default splits, budget and dataset."""
    return [
        {
            "name": name, "metric": w.metrics[0].name, "unit": w.metrics[0].unit, "splits": list(w.default_splits),
            "budget": w.budget, "dataset": w.dataset, "other_metrics": [metric.name for metric in w.metrics[1:]],
            "description": _first_line(w),
        }
        for name, w in found.items()
    ]  # fmt: skip


def link_rows(found: Mapping[str, Link]) -> list[dict[str, Any]]:
    """Returns a row for each link: name, description, and the milliseconds of 1 KB and 100 KB."""
    return [
        {
            "name": name, "description": link.description, "ms_1_kb": round(float(link.seconds(1_000)) * 1e3, 2),
            "ms_100_kb": round(float(link.seconds(100_000)) * 1e3, 2),
        }
        for name, link in found.items()
    ]  # fmt: skip


def device_rows(found: Mapping[str, DeviceProfile]) -> list[dict[str, Any]]:
    """Returns a row for each device: name, kind (measured or scaled), slowdown of plain code, and description."""
    return [
        {
            "name": name, "kind": device.kind, "general_factor": round(device.general_factor, 3),
            "description": device.description,
        }
        for name, device in found.items()
    ]  # fmt: skip


def split_rows(workload: type[Workload], data_dir: Path | None) -> list[dict[str, Any]]:
    """Returns a row for each cut of a workload's model: name, shape, dtype, bytes, and True for a default split.

    Starts a process that imports torch.
    """
    from codecbench.descriptions.describe import workload_reference
    from codecbench.descriptions.splits import chosen_splits
    from codecbench.workers.pair import Pair, WorkloadRef

    with Pair(WorkloadRef(workload_reference(workload), data_dir, "cpu")) as pair:
        _ = pair.edge
        cuts = pair.cuts
    default = workload.default_splits or chosen_splits(cuts)
    return [
        {
            "name": name, "shape": list(spec.shape), "dtype": spec.dtype, "raw_bytes": spec.raw_bytes(spec.max_shape),
            "default": name in default,
        }
        for name, spec in cuts.items()
    ]  # fmt: skip


def text(rows: Sequence[Mapping[str, Any]], columns: int | None = None) -> str:
    """Returns the rows as an aligned table with a column for each key except `module`.

    Where that is wider than `columns`, each row has its description beneath it, and if need be the longest of its other
    values with their names, in lines of that length.
    """
    from tabulate import tabulate

    cells = [{key: _cell(value) for key, value in row.items() if key != "module"} for row in rows]
    table = tabulate(cells, headers="keys")
    if columns is None or not cells or _width(table) <= columns:
        return table
    name, *used = [key for key in cells[0] if any(row[key] for row in cells)]
    beneath = [key for key in used if key == "description"]
    while True:
        kept = [name, *(key for key in used if key not in beneath)]
        table = tabulate([{key: row[key] for key in kept} for row in cells], headers="keys")
        if _width(table) <= columns or len(kept) == 1:
            break
        beneath.append(max(kept[1:], key=lambda key: max(len(row[key]) for row in cells)))
    header, rule, *lines = table.splitlines()
    shown = [header.rstrip(), rule]
    for row, line in zip(cells, lines, strict=True):
        texts = [row[key] if key == "description" else f"{key}: {row[key]}" for key in beneath if row[key]]
        shown += [line.rstrip(), *(part for text in texts for part in textwrap.wrap(text, columns - 1, **_INDENTED))]
    return "\n".join(shown)


def _width(table: str) -> int:
    return max(map(len, table.splitlines()))


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return _points_cell(value) if value and isinstance(value[0], dict) else " ".join(map(str, value))
    return "" if value is None else "yes" if value is True else "no" if value is False else str(value)


def _points_cell(points: Sequence[Mapping[str, Any]]) -> str:
    """Returns the number of operating points, and the arguments in which they differ."""
    arguments = [key for key in points[0] if len({str(point.get(key)) for point in points}) > 1]
    return f"{len(points)} ({', '.join(arguments)})" if arguments else str(len(points))


def _first_line(item: type[Any]) -> str:
    return (inspect.getdoc(item) or "").partition("\n")[0]
