"""Plain values that describe a codec, as a whole and for one tensor.

They are made where the codec's class is (`describe`), and cross from there as JSON. Importing this module imports no
codec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

Point: TypeAlias = Mapping[str, Any]
"""An operating point: constructor arguments by name, JSON scalars."""
PointRequest: TypeAlias = Point | str
"""A point that a user asks for: its values, or the text `key=value,key=value` as it was written."""
Preset: TypeAlias = Literal["quick", "full", "auto"]
"""The points to describe: those of a preset, or with "auto" all that a search chooses among."""


@dataclass(frozen=True)
class CodecSummary:
    """The entry of a codec in a list. `docstring` is without indentation; `unavailable` says why it cannot run here."""

    name: str
    version: int
    tags: tuple[str, ...]
    points: tuple[Point, ...] = field(hash=False)
    module: str
    unavailable: str | None
    docstring: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_json` makes an equal summary."""
        points = [dict(point) for point in self.points]
        return {**vars(self), "tags": list(self.tags), "points": points}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CodecSummary:
        """The inverse of `to_json`."""
        return cls(**{**values, "tags": tuple(values["tags"]), "points": tuple(values["points"])})


_TUPLES = ("tags", "rows_by", "unfitted")
"""The fields of a `CodecInfo` that are lists in JSON."""


@dataclass(frozen=True)
class CodecInfo:
    """A codec as a run knows it: what does not depend on the tensor.

    `reference` names the class for another process (`registry.reference`), `file` is the file that defines it.
    `checkpoints` is the codec's own text, `checkpoints_folder` the folder that it names, or None if there is none.
    `has_bound`, `exports_state` and `overrides_starts_from` are True if the class overrides `bound_bytes`, `export` and
    `starts_from`. `source_hash` is the hex SHA-256 of the codec's source, `plugin` the distribution or the file name of
    its plugin. `mixed_plugin` is True if that plugin registers workloads as well. `description` is the first paragraph
    of the docstring, in one line. `unfitted` is the codec's own attribute, sorted. `completes_states` is
    True if the class overrides `complete`.
    """

    name: str
    version: int
    reference: str
    file: str
    plugin: str
    source_hash: str
    tags: tuple[str, ...] = ()
    rows_by: tuple[str, ...] = ()
    fit_samples: int | None = None
    long_fit: bool = False
    checkpoints: str | None = None
    checkpoints_folder: str | None = None
    has_bound: bool = False
    exports_state: bool = False
    overrides_starts_from: bool = False
    mixed_plugin: bool = False
    description: str = ""
    unfitted: tuple[str, ...] = ()
    completes_states: bool = False

    def fitted_point(self, point: Point) -> dict[str, Any]:
        """Return the arguments of a point on which a fit depends."""
        return {key: value for key, value in point.items() if key not in self.unfitted}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_json` makes an equal description."""
        return {**asdict(self), **{name: list(getattr(self, name)) for name in _TUPLES}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CodecInfo:
        """The inverse of `to_json`."""
        return cls(**{**values, **{name: tuple(values[name]) for name in _TUPLES}})


@dataclass(frozen=True)
class PointInfo:
    """The answers of a codec about one operating point for one tensor.

    `point` has all constructor arguments, without implied ones. `fault` is the error that the codec raised, in one
    line; its cell fails with it. `needs_fit_fault` and `starts_from_fault` are errors of `needs_fit` (or
    `needs_gradients`) and `starts_from`, with which a cell fails once it has to know the answer. `starts_from` is
    complete as well. `needs_gradients` is True for a point whose fit takes gradients through the tail,
    `works_unfitted` for one whose fit can be left out where there are no training samples. A point that is skipped or
    has a fault says nothing of fits. `refused` is True if a requested point is skipped or has a fault where
    the codec takes its own points: the values are at fault, not the tensor.
    """

    point: Point = field(hash=False)
    skip_reason: str | None = None
    fault: str | None = None
    needs_fit: bool = False
    needs_fit_fault: str | None = None
    starts_from: Point | None = field(default=None, hash=False)
    starts_from_fault: str | None = None
    refused: bool = False
    needs_gradients: bool = False
    works_unfitted: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_json` makes an equal description."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PointInfo:
        """The inverse of `to_json`."""
        return cls(**values)


@dataclass(frozen=True)
class CodecAtSpec:
    """The answers of a codec about one tensor: its points, coarse to fine, and the default of each argument.

    A codec that raises when it is asked for its points has one empty point with that fault.
    """

    points: tuple[PointInfo, ...]
    defaults: Point = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_json` makes an equal description."""
        return {"points": [point.to_json() for point in self.points], "defaults": dict(self.defaults)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CodecAtSpec:
        """The inverse of `to_json`."""
        return cls(tuple(map(PointInfo.from_json, values["points"])), values["defaults"])
