"""The best split, codec and operating point for a link, two machines and a budget: a search over measured cells.

Every measured cell of a workload is a candidate, and so is the whole network on the device (`local`). A candidate is
feasible if its loss is within the budget, its median latency within `max_latency_s` and its device time within
`max_device_s`. The best candidate is the feasible one with the smallest median latency.

As in the tables, the loss is measured on the choice samples: the test samples, whose results are reported, have no
influence on the choice.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from codecbench.analysis.latency import LOCAL, STEPS, Latency, Scenario, latency_of, local_latency, sum_of
from codecbench.analysis.paper import OUR_ROWS
from codecbench.analysis.selection import (
    LOSS_TOLERANCE,
    Origin,
    change_of,
    groups,
    is_defined,
    loss_of,
    origin_of,
    undefined_reason,
    valid_budget,
)
from codecbench.descriptions.splits import INPUT
from codecbench.errors import UsageError
from codecbench.links.model import Link
from codecbench.names import counted
from codecbench.results.cell import point_label
from codecbench.results.record import Record

SWEEP_BIT_PER_S = tuple(float(f"{10 ** (5 + exponent / 4):.3g}") for exponent in range(17))
"""Bandwidths from 100 kbit/s to 1 Gbit/s, four a decade."""

_ON_DEVICE = ("head", "encode")

JPEG_ROWS = OUR_ROWS["Offload-Lossy"]
"""The rows of JPEG as anybody would send it, without help on the edge."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way to serve a request: a split, a row and an operating point, or `local`.

    `loss` is of the choice samples, positive where the codec is worse. `change` and its interval are of the test
    samples, in the metric's own direction; `test_loss_low` is the lower end of the same interval as a loss. `origin` is
    None where no codec runs.
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
    origin: Origin | None = None
    test_loss_low: float = 0.0

    def is_over_on_test(self, budget: float) -> bool:
        """Returns True if the loss is within the budget, but its interval on the test samples lies above it."""
        return self.loss <= budget + LOSS_TOLERANCE < self.test_loss_low

    @property
    def label(self) -> str:
        """A readable label, `split row point`, or `local`."""
        return LOCAL if self.row == LOCAL else " ".join(filter(None, (self.place, self.point)))

    @property
    def place(self) -> str:
        """The label without the operating point: `split row`, or `local`."""
        return LOCAL if self.row == LOCAL else " ".join(filter(None, (self.split, self.row)))


@dataclass(frozen=True)
class Limits:
    """The limits of a choice: a loss in the metric's own unit, and seconds; None means no limit."""

    budget: float
    max_latency_s: float | None = None
    max_device_s: float | None = None

    @classmethod
    def from_milliseconds(cls, budget: float, max_latency_ms: float | None, max_device_ms: float | None) -> Limits:
        """Returns limits from times in milliseconds. Raises UsageError for a time not above 0 or a budget below 0."""
        for name, value in (("--max-latency", max_latency_ms), ("--max-device-ms", max_device_ms)):
            if value is not None and not value > 0:
                raise UsageError(f"{name} is a number of milliseconds over 0, not {value:g}")
        return cls(valid_budget(budget), *(None if ms is None else ms / 1000 for ms in (max_latency_ms, max_device_ms)))


@dataclass(frozen=True, eq=False)
class Plan:
    """The chosen candidate, and the ones next to it.

    `best` is None where nothing is feasible. `runner_up` is the best feasible candidate with another codec or split,
    and `why` explains its difference from the best. `front` is the Pareto front of latency and loss, fastest first.
    `candidates` counts all candidates, and `rejected` those that each limit rules out.
    """

    best: Candidate | None
    runner_up: Candidate | None
    why: str
    front: tuple[Candidate, ...]
    candidates: int
    rejected: dict[str, int]

    @property
    def best_cut(self) -> Candidate | None:
        """The best feasible candidate with a codec: the runner-up where the best is `local`."""
        return self.runner_up if self.best is not None and self.best.row == LOCAL else self.best


@dataclass(frozen=True, eq=False)
class Recommendation:
    """The fastest feasible candidate with a codec, beside what one would do without a plan.

    `best` is None where no codec is feasible, `jpeg` where no JPEG at the input is. `local` is the whole network on the
    device, whatever the limits are.
    """

    best: Candidate | None
    local: Candidate
    jpeg: Candidate | None


@dataclass(frozen=True, eq=False)
class BandwidthRange:
    """A range of bandwidths with one best candidate, None where nothing is feasible. It ends where the next begins."""

    from_bit_per_s: float
    best: Candidate | None


def candidates(records: Sequence[Record], scenario: Scenario) -> list[Candidate]:
    """Returns every measured cell of one workload whose metric is defined, then `local`.

    Raises DataError where no cell was measured.
    """
    found = [_candidate(record, scenario) for record in records if record.status == "ok" and _is_possible(record)]
    local = local_latency(records, scenario)
    return [*found, Candidate("", LOCAL, "", 0.0, 0.0, 0.0, 0.0, 0.0, local)]


def left_out(records: Iterable[Record]) -> list[str]:
    """Returns a sentence on the measured cells that are no candidates, none where all are."""
    found = [record for record in records if record.status == "ok" and not _is_possible(record)]
    if not found:
        return []
    rows = ", ".join(dict.fromkeys(record.row for record in found))
    return [f"Left out: {counted(len(found), 'cell')} ({rows}), because {undefined_reason(found[0])}."]


def _is_possible(record: Record) -> bool:
    return is_defined(record, by_choice=record.choice is not None)


def plan(found: Sequence[Candidate], limits: Limits) -> Plan:
    """Returns the choice among the candidates. Ties go to the smaller loss, then to the smaller payload."""
    median_s, device_s = _medians(found, STEPS), _medians(found, _ON_DEVICE)
    loss = np.array([candidate.loss for candidate in found])
    order = _order(found, median_s)
    too_lossy = ~(loss <= limits.budget + LOSS_TOLERANCE)  # a loss that is not a number is within no budget
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


def recommend(chosen: Plan, found: Sequence[Candidate], limits: Limits) -> Recommendation:
    """Returns the recommendation of a plan for these candidates, of which one is `local`, and limits."""
    jpegs = [candidate for candidate in found if candidate.split == INPUT and candidate.row in JPEG_ROWS]
    (local,) = (candidate for candidate in found if candidate.row == LOCAL)
    return Recommendation(chosen.best_cut, local, plan(jpegs, limits).best)


def sweep(
    found: Sequence[Candidate], limits: Limits, link: Link, bandwidths_bit_per_s: Sequence[float] = SWEEP_BIT_PER_S
) -> list[BandwidthRange]:
    """Returns the best candidate for each range of the link's bandwidth.

    Raises UsageError for a link without a bandwidth.
    """
    possible = [c for c, allowed in zip(found, _within(found, limits), strict=True) if allowed]
    by_count = [(members, _Steps.of([possible[i] for i in members])) for members in _by_count(possible)]
    ranges: list[BandwidthRange] = []
    for bandwidth in bandwidths_bit_per_s:
        there = link.with_bandwidth(bandwidth)
        median_s = np.full(len(possible), np.inf)
        for members, steps in by_count:
            median_s[members] = _row_medians(steps.total_s(there))
        if limits.max_latency_s is not None:
            median_s[median_s > limits.max_latency_s] = np.inf
        order = _order(possible, median_s)
        best = possible[order[0]] if len(order) and median_s[order[0]] < np.inf else None
        if not ranges or _label(best) != _label(ranges[-1].best):
            ranges.append(BandwidthRange(bandwidth, over_link([best], there)[0] if best else None))
    return ranges


@dataclass(frozen=True, eq=False)
class _Steps:
    """Step times and payloads of candidates with equal numbers of samples, as arrays of (candidates, samples)."""

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
        """Returns end-to-end seconds over this link, an array of (candidates, samples)."""
        # The order of the sum matters: another order rounds differently and would break ties.
        network_s = np.where(self.is_local, 0.0, link.seconds(self.payload_bytes))
        return sum_of({**self.steps_s, "network": network_s}[step] for step in STEPS)


def over_link(found: Sequence[Candidate], link: Link) -> list[Candidate]:
    """Returns the candidates with the network times of this link; `local` is unchanged."""
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
    test = change_of(task)
    deciding = change_of(record.choice) if record.choice else test
    assert test is not None
    assert deciding is not None
    return Candidate(
        split=record.key.split,
        row=record.row,
        point=point_label(record.key.point),
        loss=loss_of(deciding, task).loss,
        change=test.change,
        change_low=test.low,
        change_high=test.high,
        payload_bytes=size.payload_bytes.mean,
        latency=latency_of(record, scenario),
        origin=origin_of(record),
        test_loss_low=loss_of(test, task).low,
    )


def _within(found: Sequence[Candidate], limits: Limits) -> NDArray[np.bool_]:
    """Returns True for each candidate whose loss and device time, which no link changes, are within the limits."""
    loss = np.array([candidate.loss for candidate in found])
    too_heavy = _over(_medians(found, _ON_DEVICE), limits.max_device_s)
    within: NDArray[np.bool_] = (loss <= limits.budget + LOSS_TOLERANCE) & ~too_heavy
    return within


def _over(seconds: NDArray[np.float64], limit_s: float | None) -> NDArray[np.bool_]:
    return seconds > (float("inf") if limit_s is None else limit_s)


def _order(found: Sequence[Candidate], median_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns candidate indices sorted by latency, then loss, then payload."""
    loss = np.array([candidate.loss for candidate in found])
    payload_bytes = np.array([candidate.payload_bytes for candidate in found])
    return np.lexsort((payload_bytes, loss, median_s))


def _medians(found: Sequence[Candidate], steps: Sequence[str]) -> NDArray[np.float64]:
    """Returns each candidate's median seconds of the sum of these steps, equal to `Latency.step_median_s`."""
    medians = np.empty(len(found))
    for members in _by_count(found):
        medians[members] = _row_medians(_sums([found[i] for i in members], steps))
    return medians


def _by_count(found: Sequence[Candidate]) -> list[list[int]]:
    """Returns candidate indices, grouped by the number of timed samples."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, candidate in enumerate(found):
        members[len(candidate.latency.payload_bytes)].append(i)
    return list(members.values())


def _sums(found: Sequence[Candidate], steps: Sequence[str]) -> NDArray[np.float64]:
    """Returns the summed seconds of these steps, an array of (candidates, samples)."""
    return sum_of(np.stack([c.latency.steps_s[step] for c in found]) for step in steps)


def _row_medians(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the median of each row by nearest rank, like `measure.percentile`."""
    rank = math.ceil(seconds.shape[1] / 2) - 1
    medians: NDArray[np.float64] = np.partition(seconds, rank, axis=1)[:, rank]
    return medians


def _front(order: NDArray[np.int64], loss: NDArray[np.float64]) -> list[int]:
    """Returns the indices on the Pareto front of latency and loss, from indices sorted by latency, then loss."""
    front: list[int] = []
    for i in order:
        if loss[i] < (loss[front[-1]] if front else float("inf")):
            front.append(int(i))
    return front


def _why(best: Candidate | None, other: Candidate | None) -> str:
    """Returns the difference between runner-up and best as text: in total and for each step, in milliseconds."""
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
