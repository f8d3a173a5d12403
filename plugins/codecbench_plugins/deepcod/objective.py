"""Training of `deepcod`: the networks and their loss, and the context model of its prior.

Importing this module imports torch, so the codec imports it inside methods.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codecbench import FitData, Side
from codecbench.toolbox.coding import ContextPrior, Prior
from codecbench.toolbox.learning import (
    Geometry,
    IntegerTransform,
    Objective,
    ScaleContext,
    State,
    TailOutput,
    Teacher,
    ValidationResult,
    as_tensors,
    batch_size,
    halved,
    laplace_bits,
)
from codecbench_plugins.deepcod.coding import SymbolPrior
from codecbench_plugins.deepcod.network import Model, clipped_gradient, decoder_for

TENSOR_WEIGHT, ORTHOGONALITY_WEIGHT, MAX_TASK_GRADIENT = 10.0, 1e-4, 1.0
SHARE_TENSOR = 0.4
"""The share of the training in which only the tensor's error counts. The tail's output for the noise of an untrained
decoder gives no useful gradient and costs most of a step."""

TEMPERATURE = 0.25
"""The temperature of the soft assignment, in squared distances between neighbouring centres at the start."""

STATISTICS_SAMPLES, STATISTICS_BLOCKS = 1000, 32_000
CONTEXT_STEPS, CONTEXT_RATE, CONTEXT_SYMBOLS = 200, 0.02, 200_000

GeometryOf: TypeAlias = Callable[[Sequence[int]], Geometry]
"""Returns the geometry of samples of a shape, to which a first axis of one channel is added."""


class DeepcodObjective(Objective):
    """The networks of a fit and their loss.

    If `start` holds states, the decoder's weights that fit are taken from them. With the same number of latents, the
    measurement and the centres are taken as well; the number of centres may differ.
    """

    def __init__(
        self, data: FitData, geometry_of: GeometryOf, latents: int, levels: int, start: Mapping[Side, State]
    ) -> None:
        self._data, self._geometry_of = data, geometry_of
        geometry = geometry_of(data.spec.max_shape)
        mean, deviation, low, high, covariance = _statistics(data, geometry_of)
        if data.spec.image:  # pixels are scaled to [-1, 1]
            mean, deviation, low, high = torch.full_like(mean, 0.5), torch.tensor(0.5), 0.0, 1.0
        # The range of features is about twenty deviations; relative to it, their errors would hardly count.
        self._limits, self._half = (low, high), 0.5 if data.spec.image else 2 * float(deviation) or 1.0
        self._tensor_alone, self._share_tensor = False, SHARE_TENSOR
        energies, axes = torch.linalg.eigh(covariance)
        leading, energy = axes[:, -latents:], energies[-latents:].mean().clamp(min=0).sqrt().float()
        gain = deviation / energy if float(energy) > 1e-6 * float(deviation) else torch.tensor(1.0)
        reach = math.sqrt(2 * math.log(levels))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(data.seed)
            rotation = torch.nn.init.orthogonal_(torch.empty(latents, latents)).double()
            decoder = decoder_for(geometry, latents, mean, deviation, bounded=data.spec.image)
            directions, centres = (rotation @ leading.T).float(), torch.linspace(-reach, reach, levels)
            if start:
                weights = {name.removeprefix("network."): tensor for name, tensor in start["edge"].tensors.items()}
                decoder.start_at(weights)
                before = IntegerTransform.from_tensors(start["device"].tensors).matrix()
                if before.shape == directions.shape:
                    directions, centres = before * (deviation / gain), _between(weights["centres"], levels)
                    self._share_tensor = 0.0  # the whole network is trained already
            self.model = Model(
                directions, mean.repeat_interleave(math.prod(geometry.block)), deviation, gain, centres,
                TEMPERATURE * (2 * reach / (levels - 1)) ** 2, decoder,
            )  # fmt: skip
        self.network = self.model.to(data.torch_device)
        self._teacher = Teacher(data.tail)
        self._max_magnitude = max(abs(low), abs(high))

    def loss(self, xs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the squared errors of the tensor and of the tail's output, plus the orthogonality penalty."""
        if len(xs) == 1 and math.prod(self._geometry_of(xs.shape[1:]).grid) == 1:
            # Batch normalisation has no variance for a single value.
            xs = torch.cat([xs, xs])
        if self._tensor_alone:
            tensor = ((self._decoded(xs) - xs) / self._half).square().mean()
            penalty = self.model.penalty()
            loss = TENSOR_WEIGHT * tensor + ORTHOGONALITY_WEIGHT * penalty
            return loss, {"tensor": float(tensor.detach()), "penalty": float(penalty.detach())}
        tensor, task = self._errors(xs)
        penalty = self.model.penalty()
        loss = TENSOR_WEIGHT * tensor + task + ORTHOGONALITY_WEIGHT * penalty
        figures = {"tensor": tensor, "task": task, "penalty": penalty}
        return loss, {name: float(value.detach()) for name, value in figures.items()}

    def advance(self, share: float) -> bool:
        """Return True when the task's error starts to count."""
        before, self._tensor_alone = self._tensor_alone, share < self._share_tensor
        return before and not self._tensor_alone

    def validate(self, batches: Iterator[Tensor]) -> ValidationResult:
        """Return the errors, without the penalty."""
        count, tensor, task = 0, 0.0, 0.0
        for xs in batches:
            errors = self._errors(xs.to(self._data.torch_device))
            tensor, task = tensor + float(errors[0]) * len(xs), task + float(errors[1]) * len(xs)
            count += len(xs)
        count = max(1, count)
        figures = {"tensor": tensor / count, "task": task / count}
        return ValidationResult.of(TENSOR_WEIGHT * tensor / count + task / count, figures)

    def _errors(self, xs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean squared error of the tensor scaled to [-1, 1], and that of the tail's output."""
        decoded = self._decoded(xs)
        with torch.no_grad():
            target = self._teacher(xs)
        # The gradient is clipped where it enters the scaled reconstruction.
        predicted = self._teacher(clipped_gradient(decoded / self._half, MAX_TASK_GRADIENT) * self._half)
        return ((decoded - xs) / self._half).square().mean(), _task_error(predicted, target)

    def _decoded(self, xs: Tensor) -> Tensor:
        geometry = self._geometry_of(xs.shape[1:])
        components = self.model.components(geometry.blocks(geometry.planes(xs[:, None])))
        grid = geometry.to_grid(self.model.quantised(components))
        return geometry.samples(self.model.decoder(grid))[:, 0].clamp(*self._limits)

    def states(self) -> dict[Side, State]:
        """Return the states of both sides, without a prior and without the networks' sizes."""
        model = self.model.cpu().eval()
        transform = IntegerTransform.of(model.folded(), model.mean, self._data.spec, self._max_magnitude)
        centres = model.centres.detach().sort().values
        thresholds = (centres[1:].double() + centres[:-1].double()) / 2
        limits = torch.tensor(self._limits, dtype=torch.float64)
        return {
            "device": State({}, {"thresholds": thresholds, **transform.tensors()}),
            "edge": State({}, {"centres": centres, "limits": limits, **halved(model.decoder.fix_norm())}),
        }


def _between(centres: Tensor, levels: int) -> Tensor:
    """Return `levels` centres from the first to the last of these, with the same density."""
    positions = np.linspace(0, len(centres) - 1, levels)
    return torch.from_numpy(np.interp(positions, np.arange(len(centres)), centres.numpy())).float()


def learned_prior(
    symbols: Sequence[NDArray[np.int32]], held_out: Sequence[NDArray[np.int32]], levels: int, seed: int
) -> SymbolPrior:
    """Return the prior of training symbols, each (latents, height, width).

    It has contexts if these make held-out symbols smaller.
    """
    rows = np.concatenate([sample.reshape(len(sample), -1) for sample in symbols], 1)
    counts = np.stack([np.bincount(row, minlength=levels) for row in rows])
    commonest = counts.argmax(1).astype(np.int32)
    tables = Prior.from_counts([-int(symbol) for symbol in commonest], list(counts + 0.25))
    plain = SymbolPrior(tables, commonest, levels)
    contexts = context_prior([sample - commonest[:, None, None] for sample in symbols], levels, seed)
    with_contexts = SymbolPrior(contexts, commonest, levels)
    sizes = [sum(prior.bound_bytes(sample) for sample in held_out) for prior in (plain, with_contexts)]
    return with_contexts if sizes[1] < sizes[0] else plain


def context_prior(symbols: Sequence[NDArray[np.int32]], levels: int, seed: int) -> ContextPrior:
    """Return a prior whose contexts are learned from symbols, each (latents, height, width), by Laplace distributions.

    Its tables reach to twice `levels`, which holds every symbol for any mean within the range of symbols.
    """
    rows = np.concatenate([sample.reshape(len(sample), -1) for sample in symbols], 1)
    context = ScaleContext(torch.from_numpy(np.sqrt(np.square(rows).mean(1))).float())
    optimizer = torch.optim.Adam(context.parameters())
    rng = np.random.default_rng(seed)
    by_shape: dict[tuple[int, ...], list[NDArray[np.int32]]] = {}
    for sample in symbols:
        by_shape.setdefault(sample.shape, []).append(sample)
    groups = list(by_shape.values())
    for step in range(CONTEXT_STEPS):
        group = groups[step % len(groups)]
        size = max(1, min(len(group), 64, CONTEXT_SYMBOLS // group[0].size))
        picked = rng.choice(len(group), size, replace=False)
        grid = torch.from_numpy(np.stack([group[i] for i in picked])).float()
        bits = laplace_bits(grid, context(grid)).mean()
        optimizer.param_groups[0]["lr"] = CONTEXT_RATE * (1 - step / CONTEXT_STEPS)
        optimizer.zero_grad()
        bits.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return ContextPrior.fitted(context.weights().numpy(), symbols, min_reach=2 * levels)


def _task_error(predicted: TailOutput, target: TailOutput) -> Tensor:
    """Return the squared error of outputs, plus that of features relative to their mean square."""
    total = torch.zeros(())
    for a, b in zip(predicted.outputs, target.outputs, strict=True):
        total = total + (a - b).square().mean()
    for a, b in zip(predicted.features, target.features, strict=True):
        total = total + (a - b).square().mean() / b.square().mean().clamp(min=1e-12)
    return total


def _statistics(data: FitData, geometry_of: GeometryOf) -> tuple[Tensor, Tensor, float, float, Tensor]:
    """Return mean by channel, overall deviation, lowest and highest value, and the covariance of blocks."""
    geometry = geometry_of(data.spec.max_shape)
    values, area = geometry.values, math.prod(geometry.block)
    total, products = torch.zeros(values).double(), torch.zeros(values, values).double()
    count, seen, low, high = 0, 0, math.inf, -math.inf
    for xs in as_tensors(data.batches(batch_size(data.spec, 50))):
        geometry = geometry_of(xs.shape[1:])
        planes = geometry.planes(xs.cpu()[:, None])
        # Take every n-th block, with n odd, so that blocks of all columns are included.
        every = -(-math.prod(geometry.grid) * STATISTICS_SAMPLES // STATISTICS_BLOCKS) | 1
        blocks = geometry.blocks(planes).flatten(0, 1)[::every].double()
        total += blocks.sum(0)
        products += blocks.T @ blocks
        low, high = min(low, float(xs.min())), max(high, float(xs.max()))
        count, seen = count + len(blocks), seen + len(xs)
        if seen >= STATISTICS_SAMPLES:
            break
    if not count:  # all samples are of length zero
        return torch.zeros(values // area), torch.tensor(1.0), 0.0, 1.0, torch.eye(values).double()
    by_channel = (total / count).reshape(-1, area).mean(1)
    mean = by_channel.repeat_interleave(area)
    mixed = torch.outer(total / count, mean)
    covariance = products / count - mixed - mixed.T + torch.outer(mean, mean)
    deviation = covariance.trace().clamp(min=0).div(values).sqrt().float()
    return by_channel.float(), deviation if float(deviation) > 0 else torch.tensor(1.0), low, high, covariance
