"""Regression: the mean absolute error and the root of the mean squared error of the first output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codecbench.adapters.contracts import DataAdapter, ModelAdapter, TaskAdapter
from codecbench.adapters.description import WorkloadDescription
from codecbench.errors import DataError
from codecbench.workload import RatioMetric, SetMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class RootMeanSquare(SetMetric):
    """The root of the ratio of two sums: of squared errors, and of their number."""

    def values(self, outcomes: Sequence[tuple[NDArray[Any], ...]], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the root of the mean squared error of each set."""
        import numpy as np

        squares, numbers = (np.array([outcome[i][0] for outcome in outcomes]) for i in range(2))
        found: NDArray[np.float64] = np.sqrt(counts @ squares / (counts @ numbers))
        return found


class Regression(TaskAdapter):
    """MAE, which decides, and RMSE over all values of the output. A target is a number or an array of its shape."""

    metrics = (
        RatioMetric("MAE", "", higher_is_better=False, decimals=4),
        RootMeanSquare("RMSE", "", higher_is_better=False, decimals=4),
    )
    budget = 0.01

    def target(self, name: str, network: ModelAdapter, samples: DataAdapter) -> Any:
        """Return the target as float64 values. Raises DataError for one that is no finite number."""
        import numpy as np

        found = samples.target(name)
        try:
            values = np.atleast_1d(np.asarray(found, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{samples.label}: {name} has the target {str(found)[:40]!r}, which is no number"
            ) from error
        if not np.isfinite(values).all():
            raise DataError(f"{samples.label}: {name} has a target that is not finite")
        return values

    def score(self, output: tuple[NDArray[Any], ...], target: Any, network: ModelAdapter) -> dict[str, Any]:
        """Return the sums of absolute and of squared errors, each with the number of values."""
        import numpy as np

        values = np.asarray(output[0], dtype=np.float64)
        if values.size != target.size:
            raise DataError(f"a sample has a target of the shape {target.shape}, and the model gives {values.shape}")
        errors = np.abs(values.ravel() - target.ravel())
        count = float(math.prod(values.shape))
        return {
            "MAE": (float(errors.sum()), count), "RMSE": (np.array([(errors**2).sum()]), np.array([count])),
        }  # fmt: skip


def open_task(argument: str, description: WorkloadDescription) -> TaskAdapter:
    """Return the task."""
    return Regression(argument, description)
