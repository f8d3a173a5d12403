"""A detector as a torch module, made of its steps. Imports torch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from codecbench_datasets.coco.form import Detector, Step

LAYERS: Mapping[str, Callable[..., nn.Module]] = {
    "conv": nn.Conv2d, "silu": nn.SiLU, "sigmoid": nn.Sigmoid, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU,
    "max_pool": nn.MaxPool2d, "upsample": nn.Upsample,
}  # fmt: skip
"""The kinds of steps that are modules, made of their settings."""

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": operator.add,
    "mul": operator.mul,
    "concat": lambda *values, axis: torch.cat(values, axis),
    "slice": lambda x, slices: x[tuple(slice(*each) for each in slices)],
    "reshape": lambda x, shape: x.reshape(x.shape[0], *shape),
    "permute": lambda x, axes: x.permute(axes),
}
"""The kinds of steps that are functions of values and settings."""


GATE = "gate"
"""The name of the last part, behind the detector's own output."""


class Part(nn.Module):
    """Steps of which the first takes the part's input, and the last gives its output."""

    def __init__(self, start: str, steps: Sequence[Step]) -> None:
        super().__init__()
        self.start, self.steps = start, tuple(steps)
        for step in steps:
            if step.kind in LAYERS:
                self.add_module(step.name, LAYERS[step.kind](**step.settings))

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last step."""
        return self.values(x)[self.steps[-1].output]

    def values(self, x: Tensor) -> dict[str, Tensor]:
        """Return the value of every step by its name."""
        values = {self.start: x}
        for step in self.steps:
            inputs = [values[name] for name in step.inputs]
            values[step.output] = (
                self.get_submodule(step.name)(*inputs) if step.kind in LAYERS
                else FUNCTIONS[step.kind](*inputs, **step.settings)
            )  # fmt: skip
        return values


class Pixels(nn.Module):
    """RGB pixels k/255 as the detector takes them."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.reverses, self.scales = form.startswith("bgr"), form.endswith("255")

    def forward(self, x: Tensor) -> Tensor:
        """Return pixels in the detector's order of channels and range."""
        x = x.flip(1) if self.reverses else x
        return x * 255.0 if self.scales else x


class Gate(nn.Module):
    """Cells as what counts of them: their boxes times the likeliest class's probability, and that of each class.

    Where there is nothing, all values are near zero whatever the box is. So what learns or weighs by outputs looks at
    objects, not at the boxes of empty cells, which are dropped when detections are decoded.
    """

    def forward(self, cells: Tensor) -> Tensor:
        """Return (N, cells, 4 + classes) for (N, cells, 5 + classes)."""
        scores = cells[..., 4:5] * cells[..., 5:]
        return torch.cat([cells[..., :4] * scores.amax(-1, keepdim=True), scores], -1)


def network(detector: Detector) -> nn.Module:
    """Return the module of a detector, on the device meta: (N, 3, height, width) pixels to (N, cells, 4 + classes)."""
    parts: dict[str, nn.Module] = {"pixels": Pixels(detector.form)}
    start = detector.steps[0].inputs[0]
    with torch.device("meta"):
        for name, group in groupby(detector.steps, lambda step: step.part):
            steps = list(group)
            parts[name] = Part(start, steps)
            start = steps[-1].output
    parts[GATE] = Gate()
    found = nn.Sequential()
    for name, part in parts.items():
        found.add_module(name, part)
    return found
