"""Times that were earned: what a codec's process reports is held against what its parent saw."""

from __future__ import annotations

from collections.abc import Sequence

from codecbench import measure
from codecbench.workers.answers import TimedStep

SHARE = 0.25
"""The share of the reported time by which a round trip, and work outside the step, may be longer than it."""
SLACK_S = 0.001
"""Seconds by which any round trip may be longer than the reported time and an empty round trip together."""
QUANTILE = 0.25
"""Round trips are decided by the quarter of the samples with the least time unaccounted for: a busy machine delays
some, and a codec that hides time hides it on every sample. Processor time does not depend on other programs, so the
median decides there, which finds a codec that hides time on half of the samples."""
BUSY_SLACK_S = 0.0005
"""Processor seconds that a request may take beside the step itself."""
CARRYING = 3.0
"""The process copies a sample and a result as often as its parent. Encoding, it took 0.6 to 1.1 times as long; for
a decoded tensor of 0.8 MB on a loaded machine, more than 1.5 times."""
OUTSIDE_SLACK_S = 0.0003
"""Processor seconds that a process may work outside the step in any case."""


def unearned(step: str, times: Sequence[TimedStep]) -> str | None:
    """Return why the reported times of a step cannot be true, or None if they can.

    A round trip lasts as long as the step and an empty round trip. In the quarter of the samples with the least time
    left over, that time has to be within SHARE of the median reported time and SLACK_S. In the median sample, the step
    may keep all cores busy for the reported time, and outside the step the process may only carry data.
    """
    if not times:
        return None
    reported_s = measure.percentile([time.reported_s for time in times], 0.5)
    left_over_s = measure.percentile([time.round_trip_s - time.empty_s - time.reported_s for time in times], QUANTILE)
    if left_over_s > SHARE * reported_s + SLACK_S:
        took_s = measure.percentile([time.round_trip_s - time.empty_s for time in times], 0.5)
        return f"{step} reported {reported_s * 1e3:.3g} ms, took {took_s * 1e3:.3g} ms"
    cores = measure.cores()
    for described, hidden_s, slack_s in (
        ("in the step", [_hidden_in_step_s(time, cores) for time in times], BUSY_SLACK_S),
        ("outside the step", [_hidden_outside_s(time) for time in times], OUTSIDE_SLACK_S),
    ):
        found_s = measure.percentile(hidden_s, 0.5)
        if found_s > SHARE * reported_s + slack_s:
            return f"{step} reported {reported_s * 1e3:.3g} ms, and {found_s * 1e3:.3g} ms more were worked {described}"
    return None


def _hidden_in_step_s(time: TimedStep, cores: int) -> float:
    """Return the processor seconds of a step that all cores cannot have worked in the reported time."""
    return 0.0 if time.busy_s is None else time.busy_s - cores * time.reported_s


def _hidden_outside_s(time: TimedStep) -> float:
    """Return the processor seconds outside a step that carrying its data does not explain."""
    return 0.0 if time.outside_s is None else time.outside_s - CARRYING * time.carrying_s
