"""Training of encoder, rate model and decoder for the output of the frozen tail.

The loss of a batch is the loss of the tail's features and outputs (`codecbench.toolbox.learning.teacher`), plus the
rate in bits times a rate weight (the Lagrange multiplier), plus a small weight of squared error. The rate is that of
latents with uniform noise (Balle, Laparra and Simoncelli 2017, section 3) under Laplace distributions, whose scales are
predicted from the magnitudes sent before (`codecbench.toolbox.learning.rates.ScaleContext`).

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codecbench.codec import FitData
from codecbench.toolbox.coding.context_prior import ContextPrior
from codecbench.toolbox.learning.batches import as_tensors, batch_size
from codecbench.toolbox.learning.geometry import Geometry
from codecbench.toolbox.learning.rates import (
    ScaleContext,
    laplace_bits,
    quantise_dead_zone,
    straight_through,
    with_noise,
)
from codecbench.toolbox.learning.start import Start
from codecbench.toolbox.learning.synthesis import SynthesisNetwork
from codecbench.toolbox.learning.tail_copy import TailCopy
from codecbench.toolbox.learning.teacher import Teacher, output_loss, tail_loss
from codecbench.toolbox.learning.trainer import Objective, ValidationResult

PICTURE_WEIGHT = 0.05
"""The weight of the squared error in units of the variance. It keeps reconstructions close to the samples and hardly
affects the tail."""

COPY_RATE = 0.4
"""The learning rate of a copy of the tail, as a share of the other weights' rate."""

SHARE_ALONE = 0.4
"""The share of the training in which the decoder's copy of the tail is trained without the decoder's
residual network."""

SYMBOL_SAMPLES = 8000
"""The number of training samples whose symbols make the tables of the prior."""

_SLOPE_STEP = 1.1


class Network(nn.Module):
    """An encoder, a decoder, and the scale context between them; both networks are called with a geometry.

    The decoder returns samples, and the output of its copy of the tail or None.
    """

    encoder: Any
    context: ScaleContext
    decoder: Any

    def __init__(self, encoder: nn.Module, context: ScaleContext, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.context, self.decoder = encoder, context, decoder


class TaskObjective(Objective):
    """The task's part of an objective: a decoder trained so that the frozen tail gives what it gave for the original.

    A subclass defines `loss` and `validate`, by `task_loss` and `held_out_means`. If the decoder has a copy of the
    tail, that copy is trained alone in the first `share_alone` of the training. Decoded samples are clamped to
    `limits`.
    """

    def __init__(self, data: FitData, network: nn.Module, teacher: Teacher, limits: tuple[float, float]) -> None:
        self.data, self.teacher, self.limits = data, teacher, limits
        self.network = network.to(data.torch_device)
        self.share_alone = SHARE_ALONE
        self.copy_alone = False

    @property
    def decoder(self) -> Any:
        """The network's `decoder`: it is called with a grid and a geometry, and returns as in `Network`."""
        return self.network.decoder

    def task_loss(self, grid: Tensor, geometry: Geometry, xs: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the tail loss for the samples decoded from a grid, plus PICTURE_WEIGHT of the squared error.

        If the decoder has a copy of the tail, first the loss is that of the copy's output alone, which halves the cost
        of a step. Then the loss of the copy's output counts as half of the tail loss.
        """
        with torch.no_grad():
            target = self.teacher(xs)
        if self.copy_alone:
            task = output_loss(self.decoder.tail_output(grid, geometry), target)
            return task, {"copy's loss": float(task.detach())}
        decoded, copy_output = self.decoded(grid, geometry)
        task = tail_loss(self.teacher(decoded), target)
        loss = task if copy_output is None else (task + output_loss(copy_output, target)) / 2
        if not geometry.is_one_block:
            loss = loss + PICTURE_WEIGHT * (decoded - xs).square().mean() / xs.var().clamp(min=1e-12)
        return loss, {"task's loss": float(task.detach())}

    @property
    def _copy(self) -> TailCopy | None:
        return self.decoder.tail if isinstance(self.decoder, SynthesisNetwork) else None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return two groups: a copy of the tail, which is already trained, has a lower learning rate."""
        copied = list(self._copy.parameters()) if self._copy is not None else []
        known = {id(parameter) for parameter in copied}
        others = [p for p in self.network.parameters() if p.requires_grad and id(p) not in known]
        groups = [{"params": others, "rate_factor": 1.0}, {"params": copied, "rate_factor": COPY_RATE}]
        return groups if copied else groups[:1]

    def advance(self, share: float) -> bool:
        """Return True when the training of the whole network begins, after that of the copy of the tail alone."""
        before, self.copy_alone = self.copy_alone, self._copy is not None and share < self.share_alone
        return before and not self.copy_alone

    @torch.no_grad()
    def held_out_loss(self, grid: Tensor, geometry: Geometry, xs: Tensor) -> tuple[float, float]:
        """Return the loss of the tail, or of its copy trained alone, and the share of samples with the same class.

        A sample's class is the largest of the first output, which is compared with that for the original tensor.
        """
        target = self.teacher(xs)
        if self.copy_alone:
            outputs = [self.decoder.tail_output(grid, geometry)]
            loss = output_loss(outputs[0], target)
        else:
            predicted = self.teacher(self.decoded(grid, geometry)[0])
            outputs, loss = predicted.outputs, tail_loss(predicted, target)
        same = [
            (a.argmax(-1) == b.argmax(-1)).float().mean() for a, b in zip(outputs[:1], target.outputs, strict=False)
        ]
        return float(loss), float(same[0]) if same else 0.0

    @torch.no_grad()
    def held_out_means(
        self, batches: Iterator[Tensor], code: Callable[[Tensor], tuple[Tensor, Geometry, float]]
    ) -> HeldOut:
        """Return means over held-out samples; `code` returns the grid of a batch, its geometry, and its bits."""
        count, task, bits, agreed = 0, 0.0, 0.0, 0.0
        for batch in batches:
            xs = batch.to(self.data.torch_device)
            grid, geometry, batch_bits = code(xs)
            loss, same = self.held_out_loss(grid, geometry, xs)
            task, bits, agreed = task + loss * len(xs), bits + batch_bits, agreed + same * len(xs)
            count += len(xs)
        count = max(1, count)
        return HeldOut(task / count, bits / count, 100 * agreed / count)

    def decoded(self, grid: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor | None]:
        """Return the samples of a grid, and the output of the decoder's copy of the tail or None."""
        samples, copy_output = self.decoder(grid, geometry)
        return samples.clamp(*self.limits), copy_output


class RateTaskObjective(TaskObjective):
    """The loss of this module for a network; `rate_weight` is the weight of a bit."""

    network: Network

    def __init__(self, data: FitData, start: Start, network: Network, teacher: Teacher, rate_weight: float) -> None:
        super().__init__(data, network, teacher, start.limits)
        self.start = start
        self.rate_weight = rate_weight

    def loss(self, xs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the task's loss (`task_loss`) plus the weighted rate. Encoder and transform are always trained."""
        geometry = self._geometry(xs)
        latents = self.network.encoder(xs, geometry)
        noisy = with_noise(latents, generator)
        bits = laplace_bits(noisy, self.network.context(noisy)).sum() / len(xs)
        task, figures = self.task_loss(straight_through(latents), geometry, xs)
        return task + self.rate_weight * bits, {**figures, "bytes": float(bits.detach()) / 8}

    def use(self, network: Network) -> None:
        """Train this network, which is already trained, in place of the first one; all of it from the first step."""
        self.network, self.share_alone = network.to(self.data.torch_device), 0.0

    def validate(self, batches: Iterator[Tensor]) -> ValidationResult:
        """Return the loss of the task plus the weighted rate of integer symbols."""
        found = self._measured(batches)
        figures = {
            "copy's loss" if self.copy_alone else "task's loss": found.task_loss, "bytes": found.bits / 8,
            "same class %": found.agreed_percent, "a byte's worth": 8 * self.rate_weight,
        }  # fmt: skip
        return ValidationResult.of(found.task_loss + self.rate_weight * found.bits, figures)

    def slope(self) -> float:
        """Return the decrease of the tail loss for each further bit on the held-out samples, clamped to 1e-6 to 1.

        It is the difference quotient between steps a tenth finer and a tenth coarser.
        """
        count = batch_size(self.data.spec, 64)
        finer, coarser = (
            self._measured(as_tensors(self.data.held_out(count)), factor) for factor in (_SLOPE_STEP, 1 / _SLOPE_STEP)
        )
        slope = (coarser.task_loss - finer.task_loss) / max(finer.bits - coarser.bits, 1e-9)
        return min(max(slope, 1e-6), 1.0)

    def _measured(self, batches: Iterator[Tensor], factor: float = 1.0) -> HeldOut:
        def code(xs: Tensor) -> tuple[Tensor, Geometry, float]:
            geometry = self._geometry(xs)
            symbols = quantise_dead_zone(self.network.encoder(xs, geometry) * factor)
            scales = self.network.context(symbols / factor) * factor
            return symbols / factor, geometry, float(laplace_bits(symbols, scales).sum())

        return self.held_out_means(batches, code)

    def prior(self, symbols: Callable[[Tensor, Geometry], Tensor]) -> ContextPrior:
        """Return the prior of training samples' symbols.

        `symbols` turns a batch into a grid of symbols exactly as the device does.
        """
        gathered: list[NDArray[np.int32]] = []
        for xs in as_tensors(self.data.batches(batch_size(self.data.spec, 100))):
            gathered += list(symbols(xs.cpu(), self._geometry(xs)).numpy().astype(np.int32))
            if len(gathered) >= SYMBOL_SAMPLES:
                break
        return ContextPrior.fitted(self.network.context.weights().cpu().numpy(), gathered)

    def _geometry(self, xs: Tensor) -> Geometry:
        return Geometry(self.start.tiling, xs.shape[1:])


@dataclass(frozen=True)
class HeldOut:
    """Means over samples; `agreed_percent` is the share whose largest output is that of the original tensor."""

    task_loss: float
    bits: float
    agreed_percent: float
