"""Bisection among operating points: the smallest payload within the budget, with few of the points tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from codecbench.analysis.selection import LOSS_TOLERANCE

STRIDE = 8
"""The first distance from the start at which the other side of the budget is looked for. It doubles."""
CLOSE = 1.05
"""Two neighbours across the budget whose payloads differ by a smaller factor need no point between them."""
GAP = 1.2
"""Points that may be within the budget by chance are tried until neighbours differ by a smaller factor."""
MAX_TRIED = 12
"""The most points that are tried, besides the codec's own."""
MAX_TRIED_WITH_OWN = 18
"""The most points that are tried, with the codec's own."""
CERTAIN = 2
"""So many points certainly over the budget end the search for coarser ones among the codec's own: one may be chance."""


@dataclass(frozen=True)
class Tried:
    """The mean payload of a point, its loss on the choice samples, and the lower end of the loss's paired interval.

    `loss` is None where the codec failed or the metric is undefined.
    """

    payload_bytes: float = 0.0
    loss: float | None = None
    low: float | None = None


class Bisection:
    """Names the next of `count` points to try, numbered from coarse to fine; `start` is where to begin.

    First it looks for neighbours of which the finer one is within the budget and the coarser one is not, as if loss
    fell with each finer point. Losses on a few hundred samples do not: so it then tries coarser points as long as the
    interval of a loss reaches down to the budget, first those numbered in `own`, then points between. A point that
    fails counts as one that is certainly over the budget.
    """

    def __init__(self, count: int, start: int, budget: float, own: Sequence[int] = ()) -> None:
        self.count = count
        self.budget = budget + LOSS_TOLERANCE
        self.own = sorted(own)
        self.tried: dict[int, Tried] = {}
        self._start = min(max(start, 0), count - 1)
        self._over = -1
        self._within = count

    def following(self) -> int | None:
        """Return the number of the next point to try, or None at the end."""
        if not self.tried:
            return self._start
        fewer = len(self.tried) < MAX_TRIED
        if fewer and (bracket := self._in_bracket()) is not None:
            return bracket
        if len(self.tried) < MAX_TRIED_WITH_OWN and (own := self._of_own()) is not None:
            return own
        return self._in_gap() if fewer else None

    def add(self, number: int, tried: Tried) -> None:
        """Take the outcome of a point that was tried."""
        self.tried[number] = tried
        if self._is_within(number):
            self._within = min(self._within, number)
        elif number < self._within:
            self._over = max(self._over, number)

    def chosen(self) -> int:
        """Return the point with the smallest payload within the budget; without one, that with the smallest loss."""
        within = [number for number in self.tried if self._is_within(number)]
        if within:
            return min(within, key=lambda number: self.tried[number].payload_bytes)
        known = {
            number: (tried.loss, tried.payload_bytes) for number, tried in self.tried.items() if tried.loss is not None
        }
        return min(known, key=lambda number: known[number]) if known else max(self.tried)

    def _in_bracket(self) -> int | None:
        """Return the next point between the coarsest within the budget and the finest coarser one that is not."""
        stride = STRIDE << (len(self.tried) - 1)
        if self._over < 0 < self._within:
            return max(0, self._within - stride)
        if self._within == self.count:
            return min(self.count - 1, self._over + stride) if self._over < self.count - 1 else None
        if self._within - self._over <= 1 or self._ratio(self._over, self._within) <= CLOSE:
            return None
        return (self._over + self._within) // 2

    def _of_own(self) -> int | None:
        """Return the finest of the codec's own points between the best so far and those certainly over the budget."""
        best = self._best()
        over = sorted(number for number in self.tried if number < best and not self._is_possible(number))
        floor = over[-CERTAIN] if len(over) >= CERTAIN else -1
        return max((number for number in self.own if floor < number < best and number not in self.tried), default=None)

    def _in_gap(self) -> int | None:
        """Return the next point that may be within the budget, and is coarser than the best so far."""
        best = self._best()
        tried = [number for number in sorted(self.tried) if number <= best]
        for coarse, fine in reversed(list(pairwise([-1, *tried]))):
            if fine - coarse > 1 and self._is_possible(fine) and self._ratio(coarse, fine) > GAP:
                return (coarse + fine) // 2 if coarse >= 0 else fine - min(fine, 3)
        return None

    def _best(self) -> int:
        """Return the coarsest point within the budget; without one, the finest that was tried."""
        return self._within if self._within < self.count else max(self.tried)

    def _is_within(self, number: int) -> bool:
        loss = self.tried[number].loss
        return loss is not None and loss <= self.budget

    def _is_possible(self, number: int) -> bool:
        """Return True unless the interval of a point's loss lies above the budget."""
        low = self.tried[number].low
        return low is not None and low <= self.budget

    def _ratio(self, coarse: int, fine: int) -> float:
        """Return the ratio of two payloads; infinity where one of them is not known."""
        before = self.tried[coarse].payload_bytes if coarse in self.tried else 0.0
        return self.tried[fine].payload_bytes / before if before else float("inf")
