"""`codecbench plan` and `validate-plan`: choose split, codec and point, and validate the choice by real requests."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codecbench.api.choices import DEFAULT_LINK, DEFAULT_OUT, installed_budgets, of_one_workload, scenario
from codecbench.cli.options import (
    Budget,
    DataDir,
    DeviceName,
    EdgeName,
    LinkName,
    MixMachines,
    OneWorkload,
    Out,
    Plugins,
    SampleSet,
    check_data_dir,
    check_milliseconds,
    echo,
    show,
    terminal_columns,
    warn_renamed,
)
from codecbench.experiment.config import load
from codecbench.names import counted
from codecbench.registry import manager

if TYPE_CHECKING:
    from codecbench.harness.requests.plan_validation import PlanValidation


def plan(
    out: Out = DEFAULT_OUT,
    link: LinkName = DEFAULT_LINK,
    device: DeviceName = None,
    edge: EdgeName = None,
    budget: Budget = None,
    mix_machines: MixMachines = False,
    max_latency: Annotated[
        float | None, typer.Option("--max-latency", metavar="MS", help="Maximum median latency, in milliseconds.")
    ] = None,
    max_device_ms: Annotated[
        float | None, typer.Option("--max-device-ms", metavar="MS", help="Maximum time of head and encoder together.")
    ] = None,
    workload: OneWorkload = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    sample_set: SampleSet = None,
    plugin: Plugins = None,
) -> None:
    """Choose the split, codec and point with the lowest latency within a budget, from the records of a run.

    Exit status 1 where nothing is feasible.
    """
    from codecbench.api.plans import plan_of
    from codecbench.results.store import Store

    pm = manager(plugin or ())
    store = Store(out)
    found = plan_of(
        of_one_workload(store.records(), workload), installed_budgets(pm) if budget is None else budget,
        scenario(pm, store, link, device, edge), max_latency_ms=max_latency, max_device_ms=max_device_ms,
        sample_set=sample_set, mix_machines=mix_machines,
    )  # fmt: skip
    show(json.dumps(found.to_dict(), indent=1, allow_nan=False) if as_json else found.text(terminal_columns()))
    if found.best is None:
        raise typer.Exit(1)


def validate_plan(
    rate: Annotated[str, typer.Option("--rate", metavar="RATE", help="Rate of the path, like 20Mbit.")] = "20Mbit",
    delay_ms: Annotated[
        float, typer.Option("--delay-ms", metavar="MS", help="Delay of the path, in each direction.")
    ] = 1.0,
    out: Out = DEFAULT_OUT,
    budget: Budget = None,
    requests: Annotated[int, typer.Option("--requests", metavar="N", min=1, help="Number of requests.")] = 100,
    workload: OneWorkload = None,
    sample_set: SampleSet = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
) -> None:
    """Run the planned codec over a rate-limited path on this machine, and compare its latency with the plan."""
    from codecbench.analysis.budget import budget_of
    from codecbench.analysis.planner import Limits
    from codecbench.analysis.selection import one_set
    from codecbench.api.plans import metric_of
    from codecbench.experiment.progress import reporter
    from codecbench.harness.requests import plan_validation
    from codecbench.links.relay import parse_rate
    from codecbench.results.store import Store

    check_milliseconds("--delay-ms", delay_ms)
    check_data_dir(data_dir)
    path = plan_validation.PathShape(parse_rate(rate), delay_ms / 1000)
    found = of_one_workload(Store(out).records(), workload)
    name = found[0].key.workload
    records, left_out = one_set(found, name, sample_set)
    accepted = budget_of(name, installed_budgets(manager(plugin or ())) if budget is None else budget, records)
    for remark in left_out:
        echo(remark)
    options = {"workload": name, "plugin": plugin, "data_dir": data_dir, "preset": "full"}
    with reporter() as report:
        limits = Limits.from_milliseconds(accepted, None, None)
        validated = plan_validation.validate_plan(load(None, options), records, limits, path, requests, report)
    show(validation_text(validated, metric_of(records)))


@functools.wraps(validate_plan)
def old_validate_plan(*arguments: Any, **options: Any) -> None:
    """Runs `validate_plan` under the command's old name, and prints the new one."""
    warn_renamed("codecbench rehearse", "codecbench validate-plan")
    validate_plan(*arguments, **options)


def validation_text(found: PlanValidation, metric: str) -> str:
    """Returns the planned and the measured latency as text for a terminal."""
    from codecbench.tables.plan import bandwidth, sentence

    link = found.link
    requests = counted(len(found.measured_s), "request")
    measured = f"{1000 * found.median_s:.2f} ms (p95 {1000 * found.p95_s:.2f}) over {requests}"
    return (
        f"link       fitted to a probe of the path: {bandwidth(link.bandwidth_bit_per_s)}, "
        f"base {1000 * link.base_s:.2f} ms, round trip {1000 * link.round_trip_s:.2f} ms\n"
        f"planned    {sentence(found.planned, metric)}\n"
        f"measured   {measured}\n"
        f"error      {100 * found.error:+.1f} % of the plan; with its steps timed anew, "
        f"{1000 * found.retimed_s:.2f} ms, {100 * found.retimed_error:+.1f} %\n"
    )
