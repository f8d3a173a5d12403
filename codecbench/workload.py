"""Workload and Metric: a trained model with its data, its task metrics and its split points.

A workload is used in several processes. The device's model process reads inputs, runs the head and scores the full
model; the edge's calls `build_model` and scores outputs of the tail. The main process has only descriptions of it.
Importing this module does not import torch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

from codecbench.codec import TensorSpec
from codecbench.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

Subset: TypeAlias = Literal["fit", "choice", "test"]
"""fit: training samples for fits. choice: training samples that no fit uses, on which operating points are chosen.
test: samples whose results are reported."""

SampleId: TypeAlias = int | str
"""The identifier of a sample: an integer (int64), or a text such as a file's name; one kind in a workload."""


Outcome: TypeAlias = "tuple[float, float] | tuple[NDArray[Any], ...]"
"""A metric's outcome of one sample: numerator and denominator of a ratio metric, arrays of a set metric."""


WEIGHTS = "weights"
"""The folder of fetched weights in a data folder."""


@dataclass(frozen=True)
class Metric:
    """The base of task metrics: a value of a set of samples, from an outcome of each sample.

    Every metric is a `RatioMetric` or a `SetMetric`; calling `Metric` itself makes a `RatioMetric`. `decimals` is the
    number of decimals in tables. Metrics with the same `outcome`, which is by default the name, share the outcomes of
    samples: AP and AP50 come from the same matched boxes.
    """

    name: str
    unit: str
    higher_is_better: bool
    _: KW_ONLY
    decimals: int = 1
    outcome: str = ""

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Make the metric; a plain `Metric` is a `RatioMetric`."""
        made: Self = super().__new__(RatioMetric if cls is Metric else cls)  # type: ignore[assignment]
        return made

    @property
    def outcome_name(self) -> str:
        """The name of the outcomes that the metric is made of."""
        return self.outcome or self.name


@dataclass(frozen=True)
class RatioMetric(Metric):
    """A ratio of sums: value = scale * sum(numerators) / sum(denominators). An outcome is a pair of numbers.

    Top-1 accuracy in percent: numerator 1 if right, else 0; denominator 1, scale 100. Word error rate: edits over
    words, scale 1. `binary` is True if every sample is right or wrong, so that McNemar's test applies.
    """

    scale: float = 1.0
    binary: bool = False


@dataclass(frozen=True)
class SetMetric(Metric, ABC):
    """A metric that combines the outcomes of a set of samples in any way, such as average precision.

    An outcome is a tuple of numpy arrays of numbers: as many for every sample, each with the same dtype and number of
    axes. Their first axis may differ in length from sample to sample, the others may not. They are what is kept of a
    sample, in the record's Parquet file, so they should be small: matched boxes, not pictures.
    """

    @abstractmethod
    def values(self, outcomes: Sequence[tuple[NDArray[Any], ...]], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the metric of each of several sets of samples: float64, one value a set.

        `counts`, of shape (sets, samples), says how often each sample is in each set; 0 leaves it out. There are 1,000
        sets and more for an interval, so what does not depend on the counts is best done once. nan is a value without
        meaning, as of a set in which there is nothing to find. Called in the device's process only.
        """


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file that `Workload.build_model` returns in place of a torch module. Needs the extra `onnx`.

    The file has one input, and axis 0 of input and outputs is the batch; where it is fixed at 1, samples run one by
    one. A workload's pictures are RGB, k/255. What the file takes instead is computed within the head, on axis 1, in
    this order: `reverse_channels` (RGB to BGR), then (x - mean) / std * scale.
    """

    path: Path
    _: KW_ONLY
    scale: float = 1.0
    reverse_channels: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def weights_sha256(self) -> str:
        """Return the hex SHA-256 of the file and of its external weights. Raises DataError if they cannot be read."""
        from codecbench.system.onnx_files import onnx_sha256

        return onnx_sha256(self.path)


class Workload(ABC):
    """A model, its data, its metrics and its split points.

    `data_dir` is the folder of fetched datasets, or None for those of `data_folders`. The constructor must be cheap and
    read no data.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    """The task metrics. The first decides: points are chosen by it. The others are reported beside it."""
    default_splits: ClassVar[tuple[str, ...]]
    """The split points of a normal run, in execution order; `input` comes first if it is one of them."""
    budget: ClassVar[float]
    """The usual accepted loss, in the unit of the first metric."""
    dataset: ClassVar[str | None] = None
    """The dataset's name for `codecbench data get`, or None if there is nothing to fetch."""
    training_note: ClassVar[str] = ""
    """A sentence that says how `training_s` was measured."""

    names_one_metric: ClassVar[bool] = False
    """True for a class with the attribute `metric` of earlier versions, a single metric, in the place of `metrics`."""

    weights_folders: tuple[Path, ...] | None = None
    """Where fetched weights lie. codecbench sets it, since processes on the edge know no data folder."""

    targets_from_model: ClassVar[bool] = False
    """True if the outputs of the full model are the targets, so that `targets` is never called."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take the old attribute `metric` of a class as its `metrics`."""
        super().__init_subclass__(**kwargs)
        if "metrics" in vars(cls):
            cls.names_one_metric = False
        elif "metric" in vars(cls):
            cls.names_one_metric = True
            cls.metrics = (vars(cls)["metric"],)

    def __init__(self, data_dir: Path | None = None) -> None:
        self.data_dir = data_dir

    def weights_file(self, name: str) -> Path:
        """Return the file of this name in the folder `weights` of the data folders, the first that has one.

        Every process of the model may read these folders, and the device's alone the others. Where none has the file,
        its place in the first one is returned.
        """
        folders = self.weights_folders or [place / WEIGHTS for place in data_folders(self.data_dir)]
        return next((place / name for place in folders if (place / name).is_file()), folders[0] / name)

    @property
    @abstractmethod
    def input_spec(self) -> TensorSpec:
        """The spec of one model input, without the batch axis."""

    @abstractmethod
    def build_model(self) -> nn.Module | OnnxModel:
        """Return the trained model in evaluation mode on the CPU, or its ONNX file. Reads its weights, but no data.

        The model maps a batch of inputs to a tensor, or to a tuple, list or dict of tensors. Axis 0 of each of them is
        the batch axis. It gives the same outputs each time, and has the same weights in every process.
        """

    @abstractmethod
    def weights_sha256(self) -> str:
        """Return the hex SHA-256 of the weights; part of every record and of every fitted state's key."""

    @abstractmethod
    def sample_ids(self, subset: Subset) -> Sequence[SampleId]:
        """Return stable identifiers of all samples of a subset, in the order in which a run uses them.

        They are integers (int64) or texts, such as names of files, and differ from one another.

        A run of n samples uses the first n, so the order should be random but fixed. `test` and `choice` are not empty.
        """

    def training_ids(self) -> Sequence[SampleId]:
        """Return the identifiers of all `fit` samples of the complete dataset, even if it has not been fetched.

        Shipped fitted states are fitted on all of these and keyed by them, so they are found without the dataset.
        Default: `sample_ids("fit")`, for a dataset that is always complete.
        """
        return self.sample_ids("fit")

    def fit_groups(self) -> Sequence[SampleId] | None:
        """Return the group of each `fit` sample, such as the picture that a crop is of; None where each stands alone.

        Samples of a group are held out from a training together, so that validation sees nothing that was learned.
        """
        return None

    @property
    def training_s(self) -> float | None:
        """Seconds of the training of the model itself, or None if unknown; see `training_note`."""
        return None

    @abstractmethod
    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        """Return the inputs at these positions of `sample_ids(subset)`, finite and as `input_spec` says.

        Raises DataError for bad or missing data.
        """

    @abstractmethod
    def targets(self, subset: Subset, positions: Sequence[int]) -> list[Any]:
        """Return the targets at these positions: labels or transcripts, for example."""

    @abstractmethod
    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> Outcome | Mapping[str, Outcome]:
        """Return the outcome of one sample, from its outputs without the batch axis.

        It is a numerator and a denominator for a ratio metric, a tuple of arrays for a set metric. With outcomes of
        several names (`Metric.outcome_name`), return a dict that has each of them by its name.
        """

    @classmethod
    def fetch(cls, data_dir: Path, log: Callable[[str], None]) -> None:
        """Download `dataset` into `data_dir` and check its checksums; `log` prints a line. Raises DataError."""
        raise UsageError(f"workload {cls.name!r} has nothing to fetch: its data ships with it")

    @classmethod
    def fetch_from(cls, sources: Sequence[str], data_dir: Path, log: Callable[[str], None]) -> None:
        """Take `dataset` from places that are here (`codecbench data get --from`): folders, archives, files.

        Raises UsageError if it can only be downloaded, as by default, and DataError for a place of no use.
        """
        raise UsageError(f"--from {sources[0]}: {cls.dataset} can only be downloaded; leave --from out")


def metric_value(
    metric: RatioMetric, numerators: NDArray[np.float64], denominators: NDArray[np.float64]
) -> float | None:
    """Return scale * sum(numerators) / sum(denominators), or None if that is no finite number."""
    return ratio_of_sums(metric.scale, numerators, denominators)


def ratio_of_sums(scale: float, numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> float | None:
    """Return the value of a metric of this scale, as `metric_value` does."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        above, below = float(numerators.sum()), float(denominators.sum())
    value = scale * above / below if below else math.nan
    return value if math.isfinite(value) else None


def data_folders(data_dir: Path | None = None) -> list[Path]:
    """Return the folders that are searched for datasets, in order: `data_dir`, `CODECBENCH_DATA`, the user cache.

    `CODECBENCH_DATA` may name several folders, as PATH does. A download goes to the first folder of the list. The
    folders need not exist.
    """
    import os

    from platformdirs import user_cache_path

    named = [data_dir, *os.environ.get("CODECBENCH_DATA", "").split(os.pathsep)]
    return [Path(place) for place in named if place] + [user_cache_path("codecbench", appauthor=False)]
