"""A plan as text for a terminal, and as plain values for JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from codecbench.analysis.latency import LOCAL, PREDICTED, PREDICTED_MEANS, STEPS, Scenario
from codecbench.analysis.planner import BandwidthRange, Candidate, Limits, Plan, Recommendation
from codecbench.analysis.selection import OVER_ON_TEST, OVER_ON_TEST_MEANS
from codecbench.names import counted
from codecbench.tables import document, reservations
from codecbench.tables.formats import short
from codecbench.tables.reservations import Reservations

FRONT_SHOWN = 12


def as_text(
    plan: Plan,
    ranges: Sequence[BandwidthRange],
    limits: Limits,
    scenario: Scenario,
    metric: str,
    width: int,
    left_out: Sequence[str] = (),
) -> str:
    """Returns the choice and its reason, then the Pareto front, then the best choice for each range of bandwidth.

    The sentences in `left_out` say which records were left out, and which measured cells are no candidates.
    """
    reserved = reservations_of(plan, plan.front[:FRONT_SHOWN])
    lines = [
        f"link {scenario.link.name}, device {scenario.device_name}, edge {scenario.edge_name}; loss at most "
        f"{limits.budget:g} of {metric}; {counted(plan.candidates, 'candidate')}",
        *(line for sentence in left_out for line in textwrap.wrap(sentence, min(width, 100), subsequent_indent="  ")),
    ]
    if plan.best is None:
        ruled_out = ", ".join(f"{count:,} by {limit}" for limit, count in plan.rejected.items() if count)
        lines += [f"nothing is feasible (ruled out: {ruled_out}); loosen a limit, or measure more points"]
    else:
        lines += [f"best       {_marked(plan.best, metric, reserved, limits)}"]
        if plan.runner_up:
            lines += [f"runner-up  {_marked(plan.runner_up, metric, reserved, limits)}", f"why        {plan.why}"]
    parts = ["\n".join(lines) + "\n", document.text(_front(plan, metric, reserved, limits), min(width, 100))]
    if ranges:
        parts.append(document.text(_sweep(ranges), min(width, 100)))
    return "\n".join(parts)


def recommendation(found: Recommendation, limits: Limits, scenario: Scenario, metric: str) -> str:
    """Returns where to cut and with which codec, what that takes, and how much faster it is, as one sentence."""
    best, local = found.best, found.local
    others = [("the whole network on the device", local)]
    if found.jpeg is not None and found.jpeg is not best:
        others.append((f"{found.jpeg.row} {found.jpeg.point} at the input", found.jpeg))
    if best is None:
        text = f"no codec is within the limits; the whole network on the device takes {_ms(local)}"
    elif local.latency.median_s <= best.latency.median_s:
        text = f"keep the whole network on the device, {_ms(local)}; the fastest cut is at {_taken(best, metric)}"
    else:
        times = [(name, short(each.latency.median_s / best.latency.median_s), _ms(each)) for name, each in others]
        compared = " and ".join(f"{ratio} times as fast as {name} ({ms})" for name, ratio, ms in times)
        text = f"cut at {_taken(best, metric)}; {compared}"
    shown = [local, *(each for each in (best, found.jpeg) if each is not None)]
    meaning = f" ({PREDICTED} {PREDICTED_MEANS})" if any(each.latency.predicted for each in shown) else ""
    return (
        f"Device {scenario.device_name}, edge {scenario.edge_name}, link {scenario.link.name}, loss at most "
        f"{limits.budget:g} of {metric}: {text}{meaning}."
    )


def _taken(found: Candidate, metric: str) -> str:
    """Returns a candidate with a codec, its payload, its latency and the change of the metric."""
    change = document.with_interval(found.change, found.change_low, found.change_high, "+.2g")
    carried = " ".join(filter(None, (found.row, found.point)))
    return f"{found.split} with {carried}: {found.payload_bytes:,.0f} bytes, {_ms(found)}, change of {metric} {change}"


def _ms(found: Candidate) -> str:
    """Returns the median latency, marked where it is predicted in part."""
    return f"{short(1000 * found.latency.median_s)} ms{PREDICTED if found.latency.predicted else ''}"


def as_json(
    plan: Plan, ranges: Sequence[BandwidthRange], limits: Limits, scenario: Scenario, left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns the plan as plain values for JSON."""

    def values(found: Candidate | None) -> dict[str, Any] | None:
        return None if found is None else _values(found, limits.budget)

    return {
        "link": scenario.link.name, "device": scenario.device_name, "edge": scenario.edge_name,
        "budget": limits.budget, "max_latency_s": limits.max_latency_s, "max_device_s": limits.max_device_s,
        "candidates": plan.candidates, "rejected": plan.rejected, "best": values(plan.best),
        "runner_up": values(plan.runner_up), "why": plan.why, "front": [values(found) for found in plan.front],
        "by_bandwidth": [{"from_bit_per_s": part.from_bit_per_s, "best": values(part.best)} for part in ranges],
        "left_out": list(left_out),
    }  # fmt: skip


def reservations_of(plan: Plan, front: Sequence[Candidate]) -> Reservations:
    """Returns the reservations of the choice, its runner-up and the candidates of the front, each counted once."""
    shown = {found.label: found.origin for found in (*front, plan.best, plan.runner_up) if found is not None}
    return reservations.of_origins(shown.values())


def marks_of(found: Candidate, budget: float, reserved: Reservations) -> str:
    """Returns the marks of a candidate, one character each."""
    return (OVER_ON_TEST if found.is_over_on_test(budget) else "") + reserved.marks_of(found.origin)


def over_on_test_marks(shown: Iterable[Candidate | None], budget: float) -> tuple[tuple[str, str], ...]:
    """Returns OVER_ON_TEST with its meaning, where it marks one of these candidates."""
    used = any(found is not None and found.is_over_on_test(budget) for found in shown)
    return ((OVER_ON_TEST, OVER_ON_TEST_MEANS),) if used else ()


def _marked(found: Candidate, metric: str, reserved: Reservations, limits: Limits) -> str:
    return " ".join(filter(None, (sentence(found, metric), marks_of(found, limits.budget, reserved))))


def sentence(found: Candidate, metric: str) -> str:
    """Returns a candidate in one line: latency, its steps, payload bytes and change of the metric."""
    latency = found.latency
    p95 = "" if latency.p95_s is None else f" (p95 {1000 * latency.p95_s:.2f})"
    steps = ", ".join(
        f"{step} {1000 * latency.step_median_s(step):.2f}{PREDICTED if step in latency.predicted else ''}"
        for step in STEPS
    )
    text = f"{found.label}: {1000 * latency.median_s:.2f} ms{p95} = {steps}"
    if found.row == LOCAL:
        return text
    change = document.with_interval(found.change, found.change_low, found.change_high, "+.3g")
    return f"{text}; {found.payload_bytes:,.0f} bytes; {metric} {change}"


def _front(plan: Plan, metric: str, reserved: Reservations, limits: Limits) -> document.Document:
    shown = plan.front[:FRONT_SHOWN]
    rows = tuple(
        (
            found.label,
            (
                document.Cell(short(1000 * found.latency.median_s)),
                document.Cell(short(1000 * found.latency.device_s)),
                document.Cell(f"{found.payload_bytes:,.0f}"),
                document.Cell(document.with_interval(found.loss, None, None, "+.3g")),
                document.Cell(
                    document.with_interval(found.change, found.change_low, found.change_high, "+.3g"),
                    marks_of(found, limits.budget, reserved),
                ),
            ),
        )
        for found in shown
    )
    headings = ("latency ms", "device ms", "bytes", "loss", f"change of {metric}")
    group = document.Group("", headings, ("right",) * 4 + ("left",))
    more = len(plan.front) - len(shown)
    return document.Document(
        title="Pareto front of latency and loss, fastest first",
        blocks=(document.TableBlock("candidate", (group,), rows),),
        remarks=(
            "loss: on the choice samples, on which it is chosen. change: on the test samples.",
            *((f"{more} slower candidates of the front are left out.",) if more else ()),
            *reserved.remarks,
        ),
        marks=(
            *(((PREDICTED, PREDICTED_MEANS),) if any(found.latency.predicted for found in shown) else ()),
            *over_on_test_marks((*shown, plan.best, plan.runner_up), limits.budget),
            *reserved.marks,
        ),
    )


def _sweep(ranges: Sequence[BandwidthRange]) -> document.Document:
    rows = tuple(
        (
            bandwidth(part.from_bit_per_s),
            (
                document.Cell(part.best.label if part.best else "nothing is feasible"),
                document.Cell(short(1000 * part.best.latency.median_s) if part.best else "-"),
            ),
        )
        for part in ranges
    )
    group = document.Group("", ("best", "latency ms there"), ("left", "right"))
    block = document.TableBlock("bandwidth", (group,), rows)
    return document.Document("The best choice from each bandwidth on", (block,))


def bandwidth(bit_per_s: float) -> str:
    """Returns a bandwidth with its unit: `100 kbit/s`, `1.78 Mbit/s`."""
    for unit, scale in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bit_per_s >= scale:
            return f"{bit_per_s / scale:.3g} {unit}"
    return f"{bit_per_s:.3g} bit/s"


def _values(found: Candidate, budget: float) -> dict[str, Any]:
    latency = found.latency
    return {
        "split": found.split, "row": found.row, "point": found.point, "payload_bytes": found.payload_bytes,
        "loss": found.loss, "change": found.change, "change_low": found.change_low, "change_high": found.change_high,
        "over_on_test": found.is_over_on_test(budget),
        "latency_s": latency.median_s, "latency_p95_s": latency.p95_s, "device_s": latency.device_s,
        "edge_s": latency.edge_s, "predicted": sorted(latency.predicted),
        "isolation": found.origin.isolation if found.origin else None,
        "mixed_plugin": found.origin.mixed_plugin if found.origin else False,
        **{f"{step}_s": latency.step_median_s(step) for step in STEPS},
    }  # fmt: skip
