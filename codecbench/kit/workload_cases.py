"""The case of a workload's checks: new workloads of a class, its cut model, and its first samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from codecbench.checked_workload import CheckedWorkload
from codecbench.errors import DataError
from codecbench.kit.runner import CheckFailed
from codecbench.workload import Outcome, Subset, Workload

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codecbench.workers.process.models import ModelHost

SAMPLES = 8
"""The samples of each subset that the checks look at, at most."""
SUBSETS: tuple[Subset, ...] = get_args(Subset)
SCORED: tuple[Subset, ...] = ("test", "choice")


class WorkloadCase:
    """A workload class that is checked. What several checks need is made once, at first use.

    Every answer is taken through `CheckedWorkload`, so that a mistake is a DataError with file and line.
    """

    def __init__(self, workload: type[Workload], data_dir: Path | None = None) -> None:
        self.workload = workload
        self.data_dir = data_dir

    @property
    def label(self) -> str:
        """The workload's name, as in a test id."""
        return str(getattr(self.workload, "name", self.workload.__name__))

    def make(self) -> CheckedWorkload:
        """Return a new workload."""
        return CheckedWorkload.make(self.workload, self.data_dir)

    @cached_property
    def checked(self) -> CheckedWorkload:
        """The workload that most checks ask."""
        return self.make()

    @cached_property
    def host(self) -> ModelHost:
        """The workload with its cut model."""
        from codecbench.workers.process.models import ModelHost

        return ModelHost(self.checked, "cpu")

    def fail(self, method: str, mistake: str) -> NoReturn:
        """Raise CheckFailed for a mistake in a method's answer, with file and line."""
        try:
            self.checked.refuse(method, mistake)
        except DataError as error:
            raise CheckFailed(str(error)) from error

    def require(self, condition: object, method: str, mistake: str) -> None:
        """Raise CheckFailed for a mistake in a method's answer unless the condition is true."""
        if not condition:
            self.fail(method, mistake)

    def positions(self, subset: Subset) -> range:
        """Return the positions of the samples that are looked at."""
        return range(min(SAMPLES, len(self.checked.sample_ids(subset))))

    def inputs(self, subset: Subset) -> list[NDArray[Any]]:
        """Return copies of the inputs that are looked at, as they were first read."""
        return [array.copy() for array in self._inputs[subset]]

    @cached_property
    def _inputs(self) -> dict[Subset, list[NDArray[Any]]]:
        return {
            subset: [array.copy() for array in self.checked.inputs(subset, self.positions(subset))]
            for subset in SUBSETS
        }

    def targets(self, subset: Subset) -> list[Any]:
        """Return the targets of these samples."""
        return self.host.targets(subset, self.positions(subset), self.inputs(subset))

    @cached_property
    def outputs(self) -> list[tuple[NDArray[Any], ...]]:
        """The model's outputs for the test samples that are looked at."""
        return self.host.run(self.host.full_model, self.inputs("test"))

    def scores(self, outputs: Sequence[tuple[NDArray[Any], ...]], targets: Sequence[Any]) -> list[dict[str, Outcome]]:
        """Return the outcomes of samples, from copies of their outputs."""
        copied = [tuple(leaf.copy() for leaf in output) for output in outputs]
        return self.checked.scores(copied, targets)
