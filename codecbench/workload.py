"""Workload and Metric: a trained model with its data, its task metric and its split points.

A workload lives in two processes. The device process reads inputs and runs the head; the edge process only calls
`build_model`. Targets and scores stay in the main process. Importing this module does not import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from codecbench.codec import TensorSpec
from codecbench.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

Subset: TypeAlias = Literal["fit", "choice", "test"]
"""fit: training samples that codecs learn from. choice: training samples, seen by no fit, on which operating points
are chosen. test: what is reported."""


@dataclass(frozen=True)
class Metric:
    """A task metric as a ratio of sums: value = scale * sum(numerators) / sum(denominators).

    Top-1 in percent: numerator 1 where right, denominator 1, scale 100. Word error rate: edits over words, scale 1.
    `binary` says that every sample is right or wrong, so that McNemar's test applies. `decimals` is for tables.
    """

    name: str
    unit: str
    higher_is_better: bool
    scale: float = 1.0
    binary: bool = False
    decimals: int = 1


class Workload(ABC):
    """A model, its data, its metric and its split points.

    `data_dir` is where fetched datasets lie, or None for the places that the command line searches. The constructor
    must be cheap and read no data.
    """

    name: ClassVar[str]
    metric: ClassVar[Metric]
    default_splits: ClassVar[tuple[str, ...]]
    """Split points of a normal run, in execution order; `input` first where it counts."""
    budget: ClassVar[float]
    """The usual accepted loss, in the metric's own unit."""
    dataset: ClassVar[str | None] = None
    """The name that `codecbench data get` knows, where there is something to fetch."""
    training_note: ClassVar[str] = ""
    """How `training_s` was found, in a sentence."""

    def __init__(self, data_dir: Path | None = None) -> None:
        self.data_dir = data_dir

    @property
    @abstractmethod
    def input_spec(self) -> TensorSpec:
        """The spec of one model input, without the batch axis."""

    @abstractmethod
    def build_model(self) -> nn.Module:
        """The trained model in evaluation mode, on the CPU, from its weights alone: no data is read.

        It maps a batch (axis 0) of inputs to a tensor, or a tuple, list or dict of tensors, with batch axis 0.
        """

    @abstractmethod
    def weights_sha256(self) -> str:
        """Hex digest that names the weights; part of every record and of every fitted state's key."""

    @abstractmethod
    def sample_ids(self, subset: Subset) -> Sequence[int]:
        """Stable identifiers of all samples of a subset, in the order in which a run takes them.

        A run of n samples takes the first n, so the order should be random once and then fixed.
        """

    def training_ids(self) -> Sequence[int]:
        """Identifiers of all samples of `fit` when the whole dataset is there, known without it.

        A fitted state that ships was made from all of them, and is found by users who have fetched nothing. Default:
        `sample_ids("fit")`, for a dataset that is always there.
        """
        return self.sample_ids("fit")

    @property
    def training_s(self) -> float | None:
        """Seconds in which the model itself was trained, or None where that is not known; see `training_note`."""
        return None

    @abstractmethod
    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        """The inputs at these positions of `sample_ids(subset)`. Raises DataError where data is missing or damaged."""

    @abstractmethod
    def targets(self, subset: Subset, positions: Sequence[int]) -> list[Any]:
        """The targets at these positions: labels, transcripts."""

    @abstractmethod
    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> tuple[float, float]:
        """Numerator and denominator of the metric for one sample, from its output tensors without the batch axis."""

    @classmethod
    def fetch(cls, data_dir: Path, log: Callable[[str], None]) -> None:
        """Fetch `dataset` into `data_dir`, checking sums; `say` takes a line for the user. Raises DataError."""
        raise UsageError(f"workload {cls.name!r} has nothing to fetch: its data ships with it")


def metric_value(metric: Metric, numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> float:
    """The metric over samples: scale * sum(numerators) / sum(denominators); nan where the denominators sum to zero."""
    total = float(denominators.sum())
    return metric.scale * float(numerators.sum()) / total if total else float("nan")


def data_folders(data_dir: Path | None = None) -> list[Path]:
    """Where fetched datasets are looked for, first to last: `data_dir`, `CODECBENCH_DATA`, the user cache.

    `CODECBENCH_DATA` may name several folders, as PATH does. A fetch writes to the first of all. None need exist.
    """
    import os

    from platformdirs import user_cache_path

    named = [data_dir, *os.environ.get("CODECBENCH_DATA", "").split(os.pathsep)]
    return [Path(place) for place in named if place] + [user_cache_path("codecbench", appauthor=False)]
