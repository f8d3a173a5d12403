"""Measuring the profile of this machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from codecbench import measure
from codecbench.devices.cases import BLOCK
from codecbench.devices.fitting import MIN_LAYERS, fit
from codecbench.devices.layers import Layer
from codecbench.devices.profile import DeviceProfile
from codecbench.errors import UsageError
from codecbench.harness import provenance
from codecbench.workers.client import Worker

ALONE_CORES = 0.05
"""What others may use of a core while a machine still counts as left alone."""


MIN_PROFILE_LAYERS = 4 * MIN_LAYERS
"""What a fit takes at the least."""


@dataclass(frozen=True)
class Block:
    """Layers with their seconds, and how many cores other programs used meanwhile."""

    measured: list[tuple[Layer, float]]
    busy_cores: float


def calm(blocks: Sequence[Block]) -> list[Block]:
    """The blocks during which the machine was left alone: nearly so, or else the calmer half, or what a fit needs."""
    by_calm = sorted(blocks, key=lambda block: block.busy_cores)
    alone = sum(block.busy_cores <= ALONE_CORES for block in blocks)
    needed = max(alone, (len(blocks) + 1) // 2, math.ceil(MIN_PROFILE_LAYERS / BLOCK))
    return by_calm[:needed]


def measure_profile(
    name: str,
    *,
    minutes: float,
    reference: DeviceProfile | None = None,
    seed: int = 0,
    log: Callable[[float, str], None] = lambda _share, _text: None,
) -> tuple[DeviceProfile, list[tuple[Layer, float]]]:
    """Measure this machine for so many minutes and fit its profile; with the layers it was made of.

    `reference` is the profile of the machine of the records, against which plain code is compared; without one the
    factor is 1. `say` hears the share of the time that has passed, and what is going on. Raises UsageError for a time
    out of bounds.
    """
    if not 0.05 <= minutes <= 120:
        raise UsageError(f"--minutes {minutes:g}: give 0.05 to 120; 3 is enough on a fast machine")
    deadline = measure.Deadline(minutes * 60)
    blocks: list[Block] = []
    with Worker("device", threads=1) as worker:
        general = worker.call("measure_general", timeout_s=600).fields
        bystanders = measure.Bystanders(worker.pid)
        while len(blocks) * BLOCK < MIN_PROFILE_LAYERS or deadline.remaining_s() > 0:
            log(1 - deadline.remaining_s() / deadline.limit_s, f"{len(blocks) * BLOCK} layers")
            found = worker.call("measure_layers", {"seed": seed, "block": len(blocks)}, timeout_s=3600).fields
            measured = [(Layer(**values), seconds) for values, seconds in found["layers"]]
            blocks.append(Block(measured, bystanders.busy_cores()))
    kept = calm(blocks)
    measured = [pair for block in kept for pair in block.measured]
    log(1.0, f"{len(measured)} layers kept, of {len(blocks) * BLOCK}; fitting")
    fitted = fit(measured, seed=seed)
    kernels_s: dict[str, float] = general["kernels_s"]
    machine = provenance.machine()
    about = {
        "cpu": machine["cpu"], "os": machine["os"], "torch": machine["packages"].get("torch", ""), "threads": 1,
        "layers": len(measured), "minutes": minutes, "seed": seed, "measured_utc": measure.utc_now(),
        "others_busy_cores": round(max(block.busy_cores for block in kept), 2),
        **general["rates"],
    }  # fmt: skip
    profile = DeviceProfile(
        name, f"One core of {machine['cpu']}, measured", "codecbench device measure", "measured", fitted.tree,
        general_factor(kernels_s, reference), general["call_s"], kernels_s, fitted.errors, {}, about,
    )  # fmt: skip
    return profile, measured


def general_factor(kernels_s: Mapping[str, float], reference: DeviceProfile | None) -> float:
    """The factor by which plain code is slower than on the reference: a geometric mean over common kernels."""
    base = reference.general_kernels_s if reference is not None else kernels_s
    ratios = [math.log(kernels_s[name] / base[name]) for name in kernels_s if name in base]
    factor = math.exp(sum(ratios) / len(ratios)) if ratios else 1.0
    return factor * (reference.general_factor if reference is not None else 1.0)
