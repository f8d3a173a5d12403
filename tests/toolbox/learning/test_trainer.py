"""The training loop: the same for a seed, also where it was interrupted, and finished whenever it ends."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codecbench import FitData, TensorSpec
from codecbench.kit.samples import fit_data, spec_label
from codecbench.toolbox.learning.trainer import (
    SAVE_EVERY,
    WARM_UP_STEPS,
    Objective,
    Schedule,
    ValidationResult,
    train,
)

VECTOR = TensorSpec((10,))
SPECS = [VECTOR, TensorSpec((3, 8, 8), image=True), TensorSpec((None, 6), max_length=20)]
SCHEDULE = Schedule(samples=480, batch=8, rate=1e-2, patience=100)
"""60 steps of ten passes, with a validation every three or four steps."""


def network(width: int = 4, seed: int = 7) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 4), nn.Linear(4, width))


class Line(Objective):
    """Six numbers of a sample, with noise, to four others."""

    def __init__(self, start: nn.Module | None = None) -> None:
        self.network = start or network()
        self.losses: list[float] = []
        self.weights: list[Tensor] = []
        self.shares: list[float] = []

    def loss(self, xs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        numbers = six(xs)
        noisy = numbers + 0.1 * torch.randn(numbers.shape, generator=generator)
        loss = (self.network(noisy) - numbers[:, :1] + 1).square().mean()
        return loss, {"loss of a batch": float(loss.detach())}

    def validate(self, batches: Iterator[Tensor]) -> ValidationResult:
        assert not self.network.training
        self.weights.append(weights(self.network))
        total = [float((self.network(six(xs)) - six(xs)[:, :1] + 1).square().mean()) for xs in batches]
        self.losses.append(self.scored(sum(total) / len(total)))
        return ValidationResult.of(self.losses[-1], {"loss": self.losses[-1]})

    def scored(self, loss: float) -> float:
        return loss

    def advance(self, share: float) -> bool:
        self.shares.append(share)
        return False


class Scripted(Line):
    """An objective whose validations find these losses, the last one again and again."""

    def __init__(self, losses: Sequence[float]) -> None:
        super().__init__()
        self.script = itertools.chain(losses, itertools.repeat(losses[-1]))

    def scored(self, loss: float) -> float:
        return next(self.script)


def six(xs: Tensor) -> Tensor:
    return xs.reshape(len(xs), -1, xs.shape[-1]).mean(1)[:, :6]


def weights(of: nn.Module) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in of.state_dict().values()])


def data(spec: TensorSpec = VECTOR, *, max_s: float = 1e9, seed: int = 0, **changes: Any) -> FitData:
    """The kit's, with so much time that the number of steps ends the training."""
    return dataclasses.replace(fit_data(spec, max_s=max_s, seed=seed), **changes)


def trained(spec: TensorSpec = VECTOR, seed: int = 0, **changes: Any) -> Tensor:
    objective = Line()
    train(objective, data(spec, seed=seed, **changes), SCHEDULE)
    return weights(objective.network)


# --- seeds


@pytest.mark.parametrize("spec", SPECS, ids=spec_label)
def test_a_seed_gives_the_same_weights(spec: TensorSpec) -> None:
    first = trained(spec)
    assert torch.equal(first, trained(spec))
    assert not torch.equal(first, trained(spec, seed=1))
    assert first.isfinite().all()


def test_training_learns() -> None:
    objective = Line()
    train(objective, data(), Schedule(1600, batch=8, rate=3e-2))
    assert min(objective.losses) < 0.1 * objective.losses[0]
    assert not objective.network.training


# --- interruptions


class Interrupted(Exception):
    """Ends a training from outside."""


def interrupted(spec: TensorSpec, after: int, by: str) -> bytes:
    """What a training had saved when it was ended: at its so-maniest save, or at the progress shown after that."""
    kept: list[bytes] = []

    def save(saved: bytes) -> None:
        kept.append(saved)
        if len(kept) == after and by == "save":
            raise Interrupted

    def progress(fraction: float, text: str) -> None:
        if len(kept) == after:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(Line(), data(spec, save=save, progress=progress), SCHEDULE)
    return kept[-1]


@pytest.mark.parametrize("spec", SPECS, ids=spec_label)
@pytest.mark.parametrize(("after", "by"), [(1, "save"), (4, "progress"), (13, "save")])
def test_a_training_that_goes_on_ends_as_one_that_was_not_interrupted(spec: TensorSpec, after: int, by: str) -> None:
    saved = interrupted(spec, after, by)
    uninterrupted, rest = Line(), Line(network(seed=8))
    train(uninterrupted, data(spec), SCHEDULE)
    train(rest, data(spec, saved=saved), SCHEDULE)
    assert torch.equal(weights(rest.network), weights(uninterrupted.network))
    assert rest.losses == uninterrupted.losses[-len(rest.losses) :]
    assert len(rest.losses) == len(uninterrupted.losses) - after


def other_network() -> bytes:
    """What the training of a wider network saved, in part with tensors of the same shapes."""
    kept: list[bytes] = []
    train(Line(network(width=3)), data(save=kept.append), SCHEDULE)
    return kept[-1]


def without(part: str) -> bytes:
    """What was saved, less a part."""
    from safetensors.torch import load, save

    return save({name: tensor for name, tensor in load(interrupted(VECTOR, 2, "save")).items() if part not in name})


def earlier_version() -> bytes:
    """What was saved, with the moments laid out as before partial fits had a format."""
    from safetensors.torch import load, save

    tensors = load(interrupted(VECTOR, 2, "save"))
    del tensors["format"]
    for at, (name, _) in enumerate(network().named_parameters()):
        tensors[f"mean.{name}"] = tensors.pop(f"optimizer.{at}.exp_avg")
        tensors[f"square.{name}"] = tensors.pop(f"optimizer.{at}.exp_avg_sq")
        del tensors[f"optimizer.{at}.step"]
    return save(tensors)


@pytest.mark.parametrize(
    "saved",
    [
        lambda: b"", lambda: b"garbage", lambda: bytes(1000), lambda: interrupted(VECTOR, 2, "save")[:-5],
        other_network, lambda: without("numbers"), lambda: without("generator"), lambda: without("exp_avg_sq"),
        lambda: without("now.0"), lambda: without("best.0"), lambda: without("format"), earlier_version,
    ],
    ids=[
        "nothing", "garbage", "zeros", "cut short", "another network", "no numbers", "no generator", "no momentum",
        "few weights", "few of the best", "no format", "the layout of an earlier version",
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_ignored_and_said_once(saved: Callable[[], bytes]) -> None:
    told: list[str] = []
    assert torch.equal(trained(saved=saved(), progress=lambda _, text: told.append(text)), trained())
    assert [text for text in told if "starts anew" in text] == told[:1]


def test_an_earlier_version_is_named() -> None:
    told: list[str] = []
    trained(saved=earlier_version(), progress=lambda _, text: told.append(text))
    assert told[0] == "the interrupted fit cannot be resumed (it was saved by another version), so it starts anew"


def test_a_resumed_training_does_not_say_that_it_starts_anew() -> None:
    told: list[str] = []
    trained(saved=interrupted(VECTOR, 2, "save"), progress=lambda _, text: told.append(text))
    assert not any("starts anew" in text for text in told)


def test_a_training_that_time_ends_goes_on_with_a_clock_of_its_own() -> None:
    kept: list[bytes] = []
    long = Schedule(1_000_000, batch=8)
    train(Line(), data(max_s=10.0, save=kept.append), long)
    first, again = Line(), list[bytes]()
    train(first, data(max_s=10.0, saved=kept[-1], save=again.append), long)
    assert first.shares[0] < 0.1
    assert len(again) > 5  # and is saved on its way


# --- ends


def test_without_time_the_start_stands_as_it_is() -> None:
    objective, before = Line(), weights(network())
    train(objective, data(max_s=0.0), SCHEDULE)
    assert torch.equal(weights(objective.network), before)
    assert not objective.network.training
    assert len(objective.losses) == 1


def test_time_ends_a_training_that_is_finished_then() -> None:
    objective, fractions = Line(), []
    train(objective, data(max_s=5.0, progress=lambda f, _: fractions.append(f)), Schedule(10**9, batch=8, rate=1e-2))
    assert 10 < len(objective.shares) < 100
    assert objective.shares == sorted(objective.shares)
    assert objective.shares[-1] > 0.9
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert min(objective.losses) < objective.losses[0]


def test_steps_end_a_training() -> None:
    objective = Line()
    train(objective, data(), SCHEDULE)
    assert len(objective.shares) == 60 == SCHEDULE.samples // SCHEDULE.batch
    assert objective.shares == pytest.approx([step / 60 for step in range(60)], abs=1e-6)
    assert 1 / SAVE_EVERY - 4 <= len(objective.losses) <= 1 / SAVE_EVERY  # and the last is at the end


@pytest.mark.parametrize("patience", [1, 3])
def test_a_training_that_gets_no_better_ends(patience: int) -> None:
    objective = Scripted([2.0, 1.0, 3.0])
    train(objective, data(), dataclasses.replace(SCHEDULE, patience=patience))
    assert len(objective.losses) == 2 + patience
    assert torch.equal(weights(objective.network), objective.weights[1])


def test_the_best_weights_are_kept_not_the_last() -> None:
    objective = Scripted([5.0, 4.0, 1.0, 2.0, 1.5, 1.0, math.nan])
    train(objective, data(), SCHEDULE)
    assert torch.equal(weights(objective.network), objective.weights[2])
    assert not torch.equal(objective.weights[2], objective.weights[-1])


@pytest.mark.parametrize("by", ["state", "objective"])
def test_what_is_never_found_better_than_the_start_is_the_start(by: str) -> None:
    data = dataclasses.replace(fit_data(VECTOR, max_s=1e6), start=(b"", b"") if by == "state" else None)
    objective, better = Scripted([0.5, 0.9, 0.7]), Scripted([0.5, 0.9, 0.4, 0.8])
    objective.starts_usable = better.starts_usable = by == "objective"
    before = weights(objective.network)
    train(objective, data, SCHEDULE)
    assert torch.equal(weights(objective.network), before)
    train(better, data, SCHEDULE)
    assert torch.equal(weights(better.network), better.weights[2])


def test_validations_that_find_no_number_leave_the_last_weights() -> None:
    objective = Scripted([math.nan])
    train(objective, data(), SCHEDULE)
    assert torch.equal(weights(objective.network), objective.weights[-1])


def test_what_was_best_no_longer_counts_once_the_objective_has_changed() -> None:
    class Changing(Scripted):
        validated: int | None = None

        def advance(self, share: float) -> bool:
            if share < 0.5 or self.validated is not None:
                return False
            self.validated = len(self.losses)
            return True

    objective = Changing([*[0.5] * 9, 7.0, 6.0, 6.5])
    train(objective, data(), dataclasses.replace(SCHEDULE, patience=10))
    assert objective.validated == 9
    assert torch.equal(weights(objective.network), objective.weights[10])


def test_another_loss_begins_with_small_steps() -> None:
    class Rescaled(Line):
        """From half of the training on, the loss and so its gradients are a thousand times as large."""

        factor = 1.0

        def advance(self, share: float) -> bool:
            self.weights_before = weights(self.network)
            begins = share >= 0.5 and self.factor == 1.0
            if begins:
                self.factor, self.weights_then = 1000.0, self.weights_before
            elif self.factor == 1000.0 and not hasattr(self, "first_move"):
                self.first_move = float((self.weights_before - self.weights_then).abs().max())
            return begins

        def loss(self, xs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
            loss, figures = super().loss(xs, generator)
            return self.factor * loss, figures

    objective = Rescaled()
    train(objective, data(), Schedule(1600, batch=8, rate=3e-2))
    assert 0 < objective.first_move <= 3e-2 / WARM_UP_STEPS


# --- steps


def test_a_factor_of_zero_freezes_a_parameter() -> None:
    class Frozen(Line):
        def parameter_groups(self) -> list[dict[str, Any]]:
            first, *others = self.network.parameters()
            return [{"params": [first], "rate_factor": 0.0}, {"params": others, "rate_factor": 1.0}]

    objective, before = Frozen(), network()
    train(objective, data(), SCHEDULE)
    after = objective.network.state_dict()
    changed = {name: not torch.equal(tensor, after[name]) for name, tensor in before.state_dict().items()}
    assert changed == {"0.weight": False, "0.bias": True, "1.weight": True, "1.bias": True}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_batch_without_a_finite_loss_changes_nothing(value: float) -> None:
    class Broken(Line):
        every = 1

        def loss(self, xs: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
            loss, figures = super().loss(xs, generator)
            return (loss * value, figures) if len(self.shares) % self.every == 0 else (loss, figures)

    always, at_times = Broken(), Broken()
    train(always, data(), SCHEDULE)
    assert torch.equal(weights(always.network), weights(network()))
    at_times.every = 4
    train(at_times, data(), Schedule(1600, batch=8, rate=3e-2))
    assert min(at_times.losses) < 0.1 * at_times.losses[0]


def test_what_the_loss_does_not_reach_stays() -> None:
    objective = Line(nn.Sequential(network()))
    objective.network.unused = nn.Parameter(torch.ones(3))
    objective.network.fixed = nn.Parameter(torch.ones(3), requires_grad=False)
    train(objective, data(), SCHEDULE)
    assert torch.equal(objective.network.unused, torch.ones(3))
    assert torch.equal(objective.network.fixed, torch.ones(3))


# --- what is saved and shown


def test_there_is_a_validation_for_each_share_that_is_saved() -> None:
    kept: list[bytes] = []
    objective = Line()
    train(objective, data(save=kept.append), SCHEDULE)
    assert len(kept) == len(objective.losses) - 1 > 10


def test_figures_are_shown() -> None:
    told: list[str] = []
    train(Line(), data(progress=lambda _, text: told.append(text)), SCHEDULE)
    assert any(text.startswith("loss ") and "loss of a batch" in text for text in told)
    assert any(text.startswith("held out: loss ") for text in told)
    figures: Mapping[str, float] = {"bytes": 12.3456, "distance": 1.0}
    assert ValidationResult.of(2.0, figures) == ValidationResult(2.0, "bytes 12.3, distance 1")
