"""The contracts of adapters: of a network, of samples, and of a task.

Importing this module imports no library of models or data.
"""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from codecbench.codec import TensorSpec
from codecbench.errors import DataError, UsageError
from codecbench.workload import Metric, OnnxModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codecbench.adapters.description import WorkloadDescription

Resampling = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


def resampling_of(stated: str | None) -> Resampling:
    """Return the resampling of that name; bilinear for another name, such as `random`."""
    known: tuple[Resampling, ...] = get_args(Resampling)
    return next((each for each in known if each == stated), "bilinear")


@dataclass(frozen=True)
class Pictures:
    """The preprocessing of pictures: they are resized, cropped in the centre, then normalised within the model.

    `resize` is the length of the shorter side, or height and width, or None. `size` is height and width of the crop.
    `mean` and `std` belong to values k/255 and are applied in the model, with the channels reversed where `bgr` is set.
    """

    size: tuple[int, int]
    resize: int | tuple[int, int] | None = None
    resampling: Resampling = "bilinear"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    bgr: bool = False

    def at_size(self, side: int | None) -> Pictures:
        """Return the same form with square pictures of this side; the share that the crop cuts off stays."""
        if side is None or self.size == (side, side):
            return self
        resize: int | tuple[int, int] | None = None
        if isinstance(self.resize, int):
            resize = round(self.resize * side / min(self.size))
        elif self.resize is not None:
            resize = tuple(round(n * side / edge) for n, edge in zip(self.resize, self.size, strict=True))  # type: ignore[assignment]
        return Pictures((side, side), resize, self.resampling, self.mean, self.std, self.bgr)


@dataclass(frozen=True)
class Sounds:
    """The preprocessing of sound: mono samples at this rate; `normalise` makes mean 0 and variance 1 in the model."""

    rate_hz: int
    normalise: bool = False


class ModelAdapter(ABC):
    """A model of a description. The constructor is cheap and imports no library of models.

    `argument` is the text behind the kind, with its path made absolute where it is one.
    """

    def __init__(self, argument: str, description: WorkloadDescription) -> None:
        self.argument = argument
        self.description = description

    @property
    def label(self) -> str:
        """The text with which errors name the model."""
        return f"--model {self.description.portable().model}"

    @abstractmethod
    def build(self) -> Any:
        """Return the model in evaluation mode: contract inputs to outputs, with its normalisation inside."""

    def weights_sha256(self, model: Any) -> str:
        """Return the hex SHA-256 of the weights of a model that `build` returned."""
        from codecbench.system.weights import state_sha256

        return model.weights_sha256() if isinstance(model, OnnxModel) else state_sha256(model)

    @property
    def pictures(self) -> Pictures | None:
        """The form of its pictures, or None if it takes none or does not say."""
        return None

    @property
    def sounds(self) -> Sounds | None:
        """The form of its sounds, or None."""
        return None

    @property
    def classes(self) -> Sequence[Sequence[str]] | None:
        """The names of each class in the order of the outputs, several for one where it has synonyms; None if unknown.

        A class without a name has no names.
        """
        return None

    @property
    def vocabulary(self) -> Sequence[str] | None:
        """The texts of the outputs of a network that spells, an empty one for the blank; None for other networks."""
        return None

    @property
    def function(self) -> Callable[..., Any] | None:
        """The user's function that makes the model; its source counts for the workload's. None for other kinds."""
        return None


class DataAdapter(ABC):
    """The samples of a description, by name. The constructor is cheap and reads nothing."""

    def __init__(self, argument: str, description: WorkloadDescription) -> None:
        self.argument = argument
        self.description = description

    @property
    def label(self) -> str:
        """The text with which errors name the data."""
        return self.description.portable().data

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Return the names of all samples, in any order. They do not depend on where the data lies."""

    @abstractmethod
    def input_spec(self, network: ModelAdapter) -> TensorSpec:
        """Return the spec of an input. Also called where no data is read: at most a header may be read."""

    @abstractmethod
    def input(self, name: str, network: ModelAdapter) -> NDArray[Any]:
        """Return a sample's input as the spec says. Raises DataError with the file for one that cannot be read."""

    def target(self, name: str) -> Any:
        """Return a sample's target: a class's name or number, a text, or an array. Raises DataError without one."""
        raise DataError(f"{self.label}: {name} has no target; give --task agreement, which needs none")

    def mask(self, name: str, network: ModelAdapter) -> NDArray[Any]:
        """Return the class of each pixel of a sample's input, (height, width). Raises DataError without one."""
        found: NDArray[Any] = self.target(name)
        return found

    def class_names(self) -> Sequence[str] | None:
        """Return the names of all classes, sorted, where targets are names; else None."""
        return None

    @property
    def function(self) -> Callable[..., Any] | None:
        """The user's function that yields the samples; its source counts for the workload's. None for other kinds."""
        return None


class TaskAdapter(ABC):
    """The task of a description: metrics, the first of which decides, targets and scores.

    `budget` is the usual accepted loss in the first metric's unit. With `targets_from_model` the outputs of the full
    model are the targets.
    """

    metrics: tuple[Metric, ...]
    budget: float
    targets_from_model: bool = False
    takes_argument: bool = False
    """True if something may stand behind the task's name and a colon."""

    def __init__(self, argument: str, description: WorkloadDescription) -> None:
        if argument and not self.takes_argument:
            task = description.task.partition(":")[0]
            raise UsageError(f"--task {task}:{argument}: {task} takes nothing behind it")
        self.argument = argument
        self.description = description

    def check(self, network: ModelAdapter, samples: DataAdapter) -> None:  # noqa: B027 - a task may have nothing to check
        """Raise DataError if targets and network do not fit, as far as it can be known without running the model."""

    def target(self, name: str, network: ModelAdapter, samples: DataAdapter) -> Any:
        """Return the target of a sample as `score` takes it."""
        return samples.target(name)

    @abstractmethod
    def score(self, output: tuple[NDArray[Any], ...], target: Any, network: ModelAdapter) -> Any:
        """Return the outcome of each metric by the metric's outcome name, for one sample."""


def imported(module: str, label: str, member: str = "") -> Any:
    """Return a module of a library that is imported when it is needed.

    Raises DataError, with what to install, where it is not there, or does not work with the torch that is installed.
    """
    package = module.partition(".")[0]
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == package:
            raise _not_installed(package, label) from error
        raise _not_working(package, label, error) from error
    except Exception as error:
        raise _not_working(package, label, error) from error
    if member and not hasattr(found, member):  # a folder of that name, not the library
        raise _not_installed(package, label)
    return found


def _not_installed(package: str, label: str) -> DataError:
    return DataError(f"{label} needs the package {package}, which is not installed; run: pip install {package}")


def _not_working(package: str, label: str, error: BaseException) -> DataError:
    reason = " ".join(str(error).split())[:160]
    return DataError(
        f"{label}: {package} does not work with what is installed ({reason}); install the {package} that belongs to "
        "the installed torch"
    )


def keep_downloads(description: WorkloadDescription) -> None:
    """Let libraries of models and data keep downloads in the user's cache, not in the home of the process."""
    if description.cache_dir is not None:
        os.environ.setdefault("HF_HOME", str(Path(description.cache_dir) / "huggingface"))
        os.environ.setdefault("TORCH_HOME", str(Path(description.cache_dir) / "torch"))


def file_name(path: str | Path) -> str:
    """Return the last part of a path, by which records and hashes name a file."""
    return Path(path).name
