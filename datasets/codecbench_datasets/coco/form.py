"""What a converted detector takes and gives, as its file states it. Importing this module imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FORMS = ("bgr255", "rgb255", "rgb1")
"""The pixels that a detector takes: BGR or RGB, from 0 to 255 or to 1."""


@dataclass(frozen=True)
class Step:
    """One operation of a detector: `name` within its `part`, its kind, and the values that it takes and gives."""

    part: str
    name: str
    kind: str
    inputs: tuple[str, ...]
    output: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Detector:
    """A detector without its weights: pictures of (height, width) in one of `FORMS` to cells of 5 + `classes` values.

    Parts follow one another: the output of each part's last step alone goes on.
    """

    source: str
    form: str
    size: tuple[int, int]
    classes: int
    steps: tuple[Step, ...]

    def to_json(self) -> str:
        """Return the text that stands in the file of weights."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Detector:
        """Return the detector of such a text. Raises KeyError, TypeError or ValueError for any other."""
        said = json.loads(text)
        if said["form"] not in FORMS:
            raise ValueError(f"no form {said['form']!r}")
        steps = tuple(Step(**{**step, "inputs": tuple(step["inputs"])}) for step in said["steps"])
        height, width = said["size"]
        return cls(said["source"], said["form"], (height, width), said["classes"], steps)
