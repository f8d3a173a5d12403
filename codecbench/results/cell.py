"""Keys of cells, under which records are stored, and the labels that people read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from codecbench.results.points import label_of
from codecbench.workload import SampleId


@dataclass(frozen=True)
class CellKey:
    """The key of a cell. Equal keys mean the same measurement. `point` holds JSON scalars only."""

    workload: str
    split: str
    codec: str
    codec_version: int
    point: Mapping[str, Any] = field(hash=False)
    seed: int
    sample_set: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, as in a record's "key"."""
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
        """The file name without ending, in `<out>/<workload>/<split>/`: readable, and unique by the hash."""
        label = file_label(self.point)
        readable = slug(f"{self.codec}-{label}" if label else self.codec)
        return f"{readable[:80]}-{self.cell}"

    @property
    def folder(self) -> str:
        """The folder in `<out>`: `<workload>/<split>`."""
        return f"{slug(self.workload)}/{slug(self.split)}"


def digest(values: Any) -> str:
    """Return the hex SHA-256 of the canonical JSON of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def slug(text: str) -> str:
    """Return the text with all but letters, digits, dots, equals signs, hyphens and underscores made hyphens."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", text).strip("-.") or "-"


def point_label(point: Mapping[str, Any]) -> str:
    """Return a point for people, who may give it to `--codec`: `quality=50,tables=shared`; empty for the empty point.

    No two points of a codec have one label: text that reads as a number, for example, is in quotes.
    """
    return label_of(point)


def file_label(point: Mapping[str, Any]) -> str:
    """Return a point for the name of a file, which need not be read back: without quotes."""
    return ",".join(f"{key}={value}" for key, value in point.items())


def codec_label(codec: str, point: Mapping[str, Any]) -> str:
    """Return a codec at a point as `--codec` takes it: `zlib:level=3`, or the name alone for the empty point.

    A shell needs quotes around it where a value has spaces or quotes.
    """
    return f"{codec}:{point_label(point)}" if point else codec


def row_label(codec: str, rows_by: Sequence[str], point: Mapping[str, Any]) -> str:
    """Return the table row of a codec's point: `zlib`, or `raw (uint8)` if `rows_by` names an argument."""
    values = [str(point[key]) for key in rows_by if key in point]
    return f"{codec} ({', '.join(values)})" if values else codec


def sample_set_id(subset: str, sample_ids: Sequence[SampleId]) -> str:
    """Return the identifier of a sample set: subset, count, and a hash of the sample identifiers in order."""
    return f"{subset}-{len(sample_ids)}-{digest(list(sample_ids))[:8]}"
