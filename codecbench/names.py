"""Look-up by name, with a suggestion if there is no such name; numbers with their nouns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from codecbench.errors import UsageError

Named = TypeVar("Named")


def pick(catalogue: Mapping[str, Named], name: str, kind: str) -> Named:
    """Return the entry of that name. Raises UsageError, with the nearest name, if there is none."""
    if name not in catalogue:
        known = ", ".join(catalogue) or "none"
        raise UsageError(f"no {kind} {name!r}{suggestion(name, catalogue) or f'; there are: {known}'}")
    return catalogue[name]


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """Return the end of an error line with the nearest known name, `; did you mean 'right'?`, or an empty text.

    The only name that begins like the wrong one is the nearest: `cifar` means `cifar10-resnet20`.
    """
    names = list(known)
    begin_so = [name for name in names if len(wrong) >= 3 and name.startswith(wrong)]
    near = begin_so if len(begin_so) == 1 else difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 cell`, `2,000 cells`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
