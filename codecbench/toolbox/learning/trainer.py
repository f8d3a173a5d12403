"""The training loop of learned codecs: seeded, resumable, limited in time, with early stopping on held-out samples.

Importing this module imports torch, so a plugin imports it inside methods.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from codecbench.codec import FitData
from codecbench.toolbox.learning.batches import as_tensors, augmented

WARM_UP_STEPS = 50
MIN_RATE_SHARE = 0.02
MAX_GRADIENT_NORM = 5.0
SAVE_EVERY = 0.05
"""The share of the training after which the network is validated and saved, within an epoch or at its end."""

FORMAT = 2
"""The format of the file of an interrupted training. A file without this number holds the state of an earlier
optimiser."""


@dataclass(frozen=True)
class Schedule:
    """The length and the learning rate of a training.

    `samples` is the total number of training samples seen, in batches of `batch`. The learning rate falls from `rate`
    along half a cosine (Loshchilov and Hutter 2017). If `data.remaining_s()` ends the training earlier, the rate falls
    accordingly faster, so that the schedule is always complete. Training also stops early after `patience` validations
    in a row, one each `SAVE_EVERY`, without improvement.
    """

    samples: int
    batch: int = 32
    rate: float = 1e-3
    patience: int = 8
    betas: tuple[float, float] = (0.9, 0.98)


@dataclass(frozen=True)
class ValidationResult:
    """The loss on the held-out samples (lower is better), and a text for the progress bar."""

    loss: float
    text: str

    @classmethod
    def of(cls, loss: float, figures: Mapping[str, float]) -> ValidationResult:
        """Return a result whose text lists these figures."""
        return cls(loss, ", ".join(f"{name} {value:.3g}" for name, value in figures.items()))


class Objective(ABC):
    """A network to train, its loss, and its validation."""

    network: nn.Module
    starts_usable = False
    """True if the network is a result before it is trained: then it is kept unless the training finds a better one."""

    @abstractmethod
    def loss(self, xs: Tensor, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Return the loss of a batch of activations (n, *shape), and figures to show. Draws only from `generator`."""

    @abstractmethod
    def validate(self, batches: Iterator[Tensor]) -> ValidationResult:
        """Return the result of the network on held-out batches, quantised as in use."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters to train as `torch.optim` takes them; `rate_factor` scales a group's learning rate."""
        return [{"params": [p for p in self.network.parameters() if p.requires_grad], "rate_factor": 1.0}]

    def advance(self, share: float) -> bool:
        """Set the share of the training that is done; return True if another loss or network starts with this step.

        The trainer calls it before each step. After True, earlier best weights no longer count, and the optimiser
        restarts with a warm-up, because moments of earlier gradients would make its first steps destroy what has been
        learned.
        """
        return False


def train(objective: Objective, data: FitData, schedule: Schedule) -> None:
    """Train the objective's network on the training data, and leave it with the best weights that validation found.

    Deterministic for a seed on one machine and thread count, unless the time limit ends it. If `data.saved` holds an
    interrupted training of the same network, it is resumed; if that is not possible, training restarts and reports why.
    """
    training = _Training(objective, data, schedule)
    if data.saved is not None:
        reason = training.resume(data.saved)
        if reason:
            data.progress(0.0, f"the interrupted fit cannot be resumed ({reason}), so it starts anew")
    training.run()


class _Training:
    def __init__(self, objective: Objective, data: FitData, schedule: Schedule) -> None:
        self.objective, self.data, self.schedule = objective, data, schedule
        self._start_optimizer()
        self.generator = torch.Generator().manual_seed(data.seed)
        self.steps = max(1, math.ceil(schedule.samples / schedule.batch))
        self.step = self.passes = self.at = 0
        self.best: dict[str, Tensor] = {}
        self.best_loss, self.validations_since_best, self.next_validation = math.inf, 0, SAVE_EVERY

    def _start_optimizer(self) -> None:
        groups = self.objective.parameter_groups()
        # `foreach` works on all tensors in one call; on a CPU, torch would take them one by one.
        self.optimizer = torch.optim.Adam(groups, self.schedule.rate, self.schedule.betas, foreach=True)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.optimizer_steps = 0

    # --- the loop -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        shown: dict[str, float] = {}
        if not self.step and (self.data.start is not None or self.objective.starts_usable):
            self._validate(0.0)  # the start is kept unless something better is found
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
                if self.objective.advance(share):
                    self.best, self.best_loss, self.validations_since_best = {}, math.inf, 0
                    self._start_optimizer()
                figures = self._train_on_batch(xs, share)
                for name, value in figures.items():
                    shown[name] = shown.get(name, value) * 0.98 + value * 0.02
                if self.step % 20 == 0:
                    self.data.progress(share, ", ".join(f"{name} {value:.3g}" for name, value in shown.items()))
                if share >= self.next_validation and self._validation_says_stop(share):
                    self._finish(validate=False)
                    return
            self.passes, self.at = self.passes + 1, 0
        self._finish()

    def _share(self) -> float:
        """Return the share of the training that is done, by samples or by time, whichever is larger."""
        by_time = 1 - self.data.remaining_s() / self.data.max_s if self.data.max_s > 0 else 1.0
        return max(self.step / self.steps, by_time)

    def _train_on_batch(self, xs: Tensor, share: float) -> dict[str, float]:
        if self.data.spec.image:
            xs = augmented(xs, self.generator)
        loss, figures = self.objective.loss(xs.to(self.data.torch_device), self.generator)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        # Parameters that do not affect the loss, as in a decoder without residual blocks, get zero gradients, so that
        # their moments decay like all others.
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        norm = nn.utils.clip_grad_norm_(self.parameters, MAX_GRADIENT_NORM)
        self.step += 1
        if not torch.isfinite(norm):  # skip the batch: one bad gradient would destroy the weights
            return {}
        self.optimizer_steps += 1
        warm = min(1.0, self.optimizer_steps / WARM_UP_STEPS)
        cosine = MIN_RATE_SHARE + (1 - MIN_RATE_SHARE) * (1 + math.cos(math.pi * min(1.0, share))) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate * warm * cosine * group["rate_factor"]
        self.optimizer.step()
        return {"loss": float(loss.detach()), **figures}

    def _validation_says_stop(self, share: float) -> bool:
        self.next_validation = share + SAVE_EVERY
        self._validate(share)
        self.data.save(self._saved())
        return self.validations_since_best >= self.schedule.patience

    def _validate(self, share: float) -> None:
        network = self.objective.network
        network.eval()
        with torch.no_grad():
            result = self.objective.validate(as_tensors(self.data.held_out(64)))
        network.train()
        self.data.progress(share, f"held out: {result.text}")
        if result.loss < self.best_loss:
            self.best_loss, self.validations_since_best = result.loss, 0
            self.best = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        else:
            self.validations_since_best += 1

    def _finish(self, validate: bool = True) -> None:
        if validate:
            self._validate(1.0)
        if self.best:
            self.objective.network.load_state_dict(self.best)
        for parameter in self.parameters:
            parameter.grad = None
        self.objective.network.eval()

    # --- saving -------------------------------------------------------------------------------------------------

    def _saved(self) -> bytes:
        from safetensors.torch import save

        tensors = {f"now.{name}": tensor for name, tensor in self.objective.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for at, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{at}.{name}": tensor for name, tensor in state.items()}
        numbers = [
            self.step, self.passes, self.at, self.best_loss, self.validations_since_best, self.next_validation,
            self.optimizer_steps,
        ]  # fmt: skip
        tensors["numbers"] = torch.tensor(numbers, dtype=torch.float64)
        tensors["generator"] = self.generator.get_state()
        tensors["format"] = torch.tensor(FORMAT)
        return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})

    def resume(self, saved: bytes) -> str | None:
        """Resume a saved training. If that is impossible, change nothing and return the reason."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            tensors = load(saved)
        except SafetensorError:
            return "its file is damaged"
        if "format" not in tensors or not torch.equal(tensors["format"], torch.tensor(FORMAT)):
            return "it was saved by another version"
        now, best, moments = (_with_prefix(prefix, tensors) for prefix in ("now.", "best.", "optimizer."))
        numbers, generator = tensors.get("numbers"), tensors.get("generator")
        network = self.objective.network
        shapes = _shapes(network.state_dict())
        if (
            _shapes(now) != shapes
            or (best and _shapes(best) != shapes)
            or (moments and _shapes(moments) != self._shapes_of_moments())
            or generator is None
            or generator.shape != self.generator.get_state().shape
            or numbers is None
            or numbers.shape != (7,)
        ):
            return "it is of another network"
        network.load_state_dict(now)
        self.step, self.passes, self.at = (int(n) for n in numbers[:3])
        self.best, self.best_loss, self.validations_since_best = best, float(numbers[3]), int(numbers[4])
        # A training that ends by time has a new clock, which may be behind that of the interrupted training.
        self.next_validation = min(float(numbers[5]), self._share() + SAVE_EVERY)
        self.optimizer_steps = int(numbers[6])
        state = {at: _with_prefix(f"{at}.", moments) for at in range(len(self.parameters))} if moments else {}
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.generator.set_state(generator)
        for _ in range(self.passes):  # each call draws the order of one epoch
            self.data.batches(self.schedule.batch)
        return None

    def _shapes_of_moments(self) -> dict[str, torch.Size]:
        """Return the shapes of the tensors that Adam keeps for each parameter."""
        shapes: dict[str, torch.Size] = {}
        for at, parameter in enumerate(self.parameters):
            shapes |= {f"{at}.step": torch.Size(())}
            shapes |= {f"{at}.{name}": parameter.shape for name in ("exp_avg", "exp_avg_sq")}
        return shapes


def _with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with the prefix, by the rest of the name."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}
