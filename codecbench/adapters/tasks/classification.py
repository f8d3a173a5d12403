"""Classification: the share of samples whose class is the right one (top-1), or among the five likeliest (top-5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codecbench.adapters.classes import class_numbers
from codecbench.adapters.contracts import DataAdapter, ModelAdapter, TaskAdapter
from codecbench.adapters.description import WorkloadDescription
from codecbench.errors import DataError
from codecbench.workload import RatioMetric

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOP = 5


class Classification(TaskAdapter):
    """Top-1 and top-5 of the first output, the logits of a sample. Targets are numbers of classes."""

    metrics = (
        RatioMetric("top-1", "%", higher_is_better=True, scale=100.0, binary=True),
        RatioMetric("top-5", "%", higher_is_better=True, scale=100.0, binary=True),
    )
    budget = 1.0

    def __init__(self, argument: str, description: WorkloadDescription) -> None:
        super().__init__(argument, description)
        self._numbers: dict[str, int] | None = None

    def check(self, network: ModelAdapter, samples: DataAdapter) -> None:
        """Match the names of classes to the model's outputs. Raises DataError for one that the model does not know."""
        names = samples.class_names()
        self._numbers = None if names is None else class_numbers(names, network, samples.label)
        for name in samples.names() if names is None else ():
            self.target(name, network, samples)

    def target(self, name: str, network: ModelAdapter, samples: DataAdapter) -> int:
        """Return the number of a sample's class."""
        found = samples.target(name)
        if isinstance(found, str):
            if self._numbers is None:
                self._numbers = class_numbers(samples.class_names() or [found], network, samples.label)
            number = self._numbers[found]
        else:
            number = int(found)
        count = len(network.classes) if network.classes is not None else None
        if number < 0 or (count is not None and number >= count):
            raise DataError(
                f"{samples.label}: {name} has the label {number}, and the model's run from 0 to {(count or 1) - 1}"
            )
        return number

    def score(
        self, output: tuple[NDArray[Any], ...], target: Any, network: ModelAdapter
    ) -> dict[str, tuple[float, float]]:
        """Return whether the class is right, and whether it is among the five likeliest."""
        logits = output[0]
        if logits.ndim != 1:
            raise DataError(
                "--task classification takes one vector of logits a sample, and the model gives the shape "
                f"{logits.shape}"
            )
        if target >= len(logits):
            raise DataError(f"a sample has the label {target}, and the model's run from 0 to {len(logits) - 1}")
        before = int((logits > logits[target]).sum() + (logits[:target] == logits[target]).sum())
        return {"top-1": (float(before == 0), 1.0), "top-5": (float(before < TOP), 1.0)}


def open_task(argument: str, description: WorkloadDescription) -> TaskAdapter:
    """Return the task."""
    return Classification(argument, description)
