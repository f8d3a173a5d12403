"""Split points that are chosen from a model's cuts, for a workload that names none."""

from __future__ import annotations

from collections.abc import Mapping

from codecbench.codec import TensorSpec

CHOSEN = 3
"""The cuts that are chosen beside the input, at most."""
INPUT = "input"


def chosen_splits(cuts: Mapping[str, TensorSpec]) -> tuple[str, ...]:
    """Return the input, if it is a cut, and up to three cuts spread over the model's depth, in order.

    The depth has three equal parts. Of each, the cut nearest to its middle is taken among those that are smaller than
    all cuts before them; where there is none, the smallest. Of cuts of the same size in a row, the first of the
    outermost modules is taken. The last cut of several is left out: little runs behind it.
    """
    names = [name for name in cuts if name != INPUT]
    smallest = cuts[INPUT].nbytes if INPUT in cuts else None
    shrinking = set()
    for name in names:
        if smallest is None or cuts[name].nbytes < smallest:
            smallest = cuts[name].nbytes
            shrinking.add(name)
    if len(names) > CHOSEN:
        names = names[:-1]
    found = []
    for part in range(min(CHOSEN, len(names))):
        first, end = (len(names) * edge // min(CHOSEN, len(names)) for edge in (part, part + 1))
        inside = range(first, end)
        better = [at for at in inside if names[at] in shrinking]
        middle = (first + end - 1) / 2
        at = (
            min(better, key=lambda at: abs(at - middle)) if better
            else min(inside, key=lambda at: cuts[names[at]].nbytes)
        )  # fmt: skip
        same = [at]
        while same[-1] + 1 < end and cuts[names[same[-1] + 1]].nbytes == cuts[names[at]].nbytes:
            same.append(same[-1] + 1)
        found.append(names[min(same, key=lambda at: (names[at].count("."), at))])
    return (*((INPUT,) if INPUT in cuts else ()), *found)
