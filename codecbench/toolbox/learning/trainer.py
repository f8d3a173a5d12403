"""The training loop of learned codecs: seeded, resumable, limited in time, with early stopping on held-out samples.

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codecbench.codec import FitData
from codecbench.toolbox.learning.batches import _augmented, as_tensors

WARM_UP_STEPS = 50
LEAST_RATE = 0.02
MOST_GRADIENT = 5.0
SAVE_EVERY = 0.05
"""Share of the training after which it is saved, at the end of a pass or within one."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. The rate falls from `rate` along half a cosine (Loshchilov and Hutter 2017).

    `samples` are how many training samples are seen in all, in batches of `batch`. Training ends sooner where
    `data.remaining_s()` says so, and the rate then falls as fast, so that what is there is always finished. It ends as
    well where `patience` looks at the held-out samples in a row, one each `SAVE_EVERY`, found nothing better.
    """

    samples: int
    batch: int = 32
    rate: float = 1e-3
    patience: int = 8
    betas: tuple[float, float] = (0.9, 0.98)


@dataclass(frozen=True)
class Scores:
    """What a look at the held-out samples found: the loss, the lower the better, and a text for the progress bar."""

    loss: float
    text: str


class Lesson(ABC):
    """What is trained: a network, its loss, and how to tell how good it is."""

    network: nn.Module

    @abstractmethod
    def loss(self, xs: Tensor, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """The loss of a batch of activations (n, *shape), and figures to show. Draws from `generator` only."""

    @abstractmethod
    def look(self, batches: Iterator[Tensor]) -> Scores:
        """How the network does on held-out batches as it would be used."""

    def rate_factor(self, name: str) -> float:
        """What the learning rate of a parameter is multiplied by."""
        return 1.0

    def advance(self, share: float) -> bool:
        """Told before each step how much of the training is done. True where another loss begins, or another network.

        What was best before no longer counts then, and the optimiser warms up anew: what it knows of the gradients
        before would make its first steps destroy what has been learned.
        """
        return False


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1) on these tensors, in place, with a rate for each step.

    torch's own looks for a temporary folder when it is first used, which no codec may.
    """

    def __init__(self, tensors: Sequence[Tensor], betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self._tensors = list(tensors)
        self._betas = betas
        self.reset()

    def reset(self) -> None:
        """Forget all gradients."""
        self.means = [torch.zeros_like(x) for x in self._tensors]
        self.squares = [torch.zeros_like(x) for x in self._tensors]
        self.steps = 0

    def step(self, gradients: Sequence[Tensor], rates: float | Sequence[float]) -> None:
        """One step down the gradients, at one rate or one for each tensor."""
        gradients = list(gradients)
        rates = [rates] * len(gradients) if isinstance(rates, float) else rates
        first, second = self._betas
        self.steps += 1
        with torch.no_grad():
            torch._foreach_lerp_(self.means, gradients, 1 - first)
            torch._foreach_mul_(self.squares, second)
            torch._foreach_addcmul_(self.squares, gradients, gradients, 1 - second)
            scales = torch._foreach_div(self.squares, 1 - second**self.steps)
            torch._foreach_sqrt_(scales)
            torch._foreach_add_(scales, 1e-8)
            torch._foreach_addcdiv_(self._tensors, self.means, scales, [-r / (1 - first**self.steps) for r in rates])


def train(lesson: Lesson, data: FitData, schedule: Schedule) -> None:
    """Train the lesson's network on the training data, and leave it with the best weights that a look found.

    Deterministic for a seed on one machine and thread count, unless time ends it. Where `data.saved` holds an
    interrupted training of the same network, that goes on.
    """
    run = _Run(lesson, data, schedule)
    run.resume()
    run.go()


class _Run:
    def __init__(self, lesson: Lesson, data: FitData, schedule: Schedule) -> None:
        self.lesson, self.data, self.schedule = lesson, data, schedule
        network = lesson.network
        self.named = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self.factors = [lesson.rate_factor(name) for name in self.named]
        self.adam = Adam(list(self.named.values()), schedule.betas)
        self.generator = torch.Generator().manual_seed(data.seed)
        self.steps = max(1, math.ceil(schedule.samples / schedule.batch))
        self.step = self.passes = self.at = 0
        self.best: dict[str, Tensor] = {}
        self.best_loss, self.looks_since, self.next_look = math.inf, 0, SAVE_EVERY

    # --- the loop -----------------------------------------------------------------------------------------------

    def go(self) -> None:
        shown: dict[str, float] = {}
        if self.data.start is not None and not self.step:
            self._look(0.0)  # what is never found better than the start is the start
        while self.step < self.steps:
            batches = self.data.batches(self.schedule.batch)
            skipped, self.at = self.at, 0
            for xs in as_tensors(batches):
                self.at += 1
                if self.at <= skipped:
                    continue
                share = self._share()
                if share >= 1 or self.step >= self.steps:
                    self._finish()
                    return
                if self.lesson.advance(share):
                    self.best, self.best_loss, self.looks_since = {}, math.inf, 0
                    self.adam.reset()
                figures = self._one(xs, share)
                for name, value in figures.items():
                    shown[name] = shown.get(name, value) * 0.98 + value * 0.02
                if self.step % 20 == 0:
                    self.data.progress(share, ", ".join(f"{name} {value:.3g}" for name, value in shown.items()))
                if share >= self.next_look and self._look_says_stop(share):
                    self._finish(look=False)
                    return
            self.passes, self.at = self.passes + 1, 0
        self._finish()

    def _share(self) -> float:
        """How much of the training is done: by samples or by time, whichever is further."""
        by_time = 1 - self.data.remaining_s() / self.data.max_s if self.data.max_s > 0 else 1.0
        return max(self.step / self.steps, by_time)

    def _one(self, xs: Tensor, share: float) -> dict[str, float]:
        if self.data.spec.image:
            xs = _augmented(xs, self.generator)
        loss, figures = self.lesson.loss(xs.to(self.data.torch_device), self.generator)
        # What the loss does not reach, a decoder without residual blocks say, has no gradient.
        gradients = torch.autograd.grad(loss, list(self.named.values()), allow_unused=True, materialize_grads=True)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        self.step += 1
        if not torch.isfinite(norm):  # one bad batch must not undo the rest
            return {}
        clipped = torch._foreach_mul(gradients, float((MOST_GRADIENT / (norm + 1e-6)).clamp(max=1.0)))
        warm = min(1.0, (self.adam.steps + 1) / WARM_UP_STEPS)
        cosine = LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * min(1.0, share))) / 2
        rate = self.schedule.rate * warm * cosine
        self.adam.step(clipped, [rate * factor for factor in self.factors])
        return {"loss": float(loss.detach()), **figures}

    def _look_says_stop(self, share: float) -> bool:
        self.next_look = share + SAVE_EVERY
        self._look(share)
        self.data.save(self._saved())
        return self.looks_since >= self.schedule.patience

    def _look(self, share: float) -> None:
        network = self.lesson.network
        network.eval()
        with torch.no_grad():
            scores = self.lesson.look(as_tensors(self.data.held_out(64)))
        network.train()
        self.data.progress(share, f"held out: {scores.text}")
        if scores.loss < self.best_loss:
            self.best_loss, self.looks_since = scores.loss, 0
            self.best = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        else:
            self.looks_since += 1

    def _finish(self, look: bool = True) -> None:
        if look:
            self._look(1.0)
        if self.best:
            self.lesson.network.load_state_dict(self.best)
        self.lesson.network.eval()

    # --- saving -------------------------------------------------------------------------------------------------

    def _saved(self) -> bytes:
        from safetensors.torch import save

        tensors = {f"now.{name}": tensor for name, tensor in self.lesson.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for name, mean, square in zip(self.named, self.adam.means, self.adam.squares, strict=True):
            tensors |= {f"mean.{name}": mean, f"square.{name}": square}
        numbers = [
            self.step, self.passes, self.at, self.best_loss, self.looks_since, self.next_look, self.adam.steps,
        ]  # fmt: skip
        tensors["numbers"] = torch.tensor(numbers, dtype=torch.float64)
        tensors["generator"] = self.generator.get_state()
        return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})

    def resume(self) -> None:
        """Go on from what was saved; start afresh where that is none of this network's."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        if self.data.saved is None:
            return
        try:
            tensors = load(self.data.saved)
            part = {
                kind: {name.partition(".")[2]: t for name, t in tensors.items() if name.startswith(f"{kind}.")}
                for kind in ("now", "best", "mean", "square")
            }
            numbers, generator = tensors["numbers"].tolist(), tensors["generator"]
        except (SafetensorError, KeyError):
            return
        network = self.lesson.network
        all_shapes, trained_shapes = _shapes(network.state_dict()), _shapes(self.named)
        if (
            _shapes(part["now"]) != all_shapes
            or (part["best"] and _shapes(part["best"]) != all_shapes)
            or any(_shapes(part[kind]) != trained_shapes for kind in ("mean", "square"))
            or generator.shape != self.generator.get_state().shape
            or len(numbers) != 7
        ):
            return
        network.load_state_dict(part["now"])
        means, squares = ([part[kind][name] for name in self.named] for kind in ("mean", "square"))
        self.step, self.passes, self.at = (int(n) for n in numbers[:3])
        self.best_loss, self.looks_since = numbers[3], int(numbers[4])
        # A training that ends by time has a clock of its own, which may be behind that of the interrupted one.
        self.next_look = min(numbers[5], self._share() + SAVE_EVERY)
        self.best, self.adam.steps = part["best"], int(numbers[6])
        self.adam.means, self.adam.squares = means, squares
        self.generator.set_state(generator)
        for _ in range(self.passes):  # each call is a pass of its own order
            self.data.batches(self.schedule.batch)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def named_scores(loss: float, figures: Mapping[str, float]) -> Scores:
    """Scores with their figures as text."""
    return Scores(loss, ", ".join(f"{name} {value:.3g}" for name, value in figures.items()))
