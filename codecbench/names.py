"""Finding an entry by name, with a suggestion where there is none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from codecbench.errors import UsageError

Named = TypeVar("Named")


def pick(catalogue: Mapping[str, Named], name: str, kind: str) -> Named:
    """The entry called `name`, or a UsageError that suggests the nearest."""
    if name not in catalogue:
        known = ", ".join(catalogue) or "none"
        raise UsageError(f"no {kind} {name!r}{suggestion(name, catalogue) or f'; there are: {known}'}")
    return catalogue[name]


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """The nearest known name, as the end of an error line (`; did you mean 'right'?`), or nothing."""
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
