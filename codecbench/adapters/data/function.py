"""Samples that a user's function yields: `module:function` or `FILE.py:function`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from codecbench.adapters.contracts import DataAdapter, ModelAdapter
from codecbench.adapters.description import WorkloadDescription
from codecbench.adapters.functions import call, load_function
from codecbench.adapters.pictures import picture_spec
from codecbench.codec import TensorSpec
from codecbench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FunctionSamples(DataAdapter):
    """The triples (name, input, target) that a function without arguments yields; they are all kept in memory.

    An input is a picture k/255 at the model's size, or what `--shape` says. A target may be a class's name.
    """

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The user's function."""
        return load_function(self.argument)

    def names(self) -> Sequence[str]:
        """Return the names, as texts."""
        return list(self._samples)

    def input_spec(self, network: ModelAdapter) -> TensorSpec:
        """Return the spec of `--shape`, else that of the model's pictures."""
        return self.description.spec or picture_spec(network, self.label)

    def input(self, name: str, network: ModelAdapter) -> NDArray[Any]:
        """Return an input."""
        import numpy as np

        found = np.asarray(self._samples[name][0])
        return np.ascontiguousarray(found.astype(np.float32) if found.dtype == np.float64 else found)

    def target(self, name: str) -> Any:
        """Return a target. Raises DataError where it is None."""
        found = self._samples[name][1]
        return super().target(name) if found is None else found

    def class_names(self) -> Sequence[str] | None:
        """Return the targets that are texts, sorted; None where the first is none."""
        found = [target for _, target in self._samples.values()]
        return sorted(set(map(str, found))) if found and isinstance(found[0], str) else None

    @cached_property
    def _samples(self) -> dict[str, tuple[Any, Any]]:
        try:
            triples = call(lambda: list(self.function()), self.label)
            found = {str(name): (x, target) for name, x, target in triples}
        except (TypeError, ValueError) as error:
            raise DataError(f"{self.label} has to yield triples (name, input, target): {error}") from error
        if len(found) < len(triples):
            raise DataError(f"{self.label} yields a name twice; names of samples differ")
        return found


def open_data(argument: str, description: WorkloadDescription) -> DataAdapter:
    """Return the samples of `module:function`."""
    return FunctionSamples(argument, description)
