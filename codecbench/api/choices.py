"""The records of a folder, the budget and the scenario that a command, or a call from Python, asks for."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from codecbench.devices.profile import HOST, pick_device
from codecbench.errors import UsageError
from codecbench.experiment.config import DEFAULT_WORKLOAD
from codecbench.links.files import pick_link
from codecbench.names import pick
from codecbench.registry import devices, links, workloads

if TYPE_CHECKING:
    import pluggy

    from codecbench.analysis.latency import Scenario
    from codecbench.results.record import Record
    from codecbench.results.store import Store

DEFAULT_OUT = Path("codecbench-results")

DEFAULT_LINK = "wifi-450"
DEFAULT_LINKS = (DEFAULT_LINK, "lte")
"""The default links of figures and of the report."""

DEFAULT_DEVICE, DEFAULT_EDGE = "phone", "gpu-edge"
"""The machines whose times are predicted unless others are named."""


def some_records(store: Store) -> list[Record]:
    """Return the records of a folder. Raises UsageError, with the folder, where there are none."""
    records = store.records()
    if not records:
        command = shlex.join(["codecbench", "run", "--out", str(store.out)])
        raise UsageError(f"there are no records in {store.out}; `{command}` makes some")
    return records


def only(records: Sequence[Record], field: str, values: Sequence[str] | None) -> list[Record]:
    """Returns the records whose key has one of these values, or all. Raises UsageError for a value without records."""
    known = {str(getattr(record.key, field)): None for record in records}
    for name in values or ():
        pick(known, name, f"{field} in these records:")
    return [record for record in records if not values or getattr(record.key, field) in values]


def of_one_workload(records: Sequence[Record], workload: str | None) -> list[Record]:
    """Returns the records of one workload: the one asked for, else the only one, else the default.

    Raises UsageError where there are no records of it, or where none is asked for and there are several others.
    """
    known = {record.key.workload: None for record in records}
    if not known:
        raise UsageError("there are no records; `codecbench run` makes some")
    if workload is None and len(known) > 1 and DEFAULT_WORKLOAD not in known:
        raise UsageError(f"these records are of several workloads, {', '.join(known)}; choose one with --workload")
    name = workload or (next(iter(known)) if len(known) == 1 else DEFAULT_WORKLOAD)
    return only(records, "workload", [name])


def installed_budgets(pm: pluggy.PluginManager) -> dict[str, float]:
    """Returns the budgets of the installed workloads by name, for records that do not hold their workload's."""
    return {name: kind.budget for name, kind in workloads(pm).items()}


def scenario(
    pm: pluggy.PluginManager, store: Store, link: str, device: str | None = None, edge: str | None = None
) -> Scenario:
    """Returns the scenario that the options name. Raises UsageError for an unknown name or a missing file.

    A machine that is not named is the default, or `host`, as measured, where the results lack the layers of a model,
    without which nothing can be predicted.
    """
    from codecbench.analysis.latency import Scenario
    from codecbench.results.payload_sizes import PayloadSizes
    from codecbench.results.store import record_paths

    chosen, profiles = pick_link(link, links(pm)), devices(pm)
    layers = {} if device == edge == HOST else store.all_layers()
    if device is None or edge is None:
        predictable = {path.parts[-3] for path in record_paths(store.out)} <= layers.keys()
        device = device or (DEFAULT_DEVICE if predictable else HOST)
        edge = edge or (DEFAULT_EDGE if predictable else HOST)
    device_profile, edge_profile = (None if name == HOST else pick_device(name, profiles) for name in (device, edge))
    return Scenario(chosen, device_profile, edge_profile, layers, PayloadSizes(store))
