"""Models that a user's function returns: `module:function` or `FILE.py:function`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from codecbench.adapters.contracts import ModelAdapter, file_name
from codecbench.adapters.description import RANDOM, WorkloadDescription
from codecbench.adapters.functions import call, load_function
from codecbench.adapters.kinds import portable
from codecbench.errors import DataError


class FunctionNetwork(ModelAdapter):
    """The network that a function without arguments returns. It normalises its pictures itself."""

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The user's function."""
        return load_function(self.argument)

    def build(self) -> Any:
        """Return what the function returns, with the weights of the file if there is one."""
        from torch import nn

        from codecbench.adapters.wrappers import load_strictly, seeded

        label = portable("model", self.argument)
        with seeded():
            model = call(self.function, label)
        weights = self.description.weights
        if isinstance(model, nn.Module):
            if weights not in (None, RANDOM):
                load_strictly(model, str(weights), file_name(str(weights)))
            return model.eval()
        if getattr(model, "path", None) is None:  # an ONNX model has the path of its file
            raise DataError(f"--model {label} returned {type(model).__name__}; return a torch.nn.Module")
        return model


def open_model(argument: str, description: WorkloadDescription) -> ModelAdapter:
    """Return the network of `module:function`."""
    return FunctionNetwork(argument, description)
