"""Workloads made of descriptions: a class for each, from the adapters of its model, its data and its task."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from codecbench.adapters.contracts import DataAdapter, ModelAdapter, TaskAdapter
from codecbench.adapters.description import PREFIX, WorkloadDescription, from_reference
from codecbench.adapters.kinds import adapter
from codecbench.adapters.subsets import parted
from codecbench.codec import TensorSpec
from codecbench.errors import DataError
from codecbench.registry import resolve
from codecbench.workload import Subset, Workload

if TYPE_CHECKING:
    from numpy.typing import NDArray


class DescribedWorkload(Workload):
    """A workload of a description. `workload_class` makes its subclasses."""

    description: ClassVar[WorkloadDescription]
    task: ClassVar[TaskAdapter]

    @cached_property
    def network(self) -> ModelAdapter:
        """The adapter of the model."""
        module, argument = adapter("model", self.description.model)
        network: ModelAdapter = module.open_model(argument, self.description)
        return network

    @cached_property
    def samples(self) -> DataAdapter:
        """The adapter of the data."""
        module, argument = adapter("data", self.description.data)
        samples: DataAdapter = module.open_data(argument, self.description)
        return samples

    @property
    def input_spec(self) -> TensorSpec:
        """The spec of one input, as the data makes it for the model."""
        return self.samples.input_spec(self.network)

    def build_model(self) -> Any:
        """Return the model with its normalisation inside."""
        model = self._built.pop() if self._built else self.network.build()
        self._weights_sha256 = self.network.weights_sha256(model)
        return model

    def weights_sha256(self) -> str:
        """Return the hex SHA-256 of the weights of the model that was built."""
        if not self._weights_sha256:
            model = self.build_model()
            self._built.append(model)
        return self._weights_sha256

    def sample_ids(self, subset: Subset) -> Sequence[str]:
        """Return the names of a subset's samples."""
        return self._subsets[subset]

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        """Return the inputs at these positions."""
        names = self._subsets[subset]
        return [self.samples.input(names[position], self.network) for position in positions]

    def targets(self, subset: Subset, positions: Sequence[int]) -> list[Any]:
        """Return the targets at these positions."""
        names = self._subsets[subset]
        return [self.task.target(names[position], self.network, self.samples) for position in positions]

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> Any:
        """Return the task's outcomes of one sample."""
        found = self.task.score(output, target, self.network)
        return next(iter(found.values())) if len(found) == 1 else found

    @cached_property
    def _subsets(self) -> dict[Subset, list[str]]:
        found = parted(self.samples.names(), self.samples.label)
        self.task.check(self.network, self.samples)
        return found

    def __init__(self, data_dir: Path | None = None) -> None:
        super().__init__(data_dir)
        self._built: list[Any] = []
        self._weights_sha256 = ""


def workload_class(description: WorkloadDescription) -> type[DescribedWorkload]:
    """Return a workload class of a description. Raises UsageError for a kind that does not exist."""
    module, argument = adapter("task", description.task)
    task: TaskAdapter = module.open_task(argument, description)
    attributes: dict[str, Any] = {
        "name": description.workload_name, "description": description, "task": task, "metrics": task.metrics,
        "default_splits": description.splits, "targets_from_model": task.targets_from_model,
        "budget": task.budget if description.budget is None else description.budget, "__module__": __name__,
        "__doc__": f"{description.portable().model} on {description.portable().data}: {description.portable().task}.",
    }  # fmt: skip
    return type("DescribedWorkload", (DescribedWorkload,), attributes)


def resolve_workload(text: str) -> type[Workload]:
    """Return the workload class of a reference: of a description, or of a class in a module or file."""
    kind: type[Workload] = workload_class(from_reference(text)) if text.startswith(PREFIX) else resolve(text)
    if not issubclass(kind, Workload):
        raise DataError(f"{text} is no workload")
    return kind


def own_files(kind: type[DescribedWorkload]) -> list[Path]:
    """Return the files of the adapters that a described workload uses, in a fixed order."""
    import inspect

    description = kind.description
    modules = [
        adapter("model", description.model)[0],
        adapter("data", description.data)[0],
        inspect.getmodule(kind.task),
    ]
    shared = [Path(__file__), *sorted(Path(__file__).parent.glob("*.py"))]
    used = sorted({folder for module in modules for folder in getattr(module, "USES", ())})
    shared += [path for folder in used for path in sorted((Path(__file__).parents[1] / folder).glob("*.py"))]
    files = [*shared, *(Path(str(getattr(module, "__file__", ""))) for module in modules)]
    return list(dict.fromkeys(file.resolve() for file in files))


def own_functions(workload: DescribedWorkload) -> list[Callable[..., Any]]:
    """Return the user's functions that a described workload uses."""
    return [found for found in (workload.network.function, workload.samples.function) if found is not None]


def description_sha256(description: WorkloadDescription) -> str:
    """Return the hex SHA-256 of what a description says, without folders, name, budget and splits."""
    said = description.portable().model_copy(update={"name": None, "splits": (), "budget": None})
    return hashlib.sha256(said.model_dump_json(exclude_none=True).encode()).hexdigest()
