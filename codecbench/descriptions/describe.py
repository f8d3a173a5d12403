"""Describes codecs and workloads from their classes: the functions that answer what a run has to know of them.

They run where the classes are loaded, and nowhere else; their results are plain values.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import packages_distributions, version
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_args

from codecbench.adapters.described import DescribedWorkload, description_sha256, own_files, own_functions
from codecbench.checked_workload import CheckedWorkload
from codecbench.codec import Codec, TensorSpec
from codecbench.descriptions.codec_info import (
    CodecAtSpec,
    CodecInfo,
    CodecSummary,
    Point,
    PointInfo,
    PointRequest,
    Preset,
)
from codecbench.descriptions.source_hash import read_source, source_sha256
from codecbench.descriptions.workload_info import SetMetricInfo, WorkloadInfo
from codecbench.errors import PluginError, UsageError, one_line, without_folders
from codecbench.names import suggestion
from codecbench.registry import check_points, reference
from codecbench.results.points import as_default, read_arguments, typed
from codecbench.workload import Metric, RatioMetric, Subset, Workload

Value = TypeVar("Value")


def summarise_codec(codec: type[Codec]) -> CodecSummary:
    """Return a codec's entry in a list. It is quick: no source is read."""
    return CodecSummary(
        name=codec.name, version=codec.version, tags=tuple(sorted(codec.tags)),
        points=tuple(_plain(point) for point in codec.points), module=codec.__module__,
        unavailable=codec.unavailable(), docstring=inspect.getdoc(codec) or "",
    )  # fmt: skip


def describe_codec(codec: type[Codec], *, mixed_plugin: bool = False) -> CodecInfo:
    """Return what holds for a codec with every tensor. Raises PluginError if the class has no source file.

    `mixed_plugin` is True if the codec's plugin registers workloads as well.
    """
    source_hash = source_sha256(codec)
    return CodecInfo(
        name=codec.name, version=int(codec.version), reference=reference(codec), file=str(_file(codec)),
        plugin=plugin_label(codec), source_hash=source_hash, tags=tuple(sorted(codec.tags)),
        rows_by=tuple(codec.rows_by), fit_samples=codec.fit_samples,
        long_fit=bool(codec.long_fit), checkpoints=codec.checkpoints,
        checkpoints_folder=_checkpoints_folder(codec), has_bound=codec.bound_bytes is not Codec.bound_bytes,
        exports_state=codec.export is not Codec.export, overrides_starts_from=_overrides(codec, "starts_from"),
        completes_states=_overrides(codec, "complete"),
        mixed_plugin=mixed_plugin, description=first_paragraph(inspect.cleandoc(codec.__doc__ or "")),
        unfitted=tuple(sorted(codec.unfitted)),
    )  # fmt: skip


def describe_at(codec: type[Codec], spec: TensorSpec, preset: Preset, point: PointRequest | None = None) -> CodecAtSpec:
    """Return what a codec says of a tensor: of the preset's points, or of `point` alone, completed by its defaults.

    An error that the codec raises is a fault in the result. Raises UsageError if `point` has an argument that the codec
    lacks or a value of another type than its own, PluginError if the codec's points are none.
    """
    found, fault = ask_codec(_points, codec, spec, preset, point)
    if found is None and spec.ndim == 0:
        return CodecAtSpec((PointInfo({}, skip_reason="takes no tensor without axes, of one value a sample"),))
    if found is None:
        return CodecAtSpec((PointInfo({}, fault=fault),))
    points, defaults = found
    infos = tuple(_point_info(codec, spec, each, defaults) for each in points)
    if point is not None and infos[0].skip_reason is None and infos[0].fault is None:
        return CodecAtSpec(infos, defaults)
    refused = point is not None and _takes_its_own(codec, spec, defaults, but=points[0])
    return CodecAtSpec(tuple(replace(info, refused=refused) for info in infos), defaults)


def describe_workload(workload: Workload) -> WorkloadInfo:
    """Return what a run has to know of a workload.

    Raises DataError for an answer of it that cannot be used, PluginError if the class has no source file.
    """
    checked = CheckedWorkload(workload)
    subsets: tuple[Subset, ...] = get_args(Subset)
    sample_ids = {subset: checked.sample_ids(subset) for subset in subsets}
    needed: dict[Subset, str] = {"test": "results are reported", "choice": "operating points are chosen"}
    for subset, purpose in needed.items():
        if not sample_ids[subset]:
            checked.refuse("sample_ids", f"sample_ids({subset!r}) is empty; {purpose} on these samples, so give some")
    if len({type(ids[0]) for ids in sample_ids.values() if ids}) > 1:
        checked.refuse("sample_ids", "some subsets have integers as identifiers and some have texts; return one kind")
    return WorkloadInfo(
        name=workload.name, reference=workload_reference(type(workload)), metrics=_plain_metrics(workload),
        default_splits=tuple(workload.default_splits), budget=workload.budget, dataset=workload.dataset,
        source_hash=_workload_sha256(workload),
        weights_sha256=checked.weights_sha256(), training_s=checked.training_s, training_note=workload.training_note,
        input_spec=checked.input_spec, sample_ids=sample_ids, training_ids=checked.training_ids(),
        names_one_metric=workload.names_one_metric, fit_groups=checked.fit_groups(),
    )  # fmt: skip


def workload_reference(kind: type[Workload]) -> str:
    """Return the text with which another process finds a workload's class, or makes it of its description."""
    return kind.description.reference if issubclass(kind, DescribedWorkload) else reference(kind)


def _workload_sha256(workload: Workload) -> str:
    """Return the hash of a workload's source: of a class, or of a description with its adapters and functions."""
    if not isinstance(workload, DescribedWorkload):
        return source_sha256(type(workload))
    parts = [description_sha256(workload.description), *(source_sha256(found) for found in own_functions(workload))]
    codes = [read_source(file.read_bytes()).code for file in own_files(type(workload))]
    return hashlib.sha256(
        b"".join([*map(str.encode, parts), *(hashlib.sha256(code).digest() for code in codes)])
    ).hexdigest()


def ask_codec(method: Callable[..., Value], /, *args: Any, **point: Any) -> tuple[Value | None, str | None]:
    """Call a method of a codec class; return its result and None, or None and its error in one line.

    A UsageError or PluginError is raised again. Any other error makes only the codec's own cells fail; so does a
    DataError, which a codec causes by asking for data.
    """
    try:
        return method(*args, **point), None
    except (UsageError, PluginError):
        raise
    except Exception as error:
        return None, f"asked about this tensor, the codec raised {without_folders(one_line(error))}"


def first_paragraph(docstring: str) -> str:
    """Return the first paragraph of a docstring in one line."""
    return " ".join(docstring.strip().partition("\n\n")[0].split())


@lru_cache(maxsize=1)
def distributions() -> Mapping[str, Sequence[str]]:
    """Return the installed distributions of each top-level package. Reads the metadata of all of them once."""
    return packages_distributions()


def plugin_label(codec: type[Codec]) -> str:
    """Return the distribution, version and module of the codec, or the name of its single file."""
    names = distributions().get(codec.__module__.partition(".")[0])
    return f"{names[0]} {version(names[0])} ({codec.__module__})" if names else f"file {_file(codec).name}"


def _plain_metrics(workload: Workload) -> tuple[Metric, ...]:
    """Return the metrics of a workload as values that need none of its code."""
    return tuple(
        RatioMetric(
            metric.name, metric.unit, metric.higher_is_better, float(metric.scale), metric.binary,
            decimals=metric.decimals, outcome=metric.outcome,
        )
        if isinstance(metric, RatioMetric) else SetMetricInfo.of(metric)
        for metric in workload.metrics
    )  # fmt: skip


def _points(
    codec: type[Codec], spec: TensorSpec, preset: Preset, point: PointRequest | None
) -> tuple[list[Point], dict[str, Any]]:
    """Return the complete points, and the default of each argument."""
    defaults = _plain(codec.point_defaults(spec))
    if point is None:
        if preset == "auto":
            points: Sequence[Point] = _candidates(codec, spec)
        elif preset == "quick":
            points = codec.quick_points_for(spec)
        else:
            points = (*codec.points_for(spec), *codec.further_points_for(spec))
        check_points(codec, points)
        return [_complete(codec, {**defaults, **each}) for each in points], defaults
    label = f"codec {codec.name!r}"
    requested = read_arguments(point, label) if isinstance(point, str) else point
    for key in requested:
        if key not in defaults:
            takes = ", ".join(defaults) or "none"
            raise UsageError(f"{label} has no argument {key!r}{suggestion(key, defaults)}; it takes: {takes}")
    if isinstance(point, str):
        own = _own_points(codec, spec, defaults)
        requested = {
            key: typed(word, [defaults[key], *(each[key] for each in own if key in each)], f"{label}: {key}")
            for key, word in requested.items()
        }
    if preset == "auto" and (found := _candidates_like(codec, spec, requested, defaults)):
        return found, defaults
    return [_complete(codec, _completed(requested, defaults))], defaults


def _candidates(codec: type[Codec], spec: TensorSpec) -> list[Point]:
    """Return the points among which a search chooses, row by row, each from coarse to fine.

    The rows are those of the quick points. A row has the values of the rate knob, and those of the codec's own points
    that differ by the knob alone. Without a knob the candidates of a row are all of the codec's points.
    """
    knob, quick, own = codec.rate_knob(spec), codec.quick_points_for(spec), codec.points_for(spec)
    if knob is None:
        return list(own)
    defaults = codec.point_defaults(spec)
    if knob.argument not in defaults:
        raise ValueError(f"rate_knob names the argument {knob.argument!r}, which the codec lacks")
    rows = {tuple(point.get(key) for key in codec.rows_by): point for point in quick}
    found: list[Point] = []
    for point in rows.values():
        of_row = [each for each in own if {**defaults, **point, **_only(each, knob.argument)} == {**defaults, **each}]
        values = {*knob.values(), *(each[knob.argument] for each in of_row if knob.argument in each)}
        ordered = sorted(values, reverse=knob.coarsest > knob.finest)
        found += [{**point, knob.argument: value} for value in ordered]
    return found


def _only(point: Point, argument: str) -> Point:
    """Return the point with this argument alone."""
    return {key: value for key, value in point.items() if key == argument}


def _candidates_like(codec: type[Codec], spec: TensorSpec, requested: Point, defaults: Point) -> list[Point]:
    """Return the points to search with the values that a user asks for; empty if these leave nothing to search.

    They vary the rate knob. Without a knob they are those of the codec's points that have the requested values.
    """
    knob = codec.rate_knob(spec)
    if knob is None:
        points = (*codec.points_for(spec), *codec.further_points_for(spec))
        found = [_complete(codec, {**defaults, **each}) for each in points]
        values = _complete(codec, _completed(requested, defaults))
        return [
            each
            for each in found
            if all(each.get(key, defaults[key]) == values.get(key, defaults[key]) for key in requested)
        ]
    if knob.argument in requested:
        return []
    return [_complete(codec, _completed({**requested, knob.argument: value}, defaults)) for value in knob.values()]


def _own_points(codec: type[Codec], spec: TensorSpec, defaults: Point) -> list[Point]:
    """Return all points that the codec names itself, complete."""
    own = (codec.points_for(spec), codec.quick_points_for(spec), codec.further_points_for(spec), codec.points)
    named = (point for points in own for point in points)
    return [_complete(codec, {**defaults, **each}) for each in named]


def _takes_its_own(codec: type[Codec], spec: TensorSpec, defaults: Point, *, but: Point) -> bool:
    """True if `but` is none of the codec's own points and it takes one of these for this tensor."""
    own, _ = ask_codec(_own_points, codec, spec, defaults)
    if own is None or but in own:
        return False
    return any(ask_codec(_skip_reason, codec, spec, each) == (None, None) for each in own)


def _point_info(codec: type[Codec], spec: TensorSpec, point: Point, defaults: Point) -> PointInfo:
    reason, fault = ask_codec(_skip_reason, codec, spec, point)
    if reason is not None or fault is not None:
        return PointInfo(point, reason, fault)
    fit, needs_fit_fault = ask_codec(_fit_needs, codec, spec, point)
    needs_fit, needs_gradients, works_unfitted = fit or (False, False, False)
    start, start_fault = ask_codec(_start, codec, spec, point)
    unknown = sorted(set(start or ()) - set(defaults))
    if unknown:
        start, start_fault = None, f"starts_from gave a point with the argument {unknown[0]!r}, which the codec lacks"
    return PointInfo(
        point, needs_fit=needs_fit, needs_fit_fault=needs_fit_fault,
        starts_from=None if start is None else _complete(codec, _completed(start, defaults)),
        starts_from_fault=start_fault, needs_gradients=needs_gradients, works_unfitted=works_unfitted,
    )  # fmt: skip


def _skip_reason(codec: type[Codec], spec: TensorSpec, point: Point) -> str | None:
    reason = codec.unavailable()
    if reason is None:
        reason = codec.skip_reason(spec, **point)
    return None if reason is None else str(reason)


def _fit_needs(codec: type[Codec], spec: TensorSpec, point: Point) -> tuple[bool, bool, bool]:
    """Return whether the point needs a fit, whether that takes gradients, and whether the point works without it."""
    if not codec.needs_fit(spec, **point):
        return False, False, False
    return True, bool(codec.needs_gradients(spec, **point)), bool(codec.works_unfitted(spec, **point))


def _start(codec: type[Codec], spec: TensorSpec, point: Point) -> Point | None:
    start = codec.starts_from(spec, **point)
    return None if start is None else _plain(start)


def _completed(point: Point, defaults: Point) -> dict[str, Any]:
    """Return the point with all arguments; those left out take their defaults."""
    return {**defaults, **{key: as_default(value, type(defaults[key])) for key, value in point.items()}}


def _complete(codec: type[Codec], point: Point) -> dict[str, Any]:
    """Return a point with all arguments as keys of cells have it: without implied ones, as JSON gives it back."""
    return _plain(codec.without_implied(point))


def _plain(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the point as JSON gives it back, so that it is the same on both sides of a process's boundary."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(point)))
    return plain


def _file(codec: type[Codec]) -> Path:
    return Path(inspect.getsourcefile(codec) or codec.__module__).resolve()


def _overrides(codec: type[Codec], method: str) -> bool:
    return inspect.getattr_static(codec, method) is not inspect.getattr_static(Codec, method)


def _checkpoints_folder(codec: type[Codec]) -> str | None:
    """Return the folder that `checkpoints` names, or None if it names no package. This imports the package."""
    if codec.checkpoints is None:
        return None
    package, _, folder = codec.checkpoints.partition(":")
    try:
        return str(Path(str(files(package))) / folder)
    except (ImportError, TypeError, ValueError):
        return None
