"""Training of an encoder, its rate and a decoder for what the frozen tail makes of the tensor.

The loss of a batch is the distance of the tail's answers (`codecbench.toolbox.learning.teacher`), plus the rate times
an exchange rate, plus a little squared error. The rate is that of noisy latents (Balle, Laparra and Simoncelli 2017,
section 3) under Laplace distributions whose scales follow from the magnitudes sent before
(`codecbench.toolbox.learning.rates.ScaleContext`).

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
from codecbench.toolbox.learning.batches import as_tensors
from codecbench.toolbox.learning.geometry import Geometry
from codecbench.toolbox.learning.rates import ScaleContext, laplace_bits, quantise, straight_through, with_noise
from codecbench.toolbox.learning.start import Start
from codecbench.toolbox.learning.teacher import Answer, Teacher, distance
from codecbench.toolbox.learning.trainer import Lesson, Scores, named_scores

PICTURE_WEIGHT = 0.05
"""Of the squared error, in units of the variance: it keeps pictures pictures, and matters little to the tail."""

COPY_RATE = 0.4
"""Of the learning rate, for the weights of a copy of the tail."""

SHARE_ALONE = 0.4
"""Of the training, in which a copy of the tail within the decoder is trained without the rest of it."""

SYMBOL_SAMPLES = 8000
"""Training samples whose symbols make the tables of the prior."""


_FACTOR = 1.1


class Network(nn.Module):
    """What is trained: an encoder and a decoder, both called with a geometry, and the context of scales between."""

    encoder: Any
    context: ScaleContext
    decoder: Any

    def __init__(self, encoder: nn.Module, context: ScaleContext, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.context, self.decoder = encoder, context, decoder


class TaskLesson(Lesson):
    """The loss above for a network; `exchange` is what a bit is worth."""

    network: Network

    def __init__(self, data: FitData, start: Start, network: Network, teacher: Teacher, exchange: float) -> None:
        self.data, self.start, self.network, self.teacher = data, start, network, teacher
        self.exchange = exchange
        self.share_alone = SHARE_ALONE
        self.alone = False
        network.to(data.torch_device)

    def loss(self, xs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Distance, rate at the exchange rate, and PICTURE_WEIGHT of the squared error.

        Where the decoder has a copy of the tail, that is trained first, with the encoder and the transform, for its own
        answers: this costs half as much. Then all is trained, and the copy's answers are half of the distance.
        """
        geometry = self._geometry(xs)
        latents = self.network.encoder(xs, geometry)
        noisy = with_noise(latents, generator)
        bits = laplace_bits(noisy, self.network.context(noisy)).sum() / len(xs)
        grid = straight_through(latents)
        with torch.no_grad():
            wanted = self.teacher(xs)
        if self.alone:
            far = _apart(self.network.decoder.answered(grid, geometry), wanted)
            return far + self.exchange * bits, {
                "copy's distance": float(far.detach()),
                "bytes": float(bits.detach()) / 8,
            }
        decoded = self.decoded(grid, geometry)
        far = distance(self.teacher(decoded), wanted)
        loss = far
        if self._has_copy:
            loss = (far + _apart(self.network.decoder.answer, wanted)) / 2
        loss = loss + self.exchange * bits
        if not geometry.whole:
            loss = loss + PICTURE_WEIGHT * (decoded - xs).square().mean() / xs.var().clamp(min=1e-12)
        return loss, {"distance": float(far.detach()), "bytes": float(bits.detach()) / 8}

    @property
    def _has_copy(self) -> bool:
        return getattr(self.network.decoder, "tail", None) is not None

    def use(self, network: Network) -> None:
        """Train this network, which is trained already, in place of the first; all of it from the beginning."""
        self.network, self.share_alone = network.to(self.data.torch_device), 0.0

    def rate_factor(self, name: str) -> float:
        """A copy of the tail is trained already and takes smaller steps."""
        return COPY_RATE if ".tail." in name else 1.0

    def advance(self, share: float) -> bool:
        """Whether the copy of the tail is no longer alone from now on."""
        before, self.alone = self.alone, self._has_copy and share < self.share_alone
        return before and not self.alone

    def decoded(self, grid: Tensor, geometry: Geometry) -> Tensor:
        """Samples of a grid of symbols."""
        decoded: Tensor = self.network.decoder(grid, geometry)
        return decoded.clamp(*self.start.limits)

    def look(self, batches: Iterator[Tensor]) -> Scores:
        """Distance and rate of whole symbols."""
        if self.alone:
            return self._look_alone(batches)
        found = self._measured(batches)
        figures = {
            "distance": found.distance, "bytes": found.bits / 8, "same answer %": found.agreed_percent,
            "a byte's worth": 8 * self.exchange,
        }  # fmt: skip
        return named_scores(found.distance + self.exchange * found.bits, figures)

    def _look_alone(self, batches: Iterator[Tensor]) -> Scores:
        count, far, bits, agreed = 0, 0.0, 0.0, 0.0
        for batch in batches:
            xs, geometry = batch.to(self.data.torch_device), self._geometry(batch)
            symbols = quantise(self.network.encoder(xs, geometry))
            bits += float(laplace_bits(symbols, self.network.context(symbols)).sum())
            answer, wanted = self.network.decoder.answered(symbols, geometry), self.teacher(xs)
            far += float(_apart(answer, wanted)) * len(xs)
            agreed += float((answer.argmax(-1) == wanted.outputs[0].argmax(-1)).float().mean()) * len(xs)
            count += len(xs)
        figures = {"copy's distance": far / count, "bytes": bits / count / 8, "same answer %": 100 * agreed / count}
        return named_scores((far + self.exchange * bits) / count, figures)

    def slope(self) -> float:
        """How much distance a bit saves on the held-out samples, when all steps are made a tenth finer or coarser."""
        finer, coarser = (self._measured(as_tensors(self.data.held_out(64)), f) for f in (_FACTOR, 1 / _FACTOR))
        slope = (coarser.distance - finer.distance) / max(finer.bits - coarser.bits, 1e-9)
        return min(max(slope, 1e-6), 1.0)

    def _measured(self, batches: Iterator[Tensor], factor: float = 1.0) -> _Measured:
        count, far, bits, agreed = 0, 0.0, 0.0, 0.0
        with torch.no_grad():
            for batch in batches:
                xs, geometry = batch.to(self.data.torch_device), self._geometry(batch)
                symbols = quantise(self.network.encoder(xs, geometry) * factor)
                scales = self.network.context(symbols / factor) * factor
                bits += float(laplace_bits(symbols, scales).sum())
                given, wanted = self.teacher(self.decoded(symbols / factor, geometry)), self.teacher(xs)
                far += float(distance(given, wanted)) * len(xs)
                if given.outputs:
                    same = given.outputs[0].argmax(-1) == wanted.outputs[0].argmax(-1)
                    agreed += float(same.float().mean()) * len(xs)
                count += len(xs)
        count = max(1, count)
        return _Measured(far / count, bits / count, 100 * agreed / count)

    def prior(self, symbols: Callable[[Tensor, Geometry], Tensor]) -> ContextPrior:
        """The prior of training samples' symbols, which the function gives of a batch as a grid, as a device does."""
        gathered: list[NDArray[np.int32]] = []
        for xs in as_tensors(self.data.batches(100)):
            gathered += list(symbols(xs.cpu(), self._geometry(xs)).numpy().astype(np.int32))
            if len(gathered) >= SYMBOL_SAMPLES:
                break
        return ContextPrior.fitted(self.network.context.weights().cpu().numpy(), gathered)

    def _geometry(self, xs: Tensor) -> Geometry:
        return Geometry(self.start.tiling, xs.shape[1:])


@dataclass(frozen=True)
class _Measured:
    """Means over samples; `agreed_percent` is of samples whose greatest output is that of the true tensor."""

    distance: float
    bits: float
    agreed_percent: float


def _apart(answer: Tensor, wanted: Answer) -> Tensor:
    """The distance of outputs alone."""
    return distance(Answer([], [answer]), Answer([], wanted.outputs[:1]))
