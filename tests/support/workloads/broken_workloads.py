"""Deliberately broken workloads: each fails the check named for it in PAIRS, and its counterpart passes all."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from codecbench import RatioMetric, SetMetric, Subset, TensorSpec, Workload, hookimpl

if TYPE_CHECKING:
    from torch import Tensor, nn

FIRST = {"fit": 0, "choice": 100, "test": 200}
COUNTER = count()


@dataclass(frozen=True)
class MeanError(SetMetric):
    """The mean over a set, of one number a sample."""

    def values(self, outcomes: Sequence[tuple[NDArray[Any], ...]], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        errors = np.array([error[0] for (error,) in outcomes])
        return counts @ errors / counts.sum(1)


@dataclass(frozen=True)
class Forgetful(SetMetric):
    """Takes every sample as often as any other."""

    def values(self, outcomes: Sequence[tuple[NDArray[Any], ...]], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.full(len(counts), np.mean([error[0] for (error,) in outcomes]))


class Sound(Workload):
    """Top-1 of a linear layer on noise, with the mean error as a metric of the whole set."""

    name = "sound"
    metrics = (
        RatioMetric("top-1", "%", higher_is_better=True, scale=100.0, binary=True),
        MeanError("error", "", higher_is_better=False),
    )
    default_splits = ("input", "first")
    budget = 1.0
    seed: int | None = 1

    @property
    def input_spec(self) -> TensorSpec:
        return TensorSpec((6,))

    def build_model(self) -> nn.Module:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed if self.seed is not None else next(COUNTER))
            return network().eval()

    def weights_sha256(self) -> str:
        return hashlib.sha256(b"seed 1").hexdigest()

    def sample_ids(self, subset: Subset) -> Sequence[int]:
        return range(FIRST[subset], FIRST[subset] + 12)

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        ids = self.sample_ids(subset)
        return [np.random.default_rng(ids[at]).random(6, np.float32) for at in positions]

    def targets(self, subset: Subset, positions: Sequence[int]) -> list[Any]:
        ids = self.sample_ids(subset)
        return [ids[at] % 3 for at in positions]

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> Any:
        logits = output[0]
        return {
            "top-1": (float(logits.argmax() == target), 1.0),
            "error": (np.array([1 - float(logits[target])]),),
        }


class Undocumented(Sound):
    name = "undocumented"


class Unordered(Sound):
    """Its identifiers are others each time."""

    name = "unordered"

    def sample_ids(self, subset: Subset) -> Sequence[int]:
        first = FIRST[subset] + next(COUNTER)
        return range(first, first + 12)


class Unfinished(Sound):
    """An input is not finite."""

    name = "not-finite"

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        return [np.full_like(x, np.nan) for x in super().inputs(subset, positions)]


class Aliased(Sound):
    """Gives its own arrays away."""

    name = "aliased"

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        if not hasattr(self, "kept"):
            self.kept = {each: super(Aliased, self).inputs(each, range(12)) for each in ("fit", "choice", "test")}
        return [self.kept[subset][at] for at in positions]


class Whitened(Sound):
    """An input depends on the others that are read with it."""

    name = "whitened"

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        found = super().inputs(subset, positions)
        return [x - np.mean(found, dtype=np.float32) for x in found]


class Leaking(Sound):
    """Points are chosen on test samples."""

    name = "leaking"

    def sample_ids(self, subset: Subset) -> Sequence[int]:
        return range(208, 220) if subset == "choice" else super().sample_ids(subset)


class Parted(Sound):
    """The same numbers name other samples in each subset."""

    name = "sound-parted"

    def sample_ids(self, subset: Subset) -> Sequence[int]:
        return range(12)

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        return [np.random.default_rng(FIRST[subset] + at).random(6, np.float32) for at in positions]


class Unpicklable(Sound):
    """Its targets are functions made in a function."""

    name = "unpicklable"

    def targets(self, subset: Subset, positions: Sequence[int]) -> list[Any]:
        return [lambda: 1 for _ in positions]

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> Any:
        return super().score(output, target())


class Rehashed(Sound):
    """Its hash is that of an object."""

    name = "rehashed"

    def weights_sha256(self) -> str:
        return hashlib.sha256(str(next(COUNTER)).encode()).hexdigest()


class Unseeded(Sound):
    """Its weights are drawn anew each time."""

    name = "unseeded"
    seed = None


class Batched(Sound):
    """The model subtracts the mean of its batch."""

    name = "batched"

    def build_model(self) -> nn.Module:
        import torch

        class MeanOfBatch(torch.nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x - x.mean(0, keepdim=True)

        model = super().build_model()
        model.add_module("mean", MeanOfBatch())
        return model.eval()


class Misnamed(Sound):
    """Its default split is none of the model's."""

    name = "misnamed"
    default_splits = ("frist",)


class HalfRight(Sound):
    """A binary metric that is not."""

    name = "half-right"

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> Any:
        return {**super().score(output, target), "top-1": (0.5, 1.0)}


class InPlace(Sound):
    """Scores in the arrays that it is given."""

    name = "in-place"

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> Any:
        output[0][...] -= output[0].max()
        return super().score(output, target)


class Constant(Sound):
    """Everything is right."""

    name = "constant"

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> Any:
        return {**super().score(output, target), "top-1": (1.0, 1.0)}


class Uncounted(Sound):
    """Its set metric does not look at the counts."""

    name = "uncounted"
    metrics = (Sound.metrics[0], Forgetful("error", "", higher_is_better=False))


class ByProcess(Sound):
    """Other inputs in each process."""

    name = "by-process"

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        return [x + np.float32(os.getpid()) for x in super().inputs(subset, positions)]


class Agreeing(Sound):
    """The full model's outputs are the targets."""

    name = "sound-agreeing"
    metrics = (Sound.metrics[0],)
    targets_from_model = True

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> Any:
        return float(output[0].argmax() == target[0].argmax()), 1.0


PAIRS = [
    ("check_class", Undocumented, Sound),
    ("check_identifiers", Unordered, Sound),
    ("check_inputs", Unfinished, Sound),
    ("check_inputs_repeat", Aliased, Sound),
    ("check_inputs_repeat", Whitened, Sound),
    ("check_subsets", Leaking, Parted),
    ("check_targets", Unpicklable, Agreeing),
    ("check_weights_hash", Rehashed, Sound),
    ("check_model", Unseeded, Sound),
    ("check_outputs", Batched, Sound),
    ("check_splits", Misnamed, Sound),
    ("check_score", HalfRight, Sound),
    ("check_score", InPlace, Sound),
    ("check_metric_varies", Constant, Agreeing),
    ("check_set_metrics", Uncounted, Sound),
    ("check_other_processes", ByProcess, Sound),
]


def network() -> nn.Module:
    import torch

    return torch.nn.Sequential(OrderedDict(first=torch.nn.Linear(6, 5), last=torch.nn.Linear(5, 3)))


@hookimpl
def codecbench_register_workloads() -> Iterable[type[Workload]]:
    """Register those that a plugin manager takes."""
    return [Sound, Constant]
