"""How well a profile of this machine predicts: `python -m support.device_bar [MINUTES [PROFILE.json]]` in tests/.

The profile is measured and fitted as `codecbench device measure` does. Between blocks of layers, the heads of four
models are timed whole, so that a machine that others slow down for a while slows both alike. No layer of them takes
part in the fit. Prints JSON: the errors on held-out layers, and each head's predicted and measured seconds.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from codecbench import measure
from codecbench.codec import TensorSpec
from codecbench.devices.layers import Layer, describe
from codecbench.harness.device_profile import measure_profile
from codecbench.workers.process.graph_split import SplitModel
from codecbench_datasets.cifar10.model import ResNet20
from support.device_models import MobileNetV2, ResNet50, Speech

MALLOC = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_MAX_": "0", "OMP_NUM_THREADS": "1"}
"""What a worker of a run is started with."""

EVERY = 8
"""Blocks of layers between two rounds of heads."""

AWAKE_S = 0.2
"""This process sleeps while layers are measured; for so long it computes before a round, since a core that has slept
for seconds is slower for 0.1 s. The device of a run waits for milliseconds at the most, and so does a layer's turn."""


def heads() -> Iterator[tuple[str, nn.Module, Tensor, tuple[Layer, ...]]]:
    """Name, head, input and layers at the splits of four models."""
    models: list[tuple[str, nn.Module, tuple[int, ...], tuple[str, ...]]] = [
        ("cifar10-resnet20", ResNet20(), (3, 32, 32), ("stem", "stage1", "stage2", "stage3", "classifier"))
    ]
    models += [
        (kind.name, kind().build_model(), kind.shape, kind.default_splits) for kind in (ResNet50, MobileNetV2, Speech)
    ]
    for name, model, shape, splits in models:
        found = SplitModel(model, [torch.randn(n, *shape) for n in (2, 3)], TensorSpec(shape))
        sample = torch.randn(1, *shape)
        layers = describe(found.traced, {cut.name: cut.node for cut in found.cuts.values()}, sample)
        for split in splits:
            yield f"{name} {split}", found.split(split)[0], sample, layers.head(split)


def main(minutes: float, out: str | None = None) -> None:
    """Measure, fit, print; with `out`, keep the profile."""
    torch.set_num_threads(1)
    timed = list(heads())
    seconds: dict[str, list[float]] = {name: [] for name, *_ in timed}
    calls = itertools.count()

    def time_heads(_share: float, text: str) -> None:
        sys.stderr.write(text + "\n")
        if next(calls) % EVERY == 0:
            with torch.inference_mode():
                awake = measure.Deadline(AWAKE_S)
                while awake.remaining_s():
                    timed[-1][1](timed[-1][2])
                for name, head, sample, _ in timed:
                    head(sample)
                    seconds[name].append(measure.timed(lambda head=head, sample=sample: head(sample))[1])

    profile, measured = measure_profile("epyc-core", minutes=minutes, log=time_heads)
    found = {
        name: {"predicted_s": profile.model_s(layers), "measured_s": statistics.median(seconds[name])}
        for name, _, _, layers in timed
    }
    busy = profile.machine["others_busy_cores"]
    print(json.dumps({"layers": len(measured), "busy": busy, "errors": profile.errors, "heads": found}))
    if out is not None:
        Path(out).write_text(profile.to_text())


if __name__ == "__main__":
    if not os.environ.keys() >= MALLOC.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **MALLOC})
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0, *sys.argv[2:])
