"""The order of samples, and the subset that each belongs to: both follow from its name alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from codecbench.errors import DataError
from codecbench.workload import Subset

TEST_END, CHOICE_END = 0.5, 0.7
"""The ends of the test and of the choice samples among hashes from 0 to 1; the others are for fits."""
FEWEST = 10
"""The fewest samples that can be parted."""
SEED = "codecbench samples, seed 0"


def parted(names: Sequence[str], label: str) -> dict[Subset, list[str]]:
    """Return the names of each subset in the order of use. Raises DataError where there are fewer than 10.

    A name's place follows from its hash, so a new sample moves no other. Only where a subset would get none, which
    happens with few samples, does it get the nearest sample of its neighbour.
    """
    if len(names) < FEWEST:
        raise DataError(
            f"{label} has {len(names)} samples; give at least {FEWEST}, which are parted into test, choice and fit"
        )
    place = {name: _fraction("part", name) for name in names}
    found: dict[Subset, list[str]] = {"test": [], "choice": [], "fit": []}
    for name in names:
        found["test" if place[name] < TEST_END else "choice" if place[name] < CHOICE_END else "fit"].append(name)
    for subset, neighbours in _NEIGHBOURS.items():
        if not found[subset]:
            donor = max(neighbours, key=lambda each: len(found[each]))
            edge = TEST_END if "test" in (subset, donor) else CHOICE_END
            moved = min(found[donor], key=lambda name: (abs(place[name] - edge), name))
            found[donor].remove(moved)
            found[subset].append(moved)
    return {
        subset: sorted(members, key=lambda name: (_fraction("order", name), name)) for subset, members in found.items()
    }


_NEIGHBOURS: Mapping[Subset, tuple[Subset, ...]] = {
    "test": ("choice", "fit"), "choice": ("test", "fit"), "fit": ("choice", "test"),
}  # fmt: skip


def _fraction(purpose: str, name: str) -> float:
    """Return a number from 0 to 1 that follows from a name."""
    digest = hashlib.sha256(f"{SEED}\0{purpose}\0{name}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
