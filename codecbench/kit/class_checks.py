"""The checks of a codec's class: its attributes, operating points and rate knob. See `codecbench.kit.checks`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from codecbench.codec import Codec, TensorSpec
from codecbench.errors import one_line
from codecbench.kit.runner import CheckFailed, CheckSkipped, Kit, check_of, require
from codecbench.kit.samples import samples, spec_label
from codecbench.operating_points import TensorStatistics
from codecbench.results.cell import point_label


@check_of(of_codec=True)
def check_metadata(_kit: Kit, codec: type[Codec]) -> None:
    """Class attributes and docstring are valid.

    `name` is in lower case with hyphens, the class has its own docstring, `version` is an integer of at least 1,
    `points` holds JSON scalars (never null), `tags` is a frozenset of strings, `checkpoints` is "package:folder".
    """
    name, version, folder = codec.name, codec.version, codec.checkpoints
    require(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name), f"name {name!r} is not lower-case words joined by hyphens")
    require((codec.__dict__.get("__doc__") or "").strip(), "the class has no docstring; say what the codec does")
    require(type(version) is int and version >= 1, f"version {version!r} is not an integer of at least 1")
    require(isinstance(codec.tags, frozenset), f"tags is a {type(codec.tags).__name__}, not a frozenset")
    require(all(isinstance(tag, str) for tag in codec.tags), "tags holds something that is not a string")
    if folder is not None:
        require(re.fullmatch(r"[\w.]+:[\w./-]+", folder), f'checkpoints {folder!r} is not "package:folder"')
    require(isinstance(codec.points, tuple) and codec.points, "points is not a tuple of at least one point")
    for point in codec.points:
        _require_scalars(point)


def _require_scalars(point: Mapping[str, Any]) -> None:
    for key, value in point.items():
        scalar = type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value))
        require(isinstance(key, str) and key.isidentifier(), f"point {point}: {key!r} is no argument name")
        require(scalar, f"point {point}: the value of {key!r} is no finite number, string or bool")


@check_of(of_codec=True)
def check_points_constructible(kit: Kit, codec: type[Codec]) -> None:
    """For every spec, the codec gives distinct points, and each either constructs or has a `skip_reason`.

    It is asked without statistics and with them, as in a run, and constructed without.
    """
    for spec in _with_statistics(kit.specs):
        points = codec.points_for(spec)
        require(points, f"points_for gives no point for {spec_label(spec)}; give one and a skip_reason")
        every = (*points, *codec.further_points_for(spec))
        labels = [point_label(point) for point in every]
        require(len(set(labels)) == len(labels), f"points_for({spec_label(spec)}) gives a point twice")
        for point in every:
            _require_scalars(point)
            reason = codec.skip_reason(spec, **point)
            require(reason is None or (isinstance(reason, str) and reason), "skip_reason gives neither None nor a text")
            if reason is None:
                _require_constructible(codec, replace(spec, statistics=None), point)


def _with_statistics(specs: Sequence[TensorSpec]) -> Iterator[TensorSpec]:
    """Yield each spec without and with statistics of ordinary samples, where these have values."""
    for spec in specs:
        yield spec
        statistics = TensorStatistics.of([sample.numpy() for sample in samples(spec)])
        if statistics is not None:
            yield replace(spec, statistics=statistics)


def _require_constructible(codec: type[Codec], spec: TensorSpec, point: Mapping[str, Any]) -> None:
    try:
        codec(spec, **point)
    except Exception as error:
        text = f"{codec.__name__}({spec_label(spec)}, {point_label(point)}) raises {one_line(error)}"
        raise CheckFailed(f"{text}; mend it or give a skip_reason") from error


@check_of(of_codec=True, needs=("check_points_constructible",))
def check_takes_a_spec(kit: Kit, codec: type[Codec]) -> None:
    """The codec takes at least one of the specs: not all of its points are skipped there."""
    require(any(case.codec is codec for case in kit.cases), "every spec is skipped; give specs=[...] that it takes")


@check_of(of_codec=True, needs=("check_points_constructible",))
def check_quick_points(kit: Kit, codec: type[Codec]) -> None:
    """`quick_points_for` gives one to three of the points that `points_for` gives, without statistics and with them."""
    for spec in _with_statistics(kit.specs):
        points, quick = codec.points_for(spec), codec.quick_points_for(spec)
        require(1 <= len(quick) <= 3, f"quick_points_for({spec_label(spec)}) gives {len(quick)} points, not 1 to 3")
        strange = next((point for point in quick if point not in points), None)
        require(strange is None, f"quick_points_for({spec_label(spec)}) gives {strange}, which points_for does not")


@check_of(of_codec=True, needs=("check_quick_points",))
def check_rate_knob(kit: Kit, codec: type[Codec]) -> None:
    """`rate_knob` names an argument of the codec, and both ends of its range construct where a quick point does."""
    for spec in kit.specs:
        knob = codec.rate_knob(spec)
        if knob is None:
            continue
        point = next(
            (point for point in codec.quick_points_for(spec) if codec.skip_reason(spec, **point) is None), None
        )
        if point is None:
            continue
        known = codec.point_defaults(spec)
        require(knob.argument in known, f"rate_knob names {knob.argument!r}; the arguments are {', '.join(known)}")
        for value in (knob.values()[0], knob.values()[-1]):
            end = {**point, knob.argument: value}
            reason = codec.skip_reason(spec, **end)
            require(reason is None, f"rate_knob goes to {point_label(end)}, but {reason}")
            _require_constructible(codec, spec, end)


@check_of(of_codec=True, needs=("check_points_constructible",))
def check_unknown_argument(kit: Kit, codec: type[Codec]) -> None:
    """An unknown constructor argument raises TypeError; it is not ignored."""
    case = next((case for case in kit.cases if case.codec is codec), None)
    if case is None:
        raise CheckSkipped("no spec is taken")
    try:
        codec(case.spec, **{**case.point, "no_such_argument": 1})
    except TypeError:
        return
    except Exception as error:
        raise CheckFailed(f"an unknown argument raises {type(error).__name__}, not TypeError") from error
    raise CheckFailed("an unknown argument is accepted; it has to raise TypeError")
