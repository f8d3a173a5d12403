"""The grid of a run: the codecs, splits, operating points and samples of its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from codecbench.codec import Codec, TensorSpec
from codecbench.errors import CodecbenchError, CodecFailure, UsageError, one_line, without_folders
from codecbench.experiment.cells import SCORED, PlannedCell
from codecbench.experiment.config import RunConfig, parse_codec
from codecbench.names import pick, suggestion
from codecbench.registry import check_points
from codecbench.results.cell import CellKey, sample_set_id
from codecbench.workload import Subset, Workload

Value = TypeVar("Value")
Point = dict[str, Any]


class Grid:
    """The cells of a configuration. Starts no process and reads no data.

    `codecs` are classes, each with the requested point, or None for the preset's points. `sample_ids` are those of all
    available samples. Raises UsageError if the configuration wants more samples.
    """

    def __init__(
        self,
        config: RunConfig,
        workload: type[Workload],
        codecs: Sequence[tuple[type[Codec], Point | None]],
        sample_ids: Mapping[Subset, Sequence[int]],
    ) -> None:
        self.config = config
        self.workload = workload
        self.codecs = codecs
        self.counts = self._counts(sample_ids)
        """The number of scored samples, by subset."""
        self.sample_ids = {subset: list(sample_ids[subset][:count]) for subset, count in self.counts.items()}
        """The identifiers of the scored samples, by subset."""
        self.sample_sets = {subset: sample_set_id(subset, ids) for subset, ids in self.sample_ids.items()}

    def cells(self, cuts: Mapping[str, TensorSpec]) -> list[PlannedCell]:
        """Return every cell, in the order of execution. `cuts` has the tensor spec at each split point of the model."""
        return [cell for split in self._splits(cuts) for cell in self._cells(split, cuts[split])]

    def _counts(self, sample_ids: Mapping[Subset, Sequence[int]]) -> dict[Subset, int]:
        limit, available = self.config.sample_limit, len(sample_ids["test"])
        if limit is not None and limit > available:
            fetch = f"; run 'codecbench data get {self.workload.dataset}' for more" if self.workload.dataset else ""
            raise UsageError(f"--samples {limit}: workload {self.workload.name!r} has {available} test samples{fetch}")
        test = available if limit is None else limit
        choice = self.config.choice_samples(test, len(sample_ids["choice"]))
        return dict(zip(SCORED, (test, choice), strict=True))

    def _splits(self, cuts: Mapping[str, TensorSpec]) -> list[str]:
        names = self.config.split or (cuts if self.config.all_splits else self.workload.default_splits)
        for name in names:
            if name not in cuts:
                hint = suggestion(name, cuts) or f"; see 'codecbench list splits --workload {self.workload.name}'"
                raise UsageError(f"no split point {name!r}{hint}")
        return list(dict.fromkeys(names))

    def _cells(self, split: str, spec: TensorSpec) -> list[PlannedCell]:
        cells: dict[str, PlannedCell] = {}
        for codec, chosen in self.codecs:
            points, fault = ask_codec(self._points, codec, spec, chosen)
            for point in points or [{}]:
                key = CellKey(
                    self.workload.name, split, codec.name, codec.version, point, self.config.seed,
                    self.sample_sets["test"],
                )  # fmt: skip
                reason, fault_here = (None, fault) if fault else ask_codec(_skip_reason, codec, spec, point)
                cells[key.cell] = PlannedCell(key, codec, spec, reason, fault_here)
        return neighbours_first(list(cells.values()))

    def _points(self, codec: type[Codec], spec: TensorSpec, point: Point | None) -> list[Point]:
        defaults = codec.point_defaults(spec)
        if point is not None:
            for key in point:
                if key not in defaults:
                    takes = ", ".join(defaults) or "none"
                    raise UsageError(
                        f"codec {codec.name!r} has no argument {key!r}{suggestion(key, defaults)}; it takes: {takes}"
                    )
            return [_completed(point, defaults)]
        points = codec.quick_points_for(spec) if self.config.preset == "quick" else codec.points_for(spec)
        check_points(codec, points)
        return [{**defaults, **p} for p in points]


def chosen_codecs(config: RunConfig, available: Mapping[str, type[Codec]]) -> list[tuple[type[Codec], Point | None]]:
    """Return the codec classes of a configuration, each with the requested point, or None for the preset's points.

    Raises UsageError for an unknown name.
    """
    if not config.codec:
        return [(codec, None) for codec in available.values()]
    chosen = [parse_codec(text) for text in config.codec]
    return [(pick(available, name, "codec"), point or None) for name, point in chosen]


def ask_codec(method: Callable[..., Value], /, *args: Any, **point: Any) -> tuple[Value | None, str | None]:
    """Call a method of a codec class; return its result and None, or None and its error in one line.

    A CodecbenchError is raised again. Any other error makes only the codec's own cells fail.
    """
    try:
        return method(*args, **point), None
    except CodecbenchError:
        raise
    except Exception as error:
        return None, f"asked about this tensor, the codec raised {without_folders(one_line(error))}"


def neighbour(cell: PlannedCell) -> PlannedCell | None:
    """Return the cell, planned or not, whose fitted state this cell's fit starts from; None if from scratch.

    See `Codec.starts_from`. Raises CodecFailure if that raises, or names an argument that the codec lacks.
    """
    point, fault = ask_codec(cell.codec.starts_from, cell.spec, **cell.key.point)
    if fault is not None:
        raise CodecFailure(fault)
    if point is None:
        return None
    defaults = cell.codec.point_defaults(cell.spec)
    unknown = sorted(set(point) - set(defaults))
    if unknown:
        raise CodecFailure(f"starts_from gave a point with the argument {unknown[0]!r}, which the codec lacks")
    return replace(cell, key=replace(cell.key, point=_completed(point, defaults)))


def neighbours_first(cells: Sequence[PlannedCell]) -> list[PlannedCell]:
    """Return the cells of a split, each after the cell that its fit starts from; otherwise the order is kept."""
    by_key = {cell.key.cell: cell for cell in cells}
    ordered: dict[str, PlannedCell] = {}
    for cell in cells:
        chain: list[PlannedCell] = []
        current: PlannedCell | None = cell
        while (
            current is not None and current.key.cell not in ordered and current not in chain
        ):  # stops at the end of a cycle
            chain.append(current)
            current = by_key.get(_neighbour_key(current))
        ordered.update((found.key.cell, found) for found in reversed(chain))
    return list(ordered.values())


def _neighbour_key(cell: PlannedCell) -> str:
    if cell.skip_reason is not None or cell.fault is not None:
        return ""
    try:
        found = neighbour(cell)
    except CodecFailure:
        return ""  # its fit will fail with the reason
    return found.key.cell if found is not None else ""


def _skip_reason(codec: type[Codec], spec: TensorSpec, point: Mapping[str, Any]) -> str | None:
    reason = codec.unavailable()
    return reason if reason is not None else codec.skip_reason(spec, **point)


def _completed(point: Mapping[str, Any], defaults: Mapping[str, Any]) -> Point:
    """Return the point with all arguments; those left out take their defaults."""
    return {**defaults, **{key: _like(defaults[key], value) for key, value in point.items()}}


def _like(default: Any, value: Any) -> Any:
    """Return the value as a float if the default is a float: 1 and 1.0 are the same operating point."""
    return float(value) if type(default) is float and type(value) is int else value
