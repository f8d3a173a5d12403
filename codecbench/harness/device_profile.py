"""Measures the device profile of this machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from codecbench import measure
from codecbench.devices.cases import BLOCK
from codecbench.devices.fitting import MIN_PROFILE_LAYERS, fit
from codecbench.devices.layers import Layer
from codecbench.devices.profile import DeviceProfile
from codecbench.errors import UsageError
from codecbench.harness import provenance
from codecbench.workers.client import DeviceClient

QUIET_CORES = 0.05
"""Cores that other programs may use during a block that counts as quiet."""


@dataclass(frozen=True)
class MeasuredBlock:
    """The layers of a block with the seconds of each, and the cores that other programs used meanwhile."""

    measured: list[tuple[Layer, float]]
    busy_cores: float


def quiet_blocks(blocks: Sequence[MeasuredBlock]) -> list[MeasuredBlock]:
    """Return the quiet blocks; at least the quieter half of all blocks, and at least as many as a fit needs."""
    by_load = sorted(blocks, key=lambda block: block.busy_cores)
    quiet = sum(block.busy_cores <= QUIET_CORES for block in blocks)
    needed = max(quiet, (len(blocks) + 1) // 2, math.ceil(MIN_PROFILE_LAYERS / BLOCK))
    return by_load[:needed]


def measure_profile(
    name: str,
    *,
    minutes: float,
    reference: DeviceProfile | None = None,
    seed: int = 0,
    log: Callable[[float, str], None] = lambda _share, _text: None,
) -> tuple[DeviceProfile, list[tuple[Layer, float]]]:
    """Measure this machine for the given minutes; return its fitted profile, and the layers that it was fitted to.

    `reference` is the profile of the machine of the records; `general_factor` is relative to it, and 1 without it.
    `log` gets the share of the time that has passed, and a text. Raises UsageError if `minutes` is out of bounds.
    """
    if not 0.05 <= minutes <= 120:
        raise UsageError(f"--minutes {minutes:g}: give 0.05 to 120; 3 is enough on a fast machine")
    deadline = measure.Deadline(minutes * 60)
    blocks: list[MeasuredBlock] = []
    with DeviceClient(threads=1) as device:
        general = device.measure_general()
        background = measure.BackgroundLoad(device.pid)
        while len(blocks) * BLOCK < MIN_PROFILE_LAYERS or deadline.remaining_s() > 0:
            log(1 - deadline.remaining_s() / deadline.limit_s, f"{len(blocks) * BLOCK} layers")
            measured = device.measure_layers(seed, len(blocks))
            blocks.append(MeasuredBlock(measured, background.busy_cores()))
    kept = quiet_blocks(blocks)
    measured = [pair for block in kept for pair in block.measured]
    log(1.0, f"{len(measured)} layers kept, of {len(blocks) * BLOCK}; fitting")
    fitted = fit(measured, seed=seed)
    machine = provenance.machine()
    about = {
        "cpu": machine["cpu"], "os": machine["os"], "torch": machine["packages"].get("torch", ""), "threads": 1,
        "layers": len(measured), "minutes": minutes, "seed": seed, "measured_utc": measure.utc_now(),
        "others_busy_cores": round(max(block.busy_cores for block in kept), 2),
        **general.rates,
    }  # fmt: skip
    profile = DeviceProfile(
        name, f"One core of {machine['cpu']}, measured", "codecbench device measure", "measured", fitted.tree,
        general_factor(general.kernels_s, reference), general.call_s, dict(general.kernels_s), fitted.errors, {}, about,
    )  # fmt: skip
    return profile, measured


def general_factor(kernels_s: Mapping[str, float], reference: DeviceProfile | None) -> float:
    """Return how many times slower plain code is than on the reference: the geometric mean over the common kernels."""
    base = reference.general_kernels_s if reference is not None else kernels_s
    ratios = [math.log(kernels_s[name] / base[name]) for name in kernels_s if name in base]
    factor = math.exp(sum(ratios) / len(ratios)) if ratios else 1.0
    return factor * (reference.general_factor if reference is not None else 1.0)
