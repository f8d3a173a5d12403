"""Cells: the grid of what is run, and the keys by which it is stored and found again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from codecbench.codec import Codec


@dataclass(frozen=True)
class CellKey:
    """The name of a cell: equal keys are the same measurement. `point` holds JSON scalars only."""

    workload: str
    split: str
    codec: str
    codec_version: int
    point: Mapping[str, Any] = field(hash=False)
    seed: int
    sample_set: str

    def to_json(self) -> dict[str, Any]:
        """Plain values, as stored in a record under "key"."""
        return {
            "workload": self.workload, "split": self.split, "codec": self.codec, "codec_version": self.codec_version,
            "point": dict(self.point), "seed": self.seed, "sample_set": self.sample_set,
        }  # fmt: skip

    @property
    def cell(self) -> str:
        """The cell's hash: 12 hex digits of the SHA-256 of the key's canonical JSON."""
        return digest(self.to_json())[:12]

    @property
    def stem(self) -> str:
        """File name without ending, below `<out>/<workload>/<split>/`: readable, and unique by the hash."""
        label = point_label(self.point)
        readable = slug(f"{self.codec}-{label}" if label else self.codec)
        return f"{readable[:80]}-{self.cell}"

    @property
    def folder(self) -> str:
        """Folder below `<out>`: `<workload>/<split>`."""
        return f"{slug(self.workload)}/{slug(self.split)}"


def digest(values: Any) -> str:
    """Hex SHA-256 of the canonical JSON of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def slug(text: str) -> str:
    """The text with everything but letters, digits, dots, equals signs, hyphens and underscores made a hyphen."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", text).strip("-.") or "-"


def point_label(point: Mapping[str, Any]) -> str:
    """A point as people read it: `quality=50,tables=shared`; empty for the empty point."""
    return ",".join(f"{key}={value}" for key, value in point.items())


def row_label(codec: type[Codec], point: Mapping[str, Any]) -> str:
    """The row of a table in which a point competes: `zlib`, or `raw (uint8)` where `rows_by` names an argument."""
    values = [str(point[key]) for key in codec.rows_by if key in point]
    return f"{codec.name} ({', '.join(values)})" if values else codec.name


def sample_set_id(subset: str, sample_ids: list[int]) -> str:
    """The identifier of a sample set: subset, count, and a hash of the samples' own identifiers in order."""
    return f"{subset}-{len(sample_ids)}-{digest(sample_ids)[:8]}"
