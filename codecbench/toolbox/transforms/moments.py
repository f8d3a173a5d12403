"""Statistics of training blocks, for learning linear transforms.

Importing this module does not import numpy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codecbench.codec import FitData
from codecbench.toolbox.transforms.sensitivity import Sensitivity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_COVARIANCE_BLOCKS, _QUANTISER_BLOCKS, _BATCH = 100_000, 40_000, 50


@dataclass(frozen=True, eq=False)
class Moments:
    """Statistics of training blocks.

    Of the values: `mean` (values,), `variance` (the sum of their variances), `low` and `high` (the lowest and the
    highest value). Of the weighted values: `weighted_mean` (rows,), `covariance` (rows, rows), and `weighted`, some of
    the blocks less that mean, (n, rows).
    """

    mean: NDArray[np.float64]
    variance: float
    low: float
    high: float
    weighted_mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    weighted: NDArray[np.float64]

    @classmethod
    def of(cls, data: FitData, sensitivity: Sensitivity) -> Moments:
        """Return the statistics of the training data: up to 100,000 blocks, at least one batch, within the time limit.

        Raises ValueError if all samples are empty.
        """
        import numpy as np

        rng, matrix = np.random.default_rng(data.seed), sensitivity.matrix
        expected = min(_COVARIANCE_BLOCKS, data.count * sensitivity.count(data.spec.max_shape))
        share = min(1.0, _QUANTISER_BLOCKS / max(1, expected))
        origin, sums = None, np.zeros(matrix.shape[1])
        count, squares, low, high = 0, 0.0, math.inf, -math.inf
        products = np.zeros((len(matrix), len(matrix)))
        kept: list[NDArray[np.float64]] = []
        for blocks in _training_blocks(data, sensitivity):
            if origin is None:
                origin = blocks.mean(axis=0)  # near the mean, so that sums of differences lose no digits
            low, high = min(low, float(blocks.min())), max(high, float(blocks.max()))
            blocks -= origin
            weighted = sensitivity.apply(blocks)
            count, squares = count + len(blocks), squares + float((blocks**2).sum())
            sums += blocks.sum(axis=0)
            products += weighted.T @ weighted
            kept.append(weighted[rng.random(len(weighted)) < share] if kept else weighted)
            if count >= _COVARIANCE_BLOCKS or data.remaining_s() <= 0:
                break
        if origin is None:
            raise ValueError("a transform is learned from at least one sample that is not empty")
        offset = sums / count
        shift = matrix @ offset
        return cls(
            mean=origin + offset, variance=max(0.0, squares / count - float(offset @ offset)), low=low, high=high,
            weighted_mean=matrix @ (origin + offset), covariance=products / count - np.outer(shift, shift),
            weighted=np.concatenate(kept) - shift,
        )  # fmt: skip


def principal_axes(covariance: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return variances, largest first, and the unit vectors of their axes, one a column."""
    import numpy as np

    variances, vectors = np.linalg.eigh(covariance)
    return np.maximum(variances[::-1], 0), vectors[:, ::-1]


def _training_blocks(data: FitData, sensitivity: Sensitivity) -> Iterator[NDArray[np.float64]]:
    """Yield the blocks of each batch, (n, values), without empty batches."""
    import numpy as np

    for batch, _ in data.batches(_BATCH):
        samples = [x.numpy()[None] for x in batch] if isinstance(batch, list) else [batch.numpy()]
        blocks = np.concatenate([sensitivity.blocks(sample.astype(np.float64)) for sample in samples])
        if len(blocks):
            yield blocks
