"""Estimates the time that a run will still take, from its samples so far and from fits and their time limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from codecbench.experiment.cells import PlannedCell
from codecbench.measure import Stopwatch


@dataclass(frozen=True)
class FitProgress:
    """A fit that runs: the `share` that is done, the codec's own text, and when it began.

    The pace follows from what it has done since its first report, `first_share` at `first_s`: a fit that goes on from
    an earlier one begins with a share. `first_s` is None until there is a share.
    """

    cell: PlannedCell
    began_s: float
    share: float = 0.0
    text: str = ""
    reported_s: float = 0.0
    first_share: float = 0.0
    first_s: float | None = None

    def left_s(self, now_s: float) -> float | None:
        """Return the seconds left at its pace so far, or None where there is none yet."""
        if self.first_s is None or self.share <= self.first_share or self.reported_s <= self.first_s:
            return None
        pace = (self.share - self.first_share) / (self.reported_s - self.first_s)
        return max(0.0, (1 - self.share) / pace - (now_s - self.reported_s))

    def __str__(self) -> str:
        """Return the fit in words: `stem deepcod levels=8: fitting, 23%, loss 0.31`."""
        parts = [f"{self.cell.label}: fitting", f"{self.share:.0%}" if self.share else "", self.text]
        return ", ".join(filter(None, parts))


@dataclass(frozen=True)
class TimeEstimate:
    """Seconds that are left; more than these where `complete` is False, as the time of some fits is not known."""

    seconds: float
    complete: bool = True

    def __str__(self) -> str:
        """Return `about 12 min left`, `more than 12 min left`, or nothing where that would say nothing."""
        if self.seconds < 60:
            return "less than a minute left" if self.complete and self.seconds >= 1 else ""
        return f"{'about' if self.complete else 'more than'} {duration(self.seconds)} left"


class TimeLeft:
    """Counts samples and fits, and estimates the time that the rest will take.

    Samples take as long as the ones before, but for the first ones, before which processes start. A fit takes as long
    as earlier ones of its codec; the first one of a learned codec, which trains until it is told to stop, takes its
    whole time limit. Of other fits nothing is known beforehand. `elapsed_s` returns the seconds since the start.
    """

    def __init__(self, elapsed_s: Callable[[], float] | None = None) -> None:
        self.elapsed_s = elapsed_s or Stopwatch().elapsed_s
        self.samples = 0
        self.all_samples = 0
        self.fit: FitProgress | None = None
        self._limit_s: float | None = None
        self._expected: Counter[str] = Counter()
        self._learned: set[str] = set()
        self._taken_s: dict[str, list[float]] = {}
        self._first: tuple[int, float] | None = None
        """The number of samples and the time after the first ones, without the time of fits."""

    def expect(self, samples: int) -> None:
        """Add to the number of samples that will be scored."""
        self.all_samples += samples

    def scored(self, samples: int) -> None:
        """Count samples that were scored."""
        self.samples += samples
        if self._first is None:
            self._first = self.samples, self.elapsed_s() - self._fits_s()

    def expect_fits(self, cells: Sequence[PlannedCell], limit_s: float) -> None:
        """Note the cells that will be fitted from now on, and the time limit of each fit."""
        self._limit_s = limit_s
        self._expected = Counter(cell.codec.name for cell in cells)
        self._learned.update(cell.codec.name for cell in cells if "learned" in cell.codec.tags)

    def fitting(self, cell: PlannedCell, share: float, text: str) -> None:
        """Note how far the fit of a cell is."""
        now_s, fit = self.elapsed_s(), self.fit
        if fit is None:
            self._expected[cell.codec.name] -= 1
        began_s = now_s if fit is None else fit.began_s
        first_share, first_s = (0.0, None) if fit is None else (fit.first_share, fit.first_s)
        if share > 0 and first_s is None:
            first_share, first_s = share, now_s
        self.fit = FitProgress(cell, began_s, share, text, now_s, first_share, first_s)

    def fitted(self) -> None:
        """Note that the fit has ended."""
        if self.fit is not None:
            taken_s = self.elapsed_s() - self.fit.began_s
            self._taken_s.setdefault(self.fit.cell.codec.name, []).append(taken_s)
        self.fit = None

    def left(self) -> TimeEstimate | None:
        """Return the time left, or None where nothing is known of it."""
        parts = [*self._fits_left_s(), *self._samples_left_s()]
        known = [seconds for seconds in parts if seconds is not None]
        return TimeEstimate(sum(known), len(known) == len(parts)) if known else None

    def __str__(self) -> str:
        """Return the time left in words, or nothing where nothing is known of it."""
        return str(self.left() or "")

    def _fits_left_s(self) -> list[float | None]:
        found: list[float | None] = [] if self.fit is None else [self._running_fit_left_s(self.fit)]
        for codec, count in list(self._expected.items()):
            expected_s = self._expected_fit_s(codec)
            found += [None if expected_s is None else count * expected_s] if count > 0 else []
        return found

    def _running_fit_left_s(self, fit: FitProgress) -> float | None:
        now_s = self.elapsed_s()
        left_s = fit.left_s(now_s)
        if left_s is None:
            expected_s = self._expected_fit_s(fit.cell.codec.name)
            left_s = None if expected_s is None else max(0.0, expected_s - (now_s - fit.began_s))
        if left_s is None or self._limit_s is None:
            return left_s
        return min(left_s, max(0.0, self._limit_s - (now_s - (fit.began_s if fit.first_s is None else fit.first_s))))

    def _expected_fit_s(self, codec: str) -> float | None:
        taken_s = self._taken_s.get(codec)
        if taken_s:
            return sum(taken_s) / len(taken_s)
        return self._limit_s if codec in self._learned else None

    def _samples_left_s(self) -> list[float | None]:
        left = self.all_samples - self.samples
        if left <= 0:
            return []
        if self._first is None or self.samples == self._first[0]:
            return [None]
        samples, first_s = self._first
        return [left * max(0.0, self.elapsed_s() - self._fits_s() - first_s) / (self.samples - samples)]

    def _fits_s(self) -> float:
        """Return the seconds that fits have taken so far."""
        running_s = 0.0 if self.fit is None else self.elapsed_s() - self.fit.began_s
        return running_s + sum(map(sum, self._taken_s.values()))


def duration(seconds: float) -> str:
    """Return a time of a minute or more in words: `12 min`, `3 h 20 min`."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def clock(seconds: float) -> str:
    """Return a time as `0:12:34`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
