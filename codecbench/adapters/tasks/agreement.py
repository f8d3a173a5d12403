"""Agreement with the uncut model: its outputs are the targets, so no labels are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codecbench.adapters.contracts import ModelAdapter, TaskAdapter
from codecbench.adapters.description import WorkloadDescription
from codecbench.errors import DataError, UsageError
from codecbench.workload import RatioMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DENSE = "dense"


class Agreement(TaskAdapter):
    """The share of samples, or with `agreement:dense` of places, whose class is that of the uncut model.

    The second metric is the Kullback-Leibler divergence from the uncut model's class probabilities, in nats.
    """

    budget = 2.0
    takes_argument = True
    targets_from_model = True

    def __init__(self, argument: str, description: WorkloadDescription) -> None:
        super().__init__(argument, description)
        if argument not in ("", DENSE):
            raise UsageError(
                f"--task agreement:{argument}: it is agreement, or agreement:{DENSE} for maps and sequences"
            )
        self.metrics = (
            RatioMetric("agreement", "%", higher_is_better=True, scale=100.0, binary=argument != DENSE),
            RatioMetric("divergence", "nat", higher_is_better=False, decimals=4),
        )

    def score(
        self, output: tuple[NDArray[Any], ...], target: Any, network: ModelAdapter
    ) -> dict[str, tuple[float, float]]:
        """Return agreement and divergence from the first output, the logits of one sample."""
        import numpy as np

        logits, reference = (_by_class(values[0], self.argument == DENSE) for values in (output, target))
        agreeing = float((logits.argmax(0) == reference.argmax(0)).mean())
        log_p, log_q = _log_softmax(reference), _log_softmax(logits)
        divergence = float((np.exp(log_p) * (log_p - log_q)).sum(0).mean())
        return {"agreement": (agreeing, 1.0), "divergence": (max(divergence, 0.0), 1.0)}


def _by_class(values: NDArray[Any], dense: bool) -> NDArray[np.float64]:
    """Return logits as (classes, places). The classes of a map are its axis 0, of a sequence the last one."""
    import numpy as np

    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 and not dense:
        raise DataError(
            f"--task agreement takes one vector of logits a sample, and the model gives the shape {found.shape}; give "
            f"--task agreement:{DENSE} for maps and sequences"
        )
    if found.ndim == 2:
        found = found.T
    return found.reshape(len(found), -1)


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    shifted = logits - logits.max(0)
    found: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(0))
    return found


def open_task(argument: str, description: WorkloadDescription) -> TaskAdapter:
    """Return the task."""
    return Agreement(argument, description)
