"""A workload with three metrics, two ratios and one of a whole set, that runs in milliseconds on made-up vectors.

A plugin file like any other. The area under the ROC curve tells class 0 from the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from codecbench import RatioMetric, SetMetric, Subset, TensorSpec, Workload, hookimpl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

CLASSES = 3
SUBSETS: dict[str, tuple[int, int]] = {"fit": (0, 8), "choice": (100, 24), "test": (200, 48)}


class AreaUnderCurve(SetMetric):
    """The share of pairs, one sample of class 0 and one of another, in which the first has the larger score.

    An outcome is the score of class 0 in one of two arrays: in the first for a sample of class 0, else in the second.
    """

    def values(self, outcomes: Sequence[tuple[NDArray[Any], ...]], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """nan for a set with samples of one kind only."""
        import numpy as np

        inside = np.array([len(first) for first, _ in outcomes], dtype=bool)
        scores = np.array([[*first, *second][0] for first, second in outcomes], dtype=np.float64)
        wins = (scores[inside][:, None] > scores[~inside]) + (scores[inside][:, None] == scores[~inside]) / 2
        pairs = counts[:, inside].sum(axis=1) * counts[:, ~inside].sum(axis=1)
        won = np.einsum("si,ij,sj->s", counts[:, inside], wins, counts[:, ~inside])
        return np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)


class Several(Workload):
    """Classifies noise: top-1, the mean probability of the right class, and the area under a curve."""

    name = "several"
    metrics = (
        RatioMetric("top-1", "%", higher_is_better=True, scale=100.0, binary=True),
        RatioMetric("probability", "", higher_is_better=True, decimals=3),
        AreaUnderCurve("AUC", "", higher_is_better=True, decimals=3, outcome="scores"),
    )
    default_splits = ("input", "0")
    budget = 5.0

    @property
    def input_spec(self) -> TensorSpec:
        """Vectors."""
        return TensorSpec((8,))

    def build_model(self) -> nn.Module:
        """(N, 8) to (N, 3) logits."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, CLASSES)).eval()

    def weights_sha256(self) -> str:
        """Names the seed."""
        return hashlib.sha256(b"several, seed 1").hexdigest()

    def sample_ids(self, subset: Subset) -> Sequence[int]:
        """Consecutive identifiers."""
        first, count = SUBSETS[subset]
        return range(first, first + count)

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        """Noise drawn from the identifier."""
        import numpy as np

        ids = self.sample_ids(subset)
        return [np.random.default_rng(ids[p]).normal(0, 3, 8).astype(np.float32) for p in positions]

    def targets(self, subset: Subset, positions: Sequence[int]) -> list[Any]:
        """Labels that follow from the identifier."""
        ids = self.sample_ids(subset)
        return [ids[p] * 7 % 5 % CLASSES for p in positions]

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> dict[str, Any]:
        """The outcomes of all three metrics."""
        import numpy as np

        logits = output[0]
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        score, nothing = shares[:1], shares[:0]
        return {
            "top-1": (int(logits.argmax()) == target, 1), "probability": (shares[target], 1.0),
            "scores": (score, nothing) if target == 0 else (nothing, score),
        }  # fmt: skip


@hookimpl
def codecbench_register_workloads() -> Iterable[type[Workload]]:
    """Register the workload."""
    return [Several]
