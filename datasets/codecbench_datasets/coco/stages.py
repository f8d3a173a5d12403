"""The parts of a detector: its backbone's stages, as far as one tensor crosses alone, and the rest. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from codecbench_datasets.coco.form import Step
from codecbench_datasets.coco.network import Part

STAGES = {2: "stem", 4: "dark2", 8: "dark3", 16: "dark4", 32: "dark5"}
"""The names that YOLOX gives the stages of its backbone, by the shares of the picture's side that they end with."""
REST = "rest"
DOWN = "down"
"""The first activation of a stage, behind its convolution of stride 2: the narrowest place of a small detector."""
ACTIVATIONS = ("silu", "relu", "leaky_relu")


def staged(steps: Sequence[Step], size: tuple[int, int]) -> list[Step]:
    """Return the steps with the part that each belongs to.

    A stage ends where, of all places at which one tensor crosses alone, the last of its share of the side lies.
    """
    with torch.device("meta"):
        values = Part(steps[0].inputs[0], steps).values(torch.empty(1, 3, *size))
    shares = {step.output: _share(values[step.output].shape, size[0]) for step in steps}
    alone = _alone(steps)
    ends = {share: at for at in alone if (share := shares[steps[at].output]) in STAGES}
    found, start = list(steps), 0
    for share, end in sorted(ends.items(), key=lambda each: each[1]):
        found[start : end + 1] = [replace(step, part=STAGES[share]) for step in found[start : end + 1]]
        down = next((at for at in alone if start <= at < end and steps[at].kind in ACTIVATIONS), None)
        if down is not None and shares[steps[down].output] == share and share != min(ends):
            found[down] = replace(found[down], name=DOWN)
        start = end + 1
    return found[:start] + [replace(step, part=REST) for step in found[start:]]


def _share(shape: Sequence[int], height: int) -> int:
    """Return by how much a map of features is smaller than the picture; 0 for another tensor."""
    return height // shape[2] if len(shape) == 4 and shape[2] and height % shape[2] == 0 else 0


def _alone(steps: Sequence[Step]) -> list[int]:
    """Return the positions of steps behind which their output alone is still needed."""
    last: Mapping[str, int] = {name: at for at, step in enumerate(steps) for name in step.inputs}
    found, live = [], {steps[0].inputs[0]}
    for at, step in enumerate(steps[:-1]):
        live = {name for name in (*live, step.output) if last[name] > at}
        if live == {step.output}:
            found.append(at)
    return found
