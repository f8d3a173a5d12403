"""The best split, codec and operating point for a link, two machines and a budget: a search over measured cells.

Every measured cell of a workload is a candidate, and so is running the whole network on the device (`local`). A
candidate is feasible when its loss is within the budget, its median latency within `max_latency_s` and its device time
within `max_device_s`. The best is the feasible one of the smallest median latency.

The loss is that on the choice samples, as in the tables, so that what is chosen is not chosen on what is reported.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from codecbench.analysis.latency import LOCAL, STEPS, Latency, Scenario, latency_of, local_latency, sum_of
from codecbench.analysis.selection import groups, valid_budget
from codecbench.errors import UsageError
from codecbench.links.model import Link
from codecbench.results.cell import point_label
from codecbench.results.record import Record

SWEEP_BIT_PER_S = tuple(float(f"{10 ** (5 + exponent / 4):.3g}") for exponent in range(17))
"""Bandwidths from 100 kbit/s to 1 Gbit/s, four a decade."""

_EPSILON = 1e-9
_ON_DEVICE = ("head", "encode")


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way to serve a request. `loss` is positive where the codec is worse, on the choice samples.

    `change` is the metric's change on the test samples, with its interval: what is reported of the choice.
    """

    split: str
    row: str
    point: str
    loss: float
    change: float
    change_low: float
    change_high: float
    payload_bytes: float
    latency: Latency

    @property
    def label(self) -> str:
        """`split row point`, for people; `local` alone."""
        return LOCAL if self.row == LOCAL else " ".join(filter(None, (self.split, self.row, self.point)))


@dataclass(frozen=True)
class Limits:
    """The limits of a choice: a loss in the metric's own unit, and seconds; None is no limit."""

    budget: float
    max_latency_s: float | None = None
    max_device_s: float | None = None

    @classmethod
    def of(cls, budget: float, max_latency_ms: float | None, max_device_ms: float | None) -> Limits:
        """The limits that a user asked for, in milliseconds. Raises UsageError where they make no sense."""
        for name, value in (("--max-latency", max_latency_ms), ("--max-device-ms", max_device_ms)):
            if value is not None and not value > 0:
                raise UsageError(f"{name} is a number of milliseconds over 0, not {value:g}")
        return cls(valid_budget(budget), *(None if ms is None else ms / 1000 for ms in (max_latency_ms, max_device_ms)))


@dataclass(frozen=True, eq=False)
class Plan:
    """The choice. `best` is None where nothing is feasible; `runner_up` is the best of another codec or split.

    `front` holds the candidates that no other beats in both latency and loss, fastest first. `rejected` counts the
    candidates that each limit rules out.
    """

    best: Candidate | None
    runner_up: Candidate | None
    why: str
    front: tuple[Candidate, ...]
    candidates: int
    rejected: dict[str, int]


@dataclass(frozen=True, eq=False)
class Turn:
    """A range of bandwidths over which one candidate is the best: from here up to the next turn's."""

    from_bit_per_s: float
    best: Candidate | None


def candidates(records: Sequence[Record], scenario: Scenario) -> list[Candidate]:
    """Every measured cell of one workload, and `local`. Raises DataError where none was measured."""
    found = [_candidate(record, scenario) for record in records if record.status == "ok"]
    local = local_latency(records, scenario)
    return [*found, Candidate("", LOCAL, "", 0.0, 0.0, 0.0, 0.0, 0.0, local)]


def plan(found: Sequence[Candidate], limits: Limits) -> Plan:
    """Choose among candidates. Ties go to the smaller loss, then to the smaller payload."""
    median_s, device_s = _medians(found, STEPS), _medians(found, _ON_DEVICE)
    loss = np.array([candidate.loss for candidate in found])
    order = _order(found, median_s)
    too_lossy = ~(loss <= limits.budget + _EPSILON)  # a loss that is not a number is within no budget
    too_slow = _over(median_s, limits.max_latency_s)
    too_heavy = _over(device_s, limits.max_device_s)
    feasible = [found[i] for i in order if not (too_lossy[i] or too_slow[i] or too_heavy[i])]
    best = feasible[0] if feasible else None
    runner_up = next((c for c in feasible if (c.split, c.row) != (best.split, best.row)), None) if best else None
    return Plan(
        best=best,
        runner_up=runner_up,
        why=_why(best, runner_up),
        front=tuple(found[i] for i in _front(order, loss)),
        candidates=len(found),
        rejected={"loss": int(too_lossy.sum()), "latency": int(too_slow.sum()), "device": int(too_heavy.sum())},
    )


def sweep(
    found: Sequence[Candidate], limits: Limits, link: Link, bandwidths_bit_per_s: Sequence[float] = SWEEP_BIT_PER_S
) -> list[Turn]:
    """The best choice at each bandwidth of the link, where it changes. Raises UsageError for a link without one."""
    possible = [c for c, allowed in zip(found, _within(found, limits), strict=True) if allowed]
    by_count = [(members, _Steps.of([possible[i] for i in members])) for members in _by_count(possible)]
    turns: list[Turn] = []
    for bandwidth in bandwidths_bit_per_s:
        there = link.with_bandwidth(bandwidth)
        median_s = np.full(len(possible), np.inf)
        for members, steps in by_count:
            median_s[members] = _row_medians(steps.total_s(there))
        if limits.max_latency_s is not None:
            median_s[median_s > limits.max_latency_s] = np.inf
        order = _order(possible, median_s)
        best = possible[order[0]] if len(order) and median_s[order[0]] < np.inf else None
        if not turns or _label(best) != _label(turns[-1].best):
            turns.append(Turn(bandwidth, over([best], there)[0] if best else None))
    return turns


@dataclass(frozen=True, eq=False)
class _Steps:
    """Steps and payloads of candidates that have as many samples: a row a candidate, a column a sample."""

    steps_s: Mapping[str, NDArray[np.float64]]
    payload_bytes: NDArray[np.int64]
    is_local: NDArray[np.bool_]

    @classmethod
    def of(cls, found: Sequence[Candidate]) -> _Steps:
        return cls(
            {step: np.stack([c.latency.steps_s[step] for c in found]) for step in STEPS},
            np.array([c.latency.payload_bytes for c in found]),
            np.array([[c.row == LOCAL] for c in found]),
        )

    def total_s(self, link: Link) -> NDArray[np.float64]:
        """The sum over this link, in the order of the steps: another order would round otherwise, and part ties."""
        network_s = np.where(self.is_local, 0.0, link.seconds(self.payload_bytes))
        return sum_of({**self.steps_s, "network": network_s}[step] for step in STEPS)


def over(found: Sequence[Candidate], link: Link) -> list[Candidate]:
    """The same candidates over another network. `local` needs none."""
    sizes = [np.asarray(c.latency.payload_bytes) for c in found]
    ends = np.cumsum([0, *(len(of_one) for of_one in sizes)])
    seconds = link.seconds(np.concatenate(sizes))
    return [
        candidate if candidate.row == LOCAL else _with_network(candidate, seconds[start:end])
        for candidate, start, end in zip(found, ends, ends[1:], strict=False)
    ]


def _with_network(candidate: Candidate, seconds: NDArray[np.float64]) -> Candidate:
    steps = {**candidate.latency.steps_s, "network": seconds}
    return replace(candidate, latency=replace(candidate.latency, steps_s=steps))


def _candidate(record: Record, scenario: Scenario) -> Candidate:
    _, size, task, _ = groups(record)
    change = record.choice.change if record.choice else task.change
    return Candidate(
        split=record.key.split,
        row=record.row,
        point=point_label(record.key.point),
        loss=-change if task.higher_is_better else change,
        change=task.change,
        change_low=task.change_low,
        change_high=task.change_high,
        payload_bytes=size.payload_bytes.mean,
        latency=latency_of(record, scenario),
    )


def _within(found: Sequence[Candidate], limits: Limits) -> NDArray[np.bool_]:
    """True for each candidate whose loss and device time, which no network changes, are within the limits."""
    loss = np.array([candidate.loss for candidate in found])
    too_heavy = _over(_medians(found, _ON_DEVICE), limits.max_device_s)
    within: NDArray[np.bool_] = (loss <= limits.budget + _EPSILON) & ~too_heavy
    return within


def _over(seconds: NDArray[np.float64], limit_s: float | None) -> NDArray[np.bool_]:
    return seconds > (float("inf") if limit_s is None else limit_s)


def _order(found: Sequence[Candidate], median_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Positions by latency, then loss, then payload."""
    loss = np.array([candidate.loss for candidate in found])
    payload_bytes = np.array([candidate.payload_bytes for candidate in found])
    return np.lexsort((payload_bytes, loss, median_s))


def _medians(found: Sequence[Candidate], steps: Sequence[str]) -> NDArray[np.float64]:
    """Each candidate's median of some steps together, as `Latency.step_median_s` gives it, all at once."""
    medians = np.empty(len(found))
    for members in _by_count(found):
        medians[members] = _row_medians(_sums([found[i] for i in members], steps))
    return medians


def _by_count(found: Sequence[Candidate]) -> list[list[int]]:
    """Positions of the candidates that have as many timed samples."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, candidate in enumerate(found):
        members[len(candidate.latency.payload_bytes)].append(i)
    return list(members.values())


def _sums(found: Sequence[Candidate], steps: Sequence[str]) -> NDArray[np.float64]:
    """Seconds of some steps together: a row a candidate, a column a sample."""
    return sum_of(np.stack([c.latency.steps_s[step] for c in found]) for step in steps)


def _row_medians(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """By nearest rank, like `measure.percentile`."""
    rank = math.ceil(seconds.shape[1] / 2) - 1
    medians: NDArray[np.float64] = np.partition(seconds, rank, axis=1)[:, rank]
    return medians


def _front(order: NDArray[np.int64], loss: NDArray[np.float64]) -> list[int]:
    """Positions of the Pareto front in (latency, loss), given the order of latency and then of loss."""
    front: list[int] = []
    for i in order:
        if loss[i] < (loss[front[-1]] if front else float("inf")):
            front.append(int(i))
    return front


def _why(best: Candidate | None, other: Candidate | None) -> str:
    """The difference between the runner-up and the best, step by step, in milliseconds."""
    if best is None or other is None:
        return ""
    gap_ms = 1000 * (other.latency.median_s - best.latency.median_s)
    steps = [
        (step, 1000 * (other.latency.step_median_s(step) - best.latency.step_median_s(step)))
        for step in STEPS
    ]  # fmt: skip
    shown = [f"{step} {ms:+.2f}" for step, ms in sorted(steps, key=lambda pair: -abs(pair[1])) if abs(ms) >= 0.005]
    return f"{other.label} takes {gap_ms:.2f} ms more ({', '.join(shown) or 'all steps alike'} ms)"


def _label(candidate: Candidate | None) -> str | None:
    return candidate.label if candidate else None
