"""`codecbench device`: list, show, measure and apply device profiles."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codecbench.api.choices import DEFAULT_OUT
from codecbench.cli.errors import CommandGroup
from codecbench.cli.options import (
    DataDir,
    Out,
    Plugins,
    check_data_dir,
    chosen_workload,
    columns_of_a_terminal,
    describing,
    echo,
    show,
)
from codecbench.devices.profile import HOST, DeviceProfile, pick_device
from codecbench.errors import UsageError
from codecbench.experiment.config import DEFAULT_WORKLOAD
from codecbench.registry import devices, manager
from codecbench.system.files import require_writable, write_file

if TYPE_CHECKING:
    from codecbench.devices.layers import ModelLayers
    from codecbench.results.store import Store
    from codecbench.workload import Workload

app = typer.Typer(
    cls=CommandGroup, help="Device profiles, which predict the time of heads, tails and encoders on another machine.",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip

REFERENCE = "epyc-core"
"""The profile of the machine that the reference records come from."""

Device = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A profile's name, or its .json file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(as_json: AsJson = False, plugin: Plugins = None) -> None:
    """List the installed profiles."""
    from codecbench.cli import catalogue

    rows = catalogue.device_rows(devices(manager(plugin or ())))
    show(json.dumps(rows, indent=1) if as_json else catalogue.text(rows, columns_of_a_terminal()))


@app.command("show")
def show_(device: Device, as_json: AsJson = False, plugin: Plugins = None) -> None:
    """Print a profile: its source, its errors and its regression tree."""
    profile = _profile(device, plugin)
    show(profile.to_text() if as_json else _described(profile))


@app.command()
def measure(
    out: Annotated[Path, typer.Option("--out", metavar="FILE.json", help="Where to write the profile.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="N", help="The profile's name [default: the file's].")
    ] = None,
    minutes: Annotated[float, typer.Option("--minutes", metavar="N", help="Minutes to measure.")] = 3.0,
    compared_with: Annotated[
        str,
        typer.Option("--reference", metavar="NAME|FILE", help="The profile of the machine that the records come from."),
    ] = REFERENCE,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed that draws the layers to measure.")] = 0,
    plugin: Plugins = None,
) -> None:
    """Measure this machine with one thread, and write its profile. Run it on the device, with nothing else running."""
    from codecbench.harness.device_profile import measure_profile

    name = out.stem if name is None else name
    if out.suffix != ".json" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name == HOST:
        raise UsageError(
            f"--out {out}, name {name!r}: give FILE.json and a name of letters, digits and hyphens, not 'host'"
        )
    if not out.parent.is_dir():
        raise UsageError(f"no folder {out.parent} to write {out.name} to; make it first")
    require_writable(out, advice="choose another --out")
    known = devices(manager(plugin or ()))
    profile, _ = measure_profile(
        name, minutes=minutes, reference=pick_device(compared_with, known), seed=seed, log=_progress()
    )
    write_file(out, profile.to_text(), advice="choose another --out")
    show(_described(profile, tree=False))
    echo(f"profile written to {out}; use it by --device {out}")


@app.command()
@describing
def predict(
    described: dict[str, Any],
    device: Annotated[str, typer.Option("--device", metavar="NAME|FILE", help="A profile's name, or its .json file.")],
    workload: Annotated[
        str | None, typer.Option("--workload", metavar="W", help=f"A workload's name [default: {DEFAULT_WORKLOAD}].")
    ] = None,
    out: Out = DEFAULT_OUT,
    as_json: AsJson = False,
    plugin: Plugins = None,
    data_dir: DataDir = None,
) -> None:
    """Print the predicted time of every head and tail, and the time on the host where there are records."""
    from codecbench.cli import catalogue
    from codecbench.results.store import Store

    check_data_dir(data_dir)
    profile = _profile(device, plugin)
    chosen = chosen_workload(workload, described, plugin or (), data_dir)
    store = Store(out)
    layers = store.layers(chosen.name) or _traced(chosen, data_dir)
    rows = prediction_rows(profile, layers, _measured(store, chosen.name))
    if as_json:
        show(json.dumps(rows, indent=1))
        return
    echo(
        f"{profile.name}: predicted, one sample, one thread; host: the median of the records in {out}, if there are any"
    )
    show(catalogue.text(rows, columns_of_a_terminal()))


def prediction_rows(
    profile: DeviceProfile, layers: ModelLayers, measured_s: Mapping[tuple[str, str], float]
) -> list[dict[str, Any]]:
    """Returns a row for each split: milliseconds of head and tail, as predicted and as measured on the host.

    `measured_s` holds seconds by (split, part), where part is `head` or `tail`.
    """

    def milliseconds(seconds: float | None) -> float | None:
        return None if seconds is None else round(seconds * 1000, 3)

    return [
        {
            "split": split,
            "head_ms_predicted": milliseconds(profile.model_s(layers.head(split))),
            "head_ms_host": milliseconds(measured_s.get((split, "head"))),
            "tail_ms_predicted": milliseconds(profile.model_s(layers.tail(split))),
            "tail_ms_host": milliseconds(measured_s.get((split, "tail"))),
        }
        for split in layers.before
    ]


def _profile(text: str, plugin: list[Path] | None) -> DeviceProfile:
    profile = pick_device(text, devices(manager(plugin or ())))
    if profile is None:
        raise UsageError(f"{HOST} stands for times as measured and has no profile; see 'codecbench device list'")
    return profile


def _traced(workload: type[Workload], data_dir: Path | None) -> ModelLayers:
    """Returns the layers of a model that no run has traced yet."""
    from codecbench.descriptions.describe import workload_reference
    from codecbench.workers.pair import Pair, WorkloadRef

    with Pair(WorkloadRef(workload_reference(workload), data_dir, "cpu")) as pair:
        return pair.device.layers("test", 0, timeout_s=600)


def _measured(store: Store, workload: str) -> dict[tuple[str, str], float]:
    """Returns seconds by (split, part) of a workload's records: the median of the cells' medians."""
    from codecbench.measure import percentile

    found: dict[tuple[str, str], list[float]] = {}
    for record in store.records() if store.out.is_dir() else ():
        if record.key.workload == workload and record.time is not None:
            for part, seconds in (("head", record.time.head_s), ("tail", record.time.tail_s)):
                found.setdefault((record.key.split, part), []).append(seconds.median)
    return {place: percentile(values, 0.5) for place, values in found.items()}


def _described(profile: DeviceProfile, *, tree: bool = True) -> str:
    from codecbench.devices.fitting import lines

    made = {"measured": "measured", "scaled": "scaled: predictions from published figures, nothing was measured"}
    text = [f"{profile.name}: {profile.description}", f"kind: {made[profile.kind]}", f"source: {profile.source}"]
    text += [f"{title}: {_pairs(values)}" for title, values in (
        ("machine", profile.machine), ("times as long as its base", profile.factors),
        ("relative errors on layers that were held out", profile.errors),
    ) if values]  # fmt: skip
    text += [f"plain code takes {profile.general_factor:.3g} times as long as on the machine of the reference records"]
    text += ["", *lines(profile.tree)] if tree else []
    return "\n".join(text)


def _pairs(values: Mapping[str, Any]) -> str:
    shown = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in values.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _progress() -> Any:
    """Returns a function that prints the progress of a measurement, a line for every tenth of its time."""
    last = -1

    def log_share(share: float, text: str) -> None:
        nonlocal last
        if int(share * 10) > last:
            last = int(share * 10)
            echo(f"{share:.0%} {text}")

    return log_share
